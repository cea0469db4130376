"""Storage of artifacts: versions, manifests, pointers, locks; on disk or a URL."""

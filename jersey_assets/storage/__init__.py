"""Storage: version folders and manifests, on disk or any fsspec URL."""

"""The dataset on disk: files found, opened inside the root, watched."""

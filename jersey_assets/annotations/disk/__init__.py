"""The dataset on disk: finds its files, opens them inside the root, watches them."""

"""The commands of `jersey-assets`, one per file."""

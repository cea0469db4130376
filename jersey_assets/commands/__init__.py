"""The commands of `jersey-assets`: what each needs, takes and does."""

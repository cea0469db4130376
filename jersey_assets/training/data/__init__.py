"""Training data: crops decoded into memory, sampled and batched."""

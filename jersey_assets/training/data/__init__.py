"""Crops in memory, sampled and batched."""

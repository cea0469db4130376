"""Draws jersey-number crops: the sample dataset, and rows for rare labels."""

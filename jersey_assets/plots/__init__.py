"""Figures: data in, matplotlib `Figure` out, and those as PNG bytes."""

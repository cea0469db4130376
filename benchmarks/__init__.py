"""Measurements, each a ratio against a baseline that is taken in the same run."""

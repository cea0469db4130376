"""Judges rows against each other: conflicts, leaks, duplicates, rare labels."""

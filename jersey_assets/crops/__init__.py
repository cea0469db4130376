"""Crops: the one way from image bytes to pixels, and to what a network reads."""

"""Crops: decodes image bytes to pixels, and prepares them as network input."""

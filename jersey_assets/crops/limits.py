"""The largest image that is decoded."""

MAX_PIXELS = 16_000_000
"""Width times height above which an image is refused before it is decoded."""

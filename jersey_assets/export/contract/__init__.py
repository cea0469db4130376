"""The contract of a model file, checked by what the file does."""

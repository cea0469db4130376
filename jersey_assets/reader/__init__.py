"""The deployed part: a model file in, answers out."""

"""The deployed predictor: loads a model file and reads crops."""

"""The contract of model files: a file per check, and the sandbox that runs models."""

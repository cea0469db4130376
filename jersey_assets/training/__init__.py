"""Training: recipe, augmentation, networks, EMA, resuming, evaluation, checks."""

"""Training: recipe, crops on the device, augmentation, model, EMA, fit, evaluation."""

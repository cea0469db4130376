"""Network architectures, losses, pretrained weights, Grad-CAM, layer summary."""

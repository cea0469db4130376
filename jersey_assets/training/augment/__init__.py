"""Augmentation of training crops: warp, colour, blur, noise, JPEG, erasing."""

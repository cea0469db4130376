"""Annotations: JSONL on disk becomes one validated table and the rows set aside.

The first room of the house; it imports no other. `validation.validate` is its front
door, `promises.verdicts` what its checks say, `images.decode_crop` the one way in
which a crop becomes pixels, here, in training and in the deployed predictor.
"""

"""Export: the ONNX model, its contract, parity with PyTorch, the int8 model."""

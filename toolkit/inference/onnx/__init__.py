"""A system as an ONNX model."""

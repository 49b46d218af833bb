"""A trained system: packed as a bundle, exported to ONNX, applied to recordings."""

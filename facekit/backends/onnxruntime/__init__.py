"""Stand-in for Triton's ONNX Runtime backend."""

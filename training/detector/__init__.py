"""The face detector: a DetectNet_v2 with FaceNet's tensors."""

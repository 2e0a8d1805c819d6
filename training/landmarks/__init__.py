"""The landmark network: 68 points from an 80-pixel gray crop, with FPENet's tensors."""

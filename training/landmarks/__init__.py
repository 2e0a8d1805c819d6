"""The landmark network: 68, 80 or 104 points from an 80-pixel gray crop, with FPENet's tensors."""

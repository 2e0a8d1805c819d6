"""Landmark scheme, face crops and the way back from crop pixels to photo pixels."""

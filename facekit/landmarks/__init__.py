"""Landmark scheme, face crops and their mapping to photo pixels."""

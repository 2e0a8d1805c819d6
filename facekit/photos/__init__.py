"""Encoded photos: what is accepted, checked from their bytes before a decoder sees them."""

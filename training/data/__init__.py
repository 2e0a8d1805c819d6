"""Readers of the public face sets the trainers use."""

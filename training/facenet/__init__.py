"""The recipe of the committed face network: its photos, its mixture of frames, its figures."""

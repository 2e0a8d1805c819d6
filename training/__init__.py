"""Trainers of the kit's open stand-in networks: face detector and landmarks."""

"""The measurements behind ``facekit bench``: the server beside what it is compared with."""

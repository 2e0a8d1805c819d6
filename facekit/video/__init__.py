"""Faces in moving pictures: files, streams and cameras."""

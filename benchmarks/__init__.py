"""Measurements of a server: speed, latency, memory, and each beside something to compare it with.

``facekit bench`` runs them; ``docs/benchmarks.md`` says what is measured and what the JSON holds.
"""

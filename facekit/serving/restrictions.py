"""Closes what callers of a server don't need: everything that is no inference."""

from __future__ import annotations

import secrets

# What can read or change more of the machine than an inference does. "health", "metadata",
# "inference", "model-config" and "statistics" stay open: callers and probes need them.
_MANAGEMENT = "model-repository,shared-memory,trace,logging"
_HEADER = "facekit-management"


def restrictions() -> list[str]:
    """Return the options that close management; a Triton without one of them refuses to start."""
    # Nobody is told the word that would open it again, and every start has another.
    rule = f"{_MANAGEMENT}:{_HEADER}={secrets.token_hex(16)}"
    return [
        "--model-control-mode=none",
        f"--grpc-restricted-protocol={rule}",
        f"--http-restricted-api={rule}",
    ]

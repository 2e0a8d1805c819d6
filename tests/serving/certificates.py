"""Certificates for tests, made by the ``openssl`` program."""

from __future__ import annotations

import subprocess
from pathlib import Path

from facekit.serving.tls import Tls


def self_signed(folder: Path, address: str) -> Tls:
    """Make a certificate for an IP address, and its key."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=ignored -addext subjectAltName=IP:{address} -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return Tls(folder / "cert.pem", folder / "key.pem")

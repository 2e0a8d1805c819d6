"""Closes what callers of a server don't need: everything that is no inference."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

from facekit.errors import SetupError

# What can read or change more of the machine than an inference does. "health", "metadata",
# "inference", "model-config" and "statistics" stay open: callers and probes need them.
_MANAGEMENT = "model-repository,shared-memory,trace,logging"
_OPTIONS = ("--grpc-restricted-protocol", "--http-restricted-api")
_HEADER = "facekit-management"
_HELP_TIMEOUT_S = 60.0


def restrictions(known: str) -> tuple[list[str], list[str]]:
    """Return the options that close management, and what stays open for the lack of one.

    Args:
        known: what the program says of its options.
    """
    # Nobody is told the word that would open it again, and every start has another.
    word = secrets.token_hex(16)
    arguments, remarks = ["--model-control-mode=none"], []
    for option in _OPTIONS:
        if option in known:
            arguments.append(f"{option}={_MANAGEMENT}:{_HEADER}={word}")
        else:
            remarks.append(
                f"this Triton does not know {option}, so shared memory, trace and log settings "
                f"stay open to callers"
            )
    return arguments, remarks


def help_text(binary: Path, environment: Mapping[str, str]) -> str:
    """Return what ``tritonserver --help`` prints.

    Raises:
        SetupError: it can't be run.
    """
    try:
        done = subprocess.run(
            [str(binary), "--help"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_HELP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"Cannot run {binary}: {error}.") from error
    return done.stdout.decode("utf-8", "replace")

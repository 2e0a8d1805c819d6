"""Reads the server's log: its end, and the lines that tell why it did not start."""

from __future__ import annotations

import os
import re
from pathlib import Path

_FAILED = re.compile(r"failed to load '([^']+)' version (\d+): (.+)")
_ERROR_LINE = re.compile(r'^E\d{4} [\d:.]+ \d+ \S+\] "?(.+)$')
_OWN_LINE = re.compile(r"[IWE]\d{4} [\d:.]+ \d+ |[+|]")
# Said on every machine without a GPU driver.
_HARMLESS = ("unable to create stream", "CudaDriverHelper", "Failed to initialize NVML", "DCGM")
# Names of internals that Triton puts before the sentence that matters.
_NOISE = re.compile(r"^\s*(?:Internal|Invalid argument|Not found|Unavailable):\s*")
_EXCEPTION = re.compile(r"^(?:FacekitError|ConfigError|TritonModelException):\s*")


def tail(path: Path, lines: int, limit: int = 256 * 1024) -> list[str]:
    """Return the last ``lines`` lines of the file; none if there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines > 0 else []


def reasons(lines: list[str], limit: int = 5) -> list[str]:
    """Return the sentences of a log that tell why the server did not start, each said once."""
    found: dict[str, str] = {}
    others: dict[str, None] = {}
    for line in lines:
        match = _FAILED.search(line)
        if match:
            name, _, reason = match.groups()
            found.setdefault(
                name, f"model {name}: {_clean(reason).removeprefix(f'model {name}: ')}"
            )
            continue
        match = _ERROR_LINE.match(line)
        if match and not any(text in line for text in _HARMLESS):
            others[_clean(match.group(1))] = None
    if found:
        return list(found.values())[:limit]
    if not others:
        # The server prints its options and models as tables.
        sentences = [line for line in lines if line.strip() and line[0] not in "+|"]
        others = dict.fromkeys(sentences[-limit:])
    return list(others)[:limit]


def foreign_lines(lines: list[str]) -> list[str]:
    """Return the lines that a library or a backend process wrote, and not the server itself."""
    return [line for line in lines if line.strip() and not _OWN_LINE.match(line)]


def _clean(reason: str) -> str:
    # An exception comes with its stack, line ends written as \\n; its first line is ours.
    reason = reason.split("\\n\\nAt:")[0].replace("\\n", " ")
    return _EXCEPTION.sub("", _NOISE.sub("", reason.strip())).strip().removesuffix('"')

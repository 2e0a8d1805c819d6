"""Committed specs with other values."""

from __future__ import annotations

import re
from pathlib import Path


def edited(spec: Path, path: Path, changes: dict[str, str], *, drop: tuple[str, ...] = ()) -> Path:
    """Write a copy of a spec with other values, as a user edits one; each key has to be there."""
    text = spec.read_text()
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^(\s*{key}: ).*$", lambda m, v=value: m[1] + v, text)
        assert count, f"{spec.name} has no {key}"
    for key in drop:
        text, count = re.subn(rf"(?m)^\s*{key}: .*\n", "", text)
        assert count, f"{spec.name} has no {key}"
    path.write_text(text)
    return path


def quoted(path: Path) -> str:
    return f'"{path}"'

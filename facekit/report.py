"""What was found in a run over several photos, as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from facekit.errors import FacekitError
from facekit.faces import Faces

_HEADER = ("photo", "size", "faces", "scores", "largest", "note")
_NAME_WIDTH = 48
_NOTE_WIDTH = 100
_BREAKS = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
# A name or a server's text must not move the cursor, change colours or turn the reading direction
# on a terminal: all control characters but tab and line feed, and Unicode's for the direction.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class PhotoResult:
    """One photo of a run: its name, and its faces or the error that it met.

    ``drawing`` is the annotated picture's file, where one was written.
    """

    photo: str
    result: Faces | FacekitError
    drawing: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the photo has an error in place of faces."""
        return isinstance(self.result, FacekitError)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: ``photo`` with ``size_wh`` and ``faces``, or with ``error``."""
        data: dict[str, Any] = {"photo": self.photo}
        if isinstance(self.result, FacekitError):
            data["error"] = {"type": type(self.result).__name__, "message": str(self.result)}
        else:
            data.update(self.result.to_dict())
        if self.drawing is not None:
            data["drawing"] = self.drawing
        return data


def table(results: Sequence[PhotoResult]) -> str:
    """Return a table with a row a photo, and a line of totals."""
    rows = [_HEADER, *(_row(result) for result in results)]
    # The last column is as long as it is; the others are padded.
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:], strict=True)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    lines.insert(1, "-" * sum([*widths, 2 * (len(widths) - 1)]))
    return "\n".join([*lines, totals(results)])


def totals(results: Sequence[PhotoResult]) -> str:
    """Return one line that says how much was found and how many photos failed."""
    failures = sum(result.failed for result in results)
    faces = sum(len(r.result) for r in results if isinstance(r.result, Faces))
    photos = len(results) - failures
    line = f"{_count(faces, 'face')} in {_count(photos, 'photo')}"
    return line + (f"; {_count(failures, 'photo')} failed" if failures else "")


def show(text: str, stream: TextIO | None = None) -> None:
    """Print a text and a line end, with escapes for what the stream can't or must not show.

    A file's name may hold any bytes, control characters among them, and a terminal may know no
    more than ASCII.
    """
    out: TextIO | None = sys.stdout if stream is None else stream
    if out is None:  # Python's own sign that the stream was closed before the start
        return
    encoding = out.encoding or "utf-8"
    out.write(_escaped(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")
    out.flush()


def one_line(text: str) -> str:
    """Return a text in one line: its line ends and tabs become spaces, other controls escapes."""
    return _escaped(_BREAKS.sub(" ", text))


def write_json(path: Path, results: Iterable[PhotoResult], **about: Any) -> None:
    """Write the results, and what else is said about the run, whole or not at all.

    A link is followed; a device or a pipe is written to, never replaced.

    Raises:
        OSError: The file can't be written.
    """
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(to_json(results, **about) + "\n", encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(to_json(results, **about) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def to_json(results: Iterable[PhotoResult], **about: Any) -> str:
    """Return the results, and what else is said about the run, as JSON with a line a photo."""
    photos = ",\n".join("    " + json.dumps(result.to_dict()) for result in results)
    head = "".join(f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in about.items())
    return f'{{\n{head}  "photos": [' + (f"\n{photos}\n  " if photos else "") + "]\n}"


def _row(entry: PhotoResult) -> tuple[str, ...]:
    name = _shortened(one_line(entry.photo), _NAME_WIDTH)
    result = entry.result
    if isinstance(result, FacekitError):
        # The photo's own name is in the first column.
        message = one_line(" ".join(str(result).removeprefix(f"{entry.photo}: ").split()))
        if len(message) > _NOTE_WIDTH:
            message = message[: _NOTE_WIDTH - 1] + "…"
        return (name, "", "", "", "", f"failed: {message}")
    size = f"{result.size_wh[0]}x{result.size_wh[1]}"
    if len(result) == 0:
        return (name, size, "0", "", "", "no face")
    low, high = float(result.scores.min()), float(result.scores.max())
    largest = max(result, key=lambda face: face.width * face.height)
    scores = f"{high:.2f}" if len(result) == 1 else f"{low:.2f}-{high:.2f}"
    size_of_largest = f"{largest.width:.0f}x{largest.height:.0f}"
    return (name, size, str(len(result)), scores, size_of_largest, one_line(entry.drawing or ""))


def _escaped(text: str) -> str:
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-width + 1 :]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")

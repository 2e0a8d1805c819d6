"""What was found in a run over several photos, as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from facekit.errors import FacekitError
from facekit.faces import Faces
from facekit.files import write_whole

_HEADER = ("photo", "size", "faces", "scores", "largest", "note")
_CLASSES_AFTER = 3
"""Columns before those of the classes, one a class, which follow the number of faces."""
_NAME_WIDTH = 48
_NOTE_WIDTH = 100
_BREAKS = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
# A name or a server's text must not move the cursor, change colors or turn the reading direction
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
    """Return a table with a row a photo, a column for each class told, and a line of totals."""
    names = _class_names(results)
    header = (*_HEADER[:_CLASSES_AFTER], *names, *_HEADER[_CLASSES_AFTER:])
    rows = [header, *(_row(result, names) for result in results)]
    # The last column is as long as it is; the others are padded.
    widths = [max(len(row[column]) for row in rows) for column in range(len(header) - 1)]
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
    found = [r.result for r in results if isinstance(r.result, Faces)]
    photos = len(results) - failures
    line = f"{count(sum(map(len, found)), 'face')} in {count(photos, 'photo')}"
    names = _class_names(results)
    if names:
        counts = (sum(_of_class(faces, name) for faces in found) for name in names)
        parts = [f"{count:,} {name}" for count, name in zip(counts, names, strict=True)]
        line += f": {', '.join(parts)}"
    return line + (f"; {count(failures, 'photo')} failed" if failures else "")


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
    """Write the results, and what else is said about the run, as :func:`write_text` does.

    Raises:
        OSError: The file can't be written.
    """
    write_text(path, to_json(results, **about) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file, as :func:`facekit.files.write_whole` does."""
    write_whole(path, text)


def to_json(results: Iterable[PhotoResult], **about: Any) -> str:
    """Return the results, and what else is said about the run, as JSON with a line a photo."""
    photos = ",\n".join("    " + json.dumps(result.to_dict()) for result in results)
    head = "".join(f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in about.items())
    return f'{{\n{head}  "photos": [' + (f"\n{photos}\n  " if photos else "") + "]\n}"


def _class_names(results: Sequence[PhotoResult]) -> list[str]:
    """Return the classes that any of the photos' models tells apart."""
    every = (r.result.class_names for r in results if isinstance(r.result, Faces))
    return list(dict.fromkeys(name for names in every for name in names))


def _of_class(faces: Faces, name: str) -> int:
    return sum(face.class_name == name for face in faces)


def _row(entry: PhotoResult, names: Sequence[str]) -> tuple[str, ...]:
    none = [""] * len(names)
    name = _shortened(one_line(entry.photo), _NAME_WIDTH)
    result = entry.result
    if isinstance(result, FacekitError):
        # The photo's own name is in the first column.
        message = one_line(" ".join(str(result).removeprefix(f"{entry.photo}: ").split()))
        if len(message) > _NOTE_WIDTH:
            message = message[: _NOTE_WIDTH - 1] + "…"
        return (name, "", "", *none, "", "", f"failed: {message}")
    size = f"{result.size_wh[0]}x{result.size_wh[1]}"
    if len(result) == 0:
        return (name, size, "0", *none, "", "", "no face")
    low, high = float(result.scores.min()), float(result.scores.max())
    largest = max(result, key=lambda face: face.width * face.height)
    scores = f"{high:.2f}" if len(result) == 1 else f"{low:.2f}-{high:.2f}"
    size_of_largest = f"{largest.width:.0f}x{largest.height:.0f}"
    classes = [str(_of_class(result, each)) for each in names]
    note = one_line(entry.drawing or "")
    return (name, size, str(len(result)), *classes, scores, size_of_largest, note)


def _escaped(text: str) -> str:
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-width + 1 :]


def count(number: int, noun: str) -> str:
    """Return a number of things, such as ``1 photo`` or ``2,000 photos``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

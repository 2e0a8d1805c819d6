"""The results of a run over several photos, as a table and as JSON."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from facekit.errors import FacekitError
from facekit.faces import Faces
from facekit.outputs import begins_as
from facekit.text import count, one_line, table

_NAME_WIDTH = 48
_NOTE_WIDTH = 100

is_our_json = begins_as(re.compile(rb'\{\n  "photos": \[(?:\]|\n    \{"photo": ")'))
"""Whether a file is one that :func:`to_json` made."""


@dataclass(frozen=True)
class PhotoResult:
    """One photo of a run: its name, its faces or error, and the files of its pictures.

    ``drawing`` is the annotated picture, ``crops`` are the faces, in their order.
    """

    photo: str
    result: Faces | FacekitError
    drawing: str | None = None
    crops: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the photo has an error instead of faces."""
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
        if self.crops:
            data["crops"] = list(self.crops)
        return data


def results_table(results: Sequence[PhotoResult]) -> str:
    """Return a table with a row for each photo, a column for each class, and a line of totals."""
    names = _class_names(results)
    header = ("photo", "size", "faces", *names, "scores", "largest", "note")
    rows = [header, *(_row(result, names) for result in results)]
    return f"{table(rows, 'lrr' + 'r' * len(names) + 'rrl')}\n{totals(results)}"


def totals(results: Sequence[PhotoResult]) -> str:
    """Return one line with the numbers of faces and of failed photos."""
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


def to_json(results: Iterable[PhotoResult]) -> str:
    """Return the results as JSON with a line a photo."""
    photos = ",\n".join("    " + json.dumps(result.to_dict()) for result in results)
    return '{\n  "photos": [' + (f"\n{photos}\n  " if photos else "") + "]\n}"


def _class_names(results: Sequence[PhotoResult]) -> list[str]:
    """Return the classes of all results, each once."""
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
        return (name, size, "0", *none, "", "", _noted("no face", result))
    low, high = float(result.scores.min()), float(result.scores.max())
    largest = max(result, key=lambda face: face.width * face.height)
    scores = f"{high:.2f}" if len(result) == 1 else f"{low:.2f}-{high:.2f}"
    size_of_largest = f"{largest.width:.0f}x{largest.height:.0f}"
    classes = [str(_of_class(result, each)) for each in names]
    note = _noted(one_line(entry.drawing or ""), result)
    return (name, size, str(len(result)), *classes, scores, size_of_largest, note)


def _noted(note: str, faces: Faces) -> str:
    return "; ".join(filter(None, (note, *faces.notes)))


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-width + 1 :]

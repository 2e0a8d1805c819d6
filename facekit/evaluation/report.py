"""The scores of servers side by side, as text for people and as values for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facekit.contract import NETWORK_HEIGHT
from facekit.errors import FacekitError
from facekit.evaluation.class_scores import ClassScore
from facekit.evaluation.landmark_errors import FAILURE, LandmarkErrors
from facekit.evaluation.remarks import Remarks
from facekit.evaluation.served import BandScore, ScoringRules, ServedScore, class_names
from facekit.text import count, one_line

FORMAT_VERSION = 1
"""Of the JSON; it changes when a key changes its meaning or goes."""

_MOST_SHOWN = 20
_NOTHING = "-"


@dataclass(frozen=True)
class Failure:
    """Something that does not count.

    Attributes:
        file: The photo, or the label file.
        error: What is wrong.
        server: Whose answer it is, where several servers were asked; else None.
    """

    file: str
    error: FacekitError
    server: str | None = None

    def text(self) -> str:
        """Return it as a line."""
        message = str(self.error)
        named = message if message.startswith(self.file) else f"{self.file}: {message}"
        return one_line(named if self.server is None else f"{self.server}: {named}")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        error = {"type": type(self.error).__name__, "message": str(self.error)}
        return {"file": self.file, "server": self.server, "error": error}


@dataclass(frozen=True)
class Evaluation:
    """What was measured, on what, and how.

    Attributes:
        labels: Where the labels are from.
        rules: What counted as found.
        photos: Number of photos that every server answered.
        faces: Number of labeled faces in them, of all sizes and classes.
        servers: One entry a server and model.
        failures: What does not count and why, an entry for each server that failed on it.
        remarks: What else is not measured.
    """

    labels: str
    rules: ScoringRules
    photos: int
    faces: int
    servers: tuple[ServedScore, ...]
    failures: tuple[Failure, ...]
    remarks: Remarks = Remarks()

    def text(self) -> str:
        """Return all figures as tables."""
        rules = self.rules
        size = f"Those of {rules.minimum_height:g} px or more" if rules.minimum_height else "All"
        head = (
            f"{one_line(self.labels)}: {count(self.photos, 'photo')} with "
            f"{count(self.faces, 'face')}.\n{size} "
            f"count, in a frame {NETWORK_HEIGHT} px high; a face is found at an overlap (IoU) of "
            f"{rules.minimum_overlap:g}. AP: {rules.mode}."
        )
        parts = [head, _table(self._score_rows(), left=2)]
        parts.append(
            "A curve ends at the lowest score that the server gives: AP takes what it keeps back "
            "for missed."
        )
        parts += ["AP by height", _table(self._band_rows(), left=2)]
        landmark_rows = self._landmark_rows()
        if landmark_rows:
            parts += [
                "Landmarks: mean error in pixels of the 80x80 crop, and over the distance of the "
                "outer eye corners",
                _table(landmark_rows, left=1),
            ]
        if self.remarks.lines():
            parts.append("\n".join(self.remarks.lines()))
        parts += self._failure_lines()
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; null stands for what there is nothing to measure by."""
        return {
            "format": FORMAT_VERSION,
            "labels": self.labels,
            "minimum_overlap": self.rules.minimum_overlap,
            "minimum_height": self.rules.minimum_height,
            "average_precision_mode": self.rules.mode,
            "photos": self.photos,
            "faces": self.faces,
            "servers": [_server_values(server) for server in self.servers],
            "failures": [failure.to_dict() for failure in self.failures],
            **self.remarks.to_dict(),
        }

    def _score_rows(self) -> list[list[str]]:
        rows = [["class", "server", "labeled", "AP", "precision", "recall", "lowest score"]]
        for name in class_names(self.servers):
            for server in self.servers:
                for score in (score for score in server.classes if score.name == name):
                    figures = (score.average_precision, score.precision, score.recall)
                    cells = [_share(value) for value in (*figures, score.lowest_score)]
                    rows.append([name, server.server, str(score.curve.faces), *cells])
        for server in self.servers:
            if len(server.classes) > 1:
                mean = _share(server.mean_average_precision)
                rows.append(["mean of classes", server.server, "", mean, "", "", ""])
        return rows

    def _band_rows(self) -> list[list[str]]:
        rows = [["class", "height", "labeled", *map(_head, self.servers)]]
        for name in class_names(self.servers):
            bands = [_bands_of(server, name) for server in self.servers]
            for number, band in enumerate(next(filter(None, bands), ())):
                if band.faces == 0:
                    continue
                found = [_share(own[number].average_precision) if own else "" for own in bands]
                rows.append([name, _range(band), str(band.faces), *found])
        return rows

    def _landmark_rows(self) -> list[list[str]]:
        known = [(_head(s), s.landmarks) for s in self.servers if s.landmarks is not None]
        if not known:
            return []
        regions = [errors.by_region() for _, errors in known]
        rows = [["", *(server for server, _ in known)]]
        for name in max(regions, key=len):
            pairs = [own.get(name, (math.nan, math.nan)) for own in regions]
            rows.append([name, *(f"{_pixels(px)}  {_percent(share)}" for px, share in pairs)])
        figures: list[tuple[str, list[str]]] = [
            ("median face", [_percent(errors.median_eye_share) for _, errors in known]),
            ("faces", [str(errors.faces) for _, errors in known]),
            ("faces missed", [_percent(errors.missed_share) for _, errors in known]),
            (f"missed or over {FAILURE:.0%}", [_percent(e.failed_share) for _, e in known]),
        ]
        return rows + [[name, *cells] for name, cells in figures]

    def _failure_lines(self) -> list[str]:
        if not self.failures:
            return []
        files = len({failure.file for failure in self.failures})
        lines = [f"Left out, {files:,} in all:"]
        lines += [f"  {failure.text()}" for failure in self.failures[:_MOST_SHOWN]]
        if len(self.failures) > _MOST_SHOWN:
            lines.append(f"  and {len(self.failures) - _MOST_SHOWN:,} more, which --json names")
        return ["\n".join(lines)]


def _bands_of(server: ServedScore, name: str) -> tuple[BandScore, ...]:
    for score, bands in zip(server.classes, server.bands, strict=True):
        if score.name == name:
            return bands
    return ()


def _server_values(server: ServedScore) -> dict[str, Any]:
    return {
        "server": server.server,
        "mean_average_precision": _value(server.mean_average_precision),
        "classes": [
            _class_values(score, bands)
            for score, bands in zip(server.classes, server.bands, strict=True)
        ],
        "landmarks": None if server.landmarks is None else _landmark_values(server.landmarks),
    }


def _class_values(score: ClassScore, bands: Sequence[BandScore]) -> dict[str, Any]:
    return {
        "class": score.name,
        "faces": score.curve.faces,
        "average_precision": _value(score.average_precision),
        "precision": _value(score.precision),
        "recall": _value(score.recall),
        "lowest_score": _value(score.lowest_score),
        "by_height": [
            {
                "low": band.low,
                "high": band.high,
                "faces": band.faces,
                "average_precision": _value(band.average_precision),
            }
            for band in bands
        ],
        "curve": {
            "scores": [_value(float(number)) for number in score.curve.scores],
            "precision": [_value(float(number)) for number in score.curve.precision],
            "recall": [_value(float(number)) for number in score.curve.recall],
        },
    }


def _landmark_values(errors: LandmarkErrors) -> dict[str, Any]:
    return {
        "faces": errors.faces,
        "missed": errors.missed,
        "missed_share": _value(errors.missed_share),
        "failed_share": _value(errors.failed_share),
        "median_eye_share": _value(errors.median_eye_share),
        "by_region": {
            name: {"crop_pixels": _value(pixels), "eye_share": _value(share)}
            for name, (pixels, share) in errors.by_region().items()
        },
    }


def _head(server: ServedScore) -> str:
    """Return a server's name as a column's head of two lines, so that several fit side by side."""
    return server.server.replace(" at ", "\n")


def _table(rows: Sequence[Sequence[str]], left: int) -> str:
    """Return rows as lines, the first ``left`` columns to the left and a rule below the head.

    The first row is the head, whose cells may have two lines.
    """
    head = [cell.split("\n") for cell in rows[0]]
    height = max(map(len, head))
    heads = [[""] * (height - len(cell)) + cell for cell in head]
    rows = [*map(list, zip(*heads, strict=True)), *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(height, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def _range(band: BandScore) -> str:
    if band.high >= 1000:  # higher than any frame
        return f"{band.low:g} px and more"
    return f"{band.low:g}-{band.high:g} px"


def _share(value: float) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.2%}"


def _pixels(value: float) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.2f} px"


def _value(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)

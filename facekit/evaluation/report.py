"""The scores of servers side by side, as text and as values for JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from facekit.contract import NETWORK_HEIGHT
from facekit.errors import FacekitError
from facekit.evaluation.class_scores import BandScore, ClassScore
from facekit.evaluation.landmark_errors import FAILURE, LandmarkErrors
from facekit.evaluation.served import ScoringRules, ServedScore, class_names
from facekit.labels.photo_labels import PhotoLabels
from facekit.landmarks.scheme import POINT_COUNTS
from facekit.text import count, one_line, table

FORMAT_VERSION = 1
"""Of the JSON; it changes when a key changes its meaning or goes."""

_MOST_SHOWN = 20
_NOTHING = "-"


@dataclass(frozen=True)
class Remarks:
    """Counts of what is not measured although nothing is wrong with it.

    That is photos without labels, objects marked as difficult, crowd or ``DontCare``, and objects
    by their number of points, where no face scheme has so many.
    """

    unlabeled: int = 0
    ignored: int = 0
    other_points: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, photos: Sequence[PhotoLabels], unlabeled: int) -> Remarks:
        """Count what the labels of some photos hold."""
        sizes = Counter(
            len(points)
            for photo in photos
            for points in photo.points_xy
            if points is not None and len(points) not in POINT_COUNTS
        )
        ignored = sum(int(photo.ignored.sum()) for photo in photos)
        return cls(unlabeled, ignored, dict(sorted(sizes.items())))

    def lines(self) -> list[str]:
        """Return a line for each kind of which there are some."""
        lines = []
        if self.unlabeled:
            lines.append(f"{count(self.unlabeled, 'photo')} without a label file: not looked at.")
        if self.ignored:
            lines.append(
                f"{count(self.ignored, 'object')} marked as difficult, crowd, invalid or DontCare: "
                "neither missed nor wrong to find."
            )
        for points, objects in self.other_points.items():
            schemes = ", ".join(map(str, POINT_COUNTS))
            lines.append(
                f"{count(objects, 'object')} with {count(points, 'point')}: not compared, the face "
                f"schemes have {schemes}."
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "photos_without_labels": self.unlabeled,
            "ignored_objects": self.ignored,
            "objects_by_points_of_no_scheme": {str(k): n for k, n in self.other_points.items()},
        }


@dataclass(frozen=True)
class Failure:
    """A photo or label file that does not count, and why.

    ``server`` is whose answer it is, where several servers were asked.
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

    ``photos`` are those that every server answered, ``faces`` their labeled faces of all sizes and
    classes. There is an entry of ``servers`` a server and model, and one of ``failures`` for each
    server that failed on something; ``remarks`` is what else is not measured. ``wider`` is the
    average precision of WIDER FACE's subsets by server, where the labels have them.
    """

    labels: str
    rules: ScoringRules
    photos: int
    faces: int
    servers: tuple[ServedScore, ...]
    failures: tuple[Failure, ...]
    remarks: Remarks = Remarks()
    wider: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

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
        parts = [
            head,
            table(self._score_rows(), "ll" + "r" * 5),
            "A curve ends at the lowest score that the server gives: AP counts what it holds back "
            "as missed.",
            "AP by height",
            table(self._band_rows(), "ll" + "r" * (1 + len(self.servers))),
        ]
        if self.wider:
            subsets = list(next(iter(self.wider.values())))
            rows = [[name, *map(_share, own.values())] for name, own in self.wider.items()]
            parts += [
                "AP by WIDER FACE's own protocol, of all photos and faces",
                table([["server", *subsets], *rows], "l" + "r" * len(subsets)),
            ]
        landmark_rows = self._landmark_rows()
        if landmark_rows:
            parts += [
                "Landmarks: mean error in pixels of the 80x80 crop, and over the distance of the "
                "outer eye corners",
                table(landmark_rows, "l" + "r" * (len(landmark_rows[0]) - 1)),
            ]
        if self.remarks.lines():
            parts.append("\n".join(self.remarks.lines()))
        parts += self._failure_lines()
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; null stands for what can't be measured."""
        return {
            "format": FORMAT_VERSION,
            "labels": self.labels,
            "minimum_overlap": self.rules.minimum_overlap,
            "minimum_height": self.rules.minimum_height,
            "average_precision_mode": self.rules.mode,
            "photos": self.photos,
            "faces": self.faces,
            "servers": _rounded([_server_values(server) for server in self.servers]),
            "wider": _rounded({name: dict(own) for name, own in self.wider.items()}),
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
            bands = [
                next((score.bands for score in server.classes if score.name == name), ())
                for server in self.servers
            ]
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


def _server_values(server: ServedScore) -> dict[str, Any]:
    return {
        "server": server.server,
        "mean_average_precision": server.mean_average_precision,
        "classes": [_class_values(score) for score in server.classes],
        "landmarks": None if server.landmarks is None else _landmark_values(server.landmarks),
    }


def _class_values(score: ClassScore) -> dict[str, Any]:
    curve = {
        name: getattr(score.curve, name).tolist() for name in ("scores", "precision", "recall")
    }
    return {
        "class": score.name,
        "faces": score.curve.faces,
        "average_precision": score.average_precision,
        "precision": score.precision,
        "recall": score.recall,
        "lowest_score": score.lowest_score,
        "by_height": [asdict(band) for band in score.bands],
        "curve": curve,
    }


def _landmark_values(errors: LandmarkErrors) -> dict[str, Any]:
    regions = errors.by_region().items()
    return {
        "faces": errors.faces,
        "missed": errors.missed,
        "missed_share": errors.missed_share,
        "failed_share": errors.failed_share,
        "median_eye_share": errors.median_eye_share,
        "by_region": {
            name: {"crop_pixels": pixels, "eye_share": share} for name, (pixels, share) in regions
        },
    }


def _head(server: ServedScore) -> str:
    """Return a server's name as a column's head of two lines, so that several fit side by side."""
    return server.server.replace(" at ", "\n")


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


def _rounded(value: Any) -> Any:
    """Return nested values with six digits, and None for NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value

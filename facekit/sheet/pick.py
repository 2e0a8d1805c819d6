"""Choose the photos of a dataset that are worth seeing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from facekit.annotations.record import PhotoRecord
from facekit.errors import ConfigError
from facekit.faces import Faces
from facekit.landmarks.eyes import has_eyes

MIXTURE = "mixture"
"""In turns a photo with many faces, one with a face turned far, one with a low score, as long as
there are any, and one from anywhere in the dataset; among them up to a sixth that failed."""

PICKS = (MIXTURE, "spread", "most-faces", "rotation", "lowest-score", "sharpest", "failures")
"""The ways to choose: ``spread`` takes photos at even distances through the dataset, and
``rotation`` those of the faces that are turned farthest, to either side, and ``sharpest`` those
whose least sharp face is sharpest."""

_REASONS = {
    "spread": "",
    "most-faces": "many faces",
    "rotation": "turned far",
    "lowest-score": "low score",
    "failures": "",
}
_MANY_FACES, _FAR_DEG, _LOW_SCORE = 3, 20.0, 0.7
"""Least faces, least rotation and highest score of such photos in a mixture."""
_FAILURES_PART = 6


@dataclass(frozen=True)
class Pick:
    """A photo that was chosen, and a few words on why."""

    record: PhotoRecord
    why: str = ""


def pick(records: Sequence[PhotoRecord], how: str, count: int) -> list[Pick]:
    """Choose at most ``count`` photos by one of :data:`PICKS`; the same ones every time, each once.

    Raises ConfigError if ``how`` is unknown.
    """
    if how not in PICKS:
        raise ConfigError(f"unknown way to pick photos {how!r}; expected {', '.join(PICKS)}")
    if how != MIXTURE:
        return [Pick(record) for record in _ranked(records, how, count)]
    failed = _ranked(records, "failures", count // _FAILURES_PART)
    kinds = ("most-faces", "rotation", "lowest-score", "spread")
    # Photos may stand in several rankings: each is as long as to have one left for every turn.
    rankings = {
        kind: iter([record for record in _ranked(records, kind, count) if _is_such(record, kind)])
        for kind in kinds
    }
    chosen = dict(_in_turns(rankings, count - len(failed)))
    return [Pick(record, _REASONS[kind]) for record, kind in chosen.items()] + [
        Pick(record) for record in failed
    ]


def lowest_score(faces: Faces) -> float:
    """Return the lowest score of a photo's faces; 1 where there is none."""
    return float(faces.scores.min(initial=1.0))


def farthest_rotation(faces: Faces) -> float:
    """Return the rotation farthest from upright in degrees; NaN where no face has one."""
    if not len(faces) or not has_eyes(faces.points_xy.shape[1]):
        return float("nan")
    known = faces.rotations_deg[np.isfinite(faces.rotations_deg)]
    return float(known[np.abs(known).argmax()]) if len(known) else float("nan")


def _is_such(record: PhotoRecord, kind: str) -> bool:
    faces = record.faces
    if faces is None or kind == "spread":
        return True
    if kind == "most-faces":
        return len(faces) >= _MANY_FACES
    if kind == "rotation":
        return abs(farthest_rotation(faces)) >= _FAR_DEG
    return lowest_score(faces) <= _LOW_SCORE


def _in_turns(
    rankings: dict[str, Iterator[PhotoRecord]], count: int
) -> Iterator[tuple[PhotoRecord, str]]:
    taken: set[str] = set()
    waiting = dict(rankings)
    while waiting and len(taken) < count:
        for kind in list(waiting):
            record = next((r for r in waiting[kind] if r.photo not in taken), None)
            if record is None:
                del waiting[kind]
            elif len(taken) < count:
                taken.add(record.photo)
                yield record, kind


def _ranked(records: Sequence[PhotoRecord], how: str, count: int) -> list[PhotoRecord]:
    if how in ("spread", "failures"):
        listed = [r for r in records if (r.faces is None) == (how == "failures")]
        places = np.linspace(0, len(listed) - 1, min(count, len(listed)))
        return [listed[place] for place in places.round().astype(int)]
    keys: dict[str, Callable[[Faces], float]] = {
        "most-faces": lambda faces: -float(len(faces)),
        "rotation": lambda faces: -abs(np.nan_to_num(farthest_rotation(faces))),
        "lowest-score": lowest_score,
        "sharpest": lambda faces: -float(faces.sharpness.min()),
    }
    found = [
        (keys[how](r.faces), k, r)
        for k, r in enumerate(records)
        if r.faces is not None and len(r.faces) and not (how == "sharpest" and _unknown(r.faces))
    ]
    return [record for _, _, record in sorted(found, key=lambda entry: entry[:2])[:count]]


def _unknown(faces: Faces) -> bool:
    return bool(np.isnan(faces.sharpness).any())

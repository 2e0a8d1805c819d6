"""The face sets of a run, in the order of the tutorial's summary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facekit.datasets.fddb import read_fddb
from facekit.datasets.mafa import read_mafa
from facekit.datasets.portraits import read_empty, read_portraits
from facekit.datasets.source import FaceSet, Report, SourcePhoto
from facekit.datasets.voc_sets import read_mask_detection, read_medical_masks
from facekit.datasets.wider import MOST_FACES, PICKED_EVENTS, read_wider

EVALUATED = ("mask_detection", "mafa", "wider")
"""Fields of :class:`Folders`: the sets with a part to evaluate on."""

_FACES = "Total Mask faces: {mask} and No-Mask faces:{no_mask}"
_LABELED = "Mask Labelled:{mask} and No-Mask Labelled:{no_mask}"


@dataclass(frozen=True)
class Rules:
    """Rules of the tutorial that may be unwanted.

    Attributes:
        mafa_wide_only: Leave out MAFA's photos that are higher than wide.
        wider_events: Events of WIDER FACE to take; None for all.
        wider_most_faces: Photos of WIDER FACE with more unoccluded faces are left out.
    """

    mafa_wide_only: bool = True
    wider_events: Collection[str] | None = PICKED_EVENTS
    wider_most_faces: int = MOST_FACES


@dataclass(frozen=True)
class Folders:
    """Where the sets lie; None for one that is not wanted."""

    kaggle: Path | None = None
    mask_detection: Path | None = None
    mafa: Path | None = None
    portraits: Path | None = None
    fddb: Path | None = None
    wider: Path | None = None
    empty: Path | None = None


def face_sets(folders: Folders, rules: Rules, *, evaluation: bool) -> list[FaceSet]:
    """Return what there is to train on, or to evaluate on: the sets that have a part for it.

    Sets of which all photos are taken stand before the large ones of their class, which fill up
    what is left of the limit.
    """
    mafa = partial(read_mafa, evaluation=evaluation, wide_only=rules.mafa_wide_only)
    wider = partial(
        read_wider,
        evaluation=evaluation,
        events=rules.wider_events,
        most_faces=rules.wider_most_faces,
    )
    # Field of Folders, line of the summary, reader.
    known: tuple[tuple[str, str, Callable[[Path, Report], Sequence[SourcePhoto]]], ...] = (
        ("kaggle", f"Kaggle Dataset: {_FACES}", read_medical_masks),
        (
            "mask_detection",
            f"Face Mask Detection: {_FACES}",
            partial(read_mask_detection, evaluation=evaluation),
        ),
        ("mafa", f"MAFA Dataset: {_FACES}", mafa),
        ("portraits", f"Portraits: {_LABELED}", read_portraits),
        ("fddb", f"FDDB Dataset: {_LABELED}", read_fddb),
        ("wider", f"WideFace: Total {_LABELED}", wider),
        ("empty", f"No Faces: {_LABELED}", lambda folder, _: read_empty(folder)),
    )
    return [
        FaceSet(name.replace("_", "-"), summary, folder, partial(read, folder))
        for name, summary, read in known
        if (folder := getattr(folders, name)) is not None and (not evaluation or name in EVALUATED)
    ]

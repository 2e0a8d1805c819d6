"""The face sets of a run, in the order of the tutorial's summary."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facekit.datasets.fddb import read_fddb
from facekit.datasets.mafa import read_mafa
from facekit.datasets.portraits import read_empty, read_portraits
from facekit.datasets.source import FaceSet
from facekit.datasets.voc_sets import read_mask_detection, read_medical_masks
from facekit.datasets.wider import MOST_FACES, PICKED_EVENTS, read_wider

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


def training_sets(folders: Folders, rules: Rules) -> list[FaceSet]:
    """Return what there is to train on.

    Sets of which all photos are taken stand before the large ones of their class, which fill up
    what is left of the limit.
    """
    sets = []
    if (folder := folders.kaggle) is not None:
        read = partial(read_medical_masks, folder)
        sets.append(FaceSet("kaggle", f"Kaggle Dataset: {_FACES}", folder, read))
    if folders.mask_detection is not None:
        sets.append(_mask_detection(folders.mask_detection, evaluation=False))
    if folders.mafa is not None:
        sets.append(_mafa(folders.mafa, rules, evaluation=False))
    if (folder := folders.portraits) is not None:
        read = partial(read_portraits, folder)
        sets.append(FaceSet("portraits", f"Portraits: {_LABELED}", folder, read))
    if (folder := folders.fddb) is not None:
        read = partial(read_fddb, folder)
        sets.append(FaceSet("fddb", f"FDDB Dataset: {_LABELED}", folder, read))
    if folders.wider is not None:
        sets.append(_wider(folders.wider, rules, evaluation=False))
    if (empty := folders.empty) is not None:
        sets.append(FaceSet("empty", f"No Faces: {_LABELED}", empty, lambda _: read_empty(empty)))
    return sets


def evaluation_sets(folders: Folders, rules: Rules) -> list[FaceSet]:
    """Return what there is to evaluate on: the sets that have a part for it."""
    sets = []
    if folders.mask_detection is not None:
        sets.append(_mask_detection(folders.mask_detection, evaluation=True))
    if folders.mafa is not None:
        sets.append(_mafa(folders.mafa, rules, evaluation=True))
    if folders.wider is not None:
        sets.append(_wider(folders.wider, rules, evaluation=True))
    return sets


def _mask_detection(folder: Path, *, evaluation: bool) -> FaceSet:
    read = partial(read_mask_detection, folder, evaluation=evaluation)
    return FaceSet("mask-detection", f"Face Mask Detection: {_FACES}", folder, read)


def _mafa(folder: Path, rules: Rules, *, evaluation: bool) -> FaceSet:
    read = partial(read_mafa, folder, evaluation=evaluation, wide_only=rules.mafa_wide_only)
    return FaceSet("mafa", f"MAFA Dataset: {_FACES}", folder, read)


def _wider(folder: Path, rules: Rules, *, evaluation: bool) -> FaceSet:
    read = partial(
        read_wider,
        folder,
        evaluation=evaluation,
        events=rules.wider_events,
        most_faces=rules.wider_most_faces,
    )
    return FaceSet("wider", f"WideFace: Total {_LABELED}", folder, read)

"""A photo of a public face set as its labels describe it, before it is converted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facekit.errors import DataError
from facekit.labels.kitti import DONT_CARE
from facekit.labels.listed import Report

MASK = "Mask"
NO_MASK = "No-Mask"
INCORRECT_MASK = "incorrect-mask"
"""A mask that leaves the nose or mouth bare: not in any class that the tutorial trains."""
COUNTED = (MASK, NO_MASK)
"""The classes that are counted and limited, in the order of the summary."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


@dataclass(frozen=True)
class SourceFace:
    """A labeled face: its box in pixels of the photo, which it may exceed, and its KITTI class.

    The line of the label file (row, in a MATLAB file) counts from 1; None where the file is of
    this face alone.
    """

    box_xyxy: Box
    class_name: str
    line: int | None = None


@dataclass(frozen=True)
class SourcePhoto:
    """A photo that a set's rules accept.

    Attributes:
        name: Its name in the set without suffix; folders may be part of it.
        photo: The file.
        labels: The label file; the photo itself where it needs none.
        faces: Its faces; those that the set's rules leave out are ``DontCare``.
        size_wh: Size in pixels that the labels give, None where they give none.
        window_xyxy: The part of the photo to cut out, in its pixels; None for all of it. Only a
            photo whose coordinates are ``upright`` has one.
        subject: The face that the window is cut out around; None without a window. Only what is
            wrong with this face is reported, as every other one has a window of its own.
        unlabeled_xyxy: Regions in which faces may be unlabeled, in pixels of the photo and as far
            beyond as they like; written as ``DontCare``, except for the labeled faces in them.
        wide_only: Leave the photo out if it is higher than wide.
        empty: It is wanted for having no face.
        upright: All coordinates are of the upright photo already. Otherwise they are of the stored
            pixels, unless ``size_wh`` is that of the upright photo alone.
    """

    name: str
    photo: Path
    labels: Path
    faces: tuple[SourceFace, ...]
    size_wh: tuple[int, int] | None = None
    window_xyxy: Box | None = None
    subject: SourceFace | None = None
    unlabeled_xyxy: tuple[Box, ...] = ()
    wide_only: bool = False
    empty: bool = False
    upright: bool = False

    @property
    def wanted(self) -> bool:
        """Whether it has a face of any class, or is wanted for having none."""
        return self.empty or any(face.class_name != DONT_CARE for face in self.faces)

    @property
    def counts(self) -> Counter[str]:
        """Number of labeled faces of each counted class; of a window only its subject.

        Which other faces lie in a window is only known once the photo's size is.
        """
        faces = self.faces if self.subject is None else (self.subject,)
        return Counter(face.class_name for face in faces if face.class_name in COUNTED)


@dataclass(frozen=True)
class FaceSet:
    """A face set to convert.

    ``prefix``, without an underscore, begins its files' names; ``summary`` is its line of the
    summary, with ``{mask}`` and ``{no_mask}``; ``read`` returns its photos in order and gives what
    is wrong with one to its argument.
    """

    prefix: str
    summary: str
    folder: Path
    read: Callable[[Report], Sequence[SourcePhoto]]


def to_box(values: Iterable[float]) -> Box:
    """Return four numbers as a box."""
    x1, y1, x2, y2 = values
    return (x1, y1, x2, y2)


def box_text(box: Iterable[float]) -> str:
    """Return a box as an error shows it."""
    return ", ".join(f"{value:g}" for value in box)


def faces_of(
    rows: Iterable[tuple[Box, str | None, int | None]], labels: Path, report: Report
) -> tuple[SourceFace, ...]:
    """Return the faces of some rows; one whose box is empty or not finite is reported instead.

    A row is box, class and line; the class None stands for a face that the set's rules leave out,
    which may have an empty box. ``labels`` is the label file.
    """
    faces = []
    for box, class_name, line in rows:
        if not all(math.isfinite(value) for value in box):
            report(DataError(labels, f"a box that is not finite: {box_text(box)}", line))
        elif box[2] > box[0] and box[3] > box[1]:
            faces.append(SourceFace(box, DONT_CARE if class_name is None else class_name, line))
        elif class_name is not None:
            report(DataError(labels, f"an empty box: {box_text(box)}", line))
    return tuple(faces)

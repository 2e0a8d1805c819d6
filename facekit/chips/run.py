"""Write a dataset's faces as chips into a folder, with a listing of what each one is."""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekit.annotations.dataset import name_fields, name_of
from facekit.annotations.output import claim_folder
from facekit.annotations.record import PhotoRecord
from facekit.chips.geometry import (
    MARGIN,
    DegenerateFaceError,
    Template,
    affine_of,
    check_template,
    cut_chip,
)
from facekit.draw import open_upright
from facekit.errors import ConfigError, PhotoError, writing
from facekit.faces import Face
from facekit.files import FolderLock, write_whole
from facekit.landmarks.crops import FloatArray
from facekit.parallel import in_order
from facekit.progress import ProgressBar
from facekit.selection import MAX_YAW_DEG, FaceLimits

LISTING = "chips.jsonl"
"""One line a chip, in the dataset's order: ``chip`` (its file), ``photo``, ``face`` (its place
among the photo's faces, from 1), ``score``, ``rotation`` (degrees, clockwise as seen), ``pose``
(yaw, pitch and roll in degrees; null where unknown, as ``sharpness`` may be), ``sharpness`` and
``affine``, the 2 x 3 map from pixels of the upright photo to pixels of the chip. A name that is not
UTF-8 has escapes, and its bytes stand beside it, as ``chip_hex`` or ``photo_hex``."""
SKIPPED = "chips.failures.jsonl"
"""One line for each face or photo without a chip; absent where every one has a chip."""
SIZES = (16, 2048)
"""Smallest and largest side of a chip in pixels."""

_SUFFIXES = {"jpg": ".jpg", "png": ".png"}
_SAVING: dict[str, dict[str, Any]] = {
    # Colors as fine as the brightness: a chip is small, and networks look at both.
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "png": {"format": "PNG"},
}
_LARGEST_MARGIN = 5.0
_CHIP = re.compile(r"\.face\d+\.(jpg|png)(\.\d+|\.part)?\Z")
"""A chip's name, or that of one which a killed run was writing."""
_DIGITS = 6


@dataclass(frozen=True)
class ChipOptions:
    """How chips are made.

    Attributes:
        size: Side in pixels.
        margin: Around the landmarks, as a part of the side of the square that they fill.
        format: ``jpg`` or ``png``.
        min_score: Faces of a lower score get no chip.
        min_size: Nor do those whose box has a side of fewer pixels.
        template: ``eyes`` or ``arcface112``, see ``facekit.chips.geometry.read_chip``.
        min_sharpness: Nor those that are less sharp,
        max_yaw_deg: or turn farther to either side.
        jobs: Photos that are worked on at a time; 0 for as many as there are processors.
    """

    size: int = 256
    margin: float = MARGIN
    format: str = "jpg"
    min_score: float = 0.0
    min_size: float = 0.0
    jobs: int = 0
    template: Template = "eyes"
    min_sharpness: float = 0.0
    max_yaw_deg: float = MAX_YAW_DEG

    def __post_init__(self) -> None:
        """Check the values; raises ConfigError for one out of its range."""
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise ConfigError(f"size: expected {SIZES[0]} to {SIZES[1]} pixels, got {self.size}")
        if not 0 <= self.margin <= _LARGEST_MARGIN:
            raise ConfigError(f"margin: expected 0 to {_LARGEST_MARGIN:g}, got {self.margin}")
        if self.format not in _SUFFIXES:
            raise ConfigError(f"format: expected {' or '.join(_SUFFIXES)}, got {self.format}")
        if self.jobs < 0:
            raise ConfigError(f"jobs: expected 0 or more, got {self.jobs}")
        check_template(self.template)
        _ = self.limits  # which checks them

    @property
    def limits(self) -> FaceLimits:
        """Which faces get a chip."""
        return FaceLimits(self.min_score, self.min_size, self.min_sharpness, self.max_yaw_deg)


@dataclass(frozen=True)
class SkippedFace:
    """A face, numbered from 1 in its photo, that has no chip, and why; None for the whole photo."""

    photo: str
    face: int | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: a name that is not UTF-8 has escapes, and its bytes beside."""
        return name_fields("photo", self.photo) | {"face": self.face, "reason": self.reason}

    def __str__(self) -> str:
        face = "" if self.face is None else f", face {self.face}"
        return f"{self.photo}{face}: {self.reason}"


@dataclass(frozen=True)
class ChipSummary:
    """How many chips of how many photos were written, and what was skipped."""

    chips: int
    photos: int
    skipped: tuple[SkippedFace, ...]


def align_faces(
    records: Iterable[PhotoRecord],
    photo_folder: Path,
    out: Path,
    options: ChipOptions | None = None,
    *,
    bar: ProgressBar | None = None,
) -> ChipSummary:
    """Write a chip for every face of the records, and the listing beside them.

    The files depend on the records, the photos and the options alone. Chips that an earlier run
    left in this folder, and that this one does not make, are removed.

    Args:
        records: A dataset's photos; those with an error have no faces and are passed over.
        photo_folder: What their paths count from.
        out: Where the chips go: a new folder, an empty one, or one of chips.
        options: How they are made; the defaults when left out.
        bar: Advanced once a record.

    Raises:
        DataError: The folder contains other things, is being filled by another process or can't be
            written to, or the disk is full.
    """
    chosen = ChipOptions() if options is None else options
    rows: list[dict[str, Any]] = []
    skipped: list[SkippedFace] = []
    photos = 0

    def align(record: PhotoRecord) -> tuple[list[dict[str, Any]], list[SkippedFace]]:
        return _align_photo(record, photo_folder, out, chosen)

    jobs = chosen.jobs or len(os.sched_getaffinity(0))
    with writing(out), FolderLock(out), ThreadPoolExecutor(jobs) as pool:
        claim_folder(out, "chips")
        for made, missing in in_order(pool, align, records, 4 * jobs):
            rows += made
            skipped += missing
            photos += bool(made)
            if bar is not None:
                bar.advance(failed=bool(missing))
        _write_lines(out / LISTING, rows)
        if skipped:
            _write_lines(out / SKIPPED, [each.to_dict() for each in skipped])
        else:
            (out / SKIPPED).unlink(missing_ok=True)
        made_now = {name_of(row, "chip") for row in rows}
        for path in list(out.iterdir()):
            if _CHIP.search(path.name) and path.name not in made_now:
                path.unlink()
    return ChipSummary(len(rows), photos, tuple(skipped))


def _align_photo(
    record: PhotoRecord, photo_folder: Path, out: Path, options: ChipOptions
) -> tuple[list[dict[str, Any]], list[SkippedFace]]:
    """Write the chips of one photo; return their rows of the listing, and what was skipped."""
    maps, skipped = [], []
    wanted = () if record.faces is None else options.limits.meets(record.faces)
    for number, (face, is_wanted) in enumerate(zip(record.faces or (), wanted, strict=True), 1):
        if not is_wanted:
            continue
        try:
            affine = affine_of(
                options.template,
                _known_points(face),
                face.box_xyxy,
                options.size,
                options.margin,
            )
        except DegenerateFaceError as error:
            skipped.append(SkippedFace(record.photo, number, str(error)))
        else:
            maps.append((number, face, affine))
    if not maps or record.faces is None:
        return [], skipped
    path = photo_folder / record.photo
    try:
        image = open_upright(path, record.faces.size_wh)
    except PhotoError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return [], [*skipped, SkippedFace(record.photo, None, reason)]
    rows = []
    for number, face, affine in maps:
        name = chip_name(record.photo, number, _SUFFIXES[options.format])
        buffer = io.BytesIO()
        cut_chip(image, affine, options.size).save(buffer, **_SAVING[options.format])
        write_whole(out / name, buffer.getvalue(), sync=False)
        values = face.to_dict()
        rows.append(
            {
                **name_fields("chip", name),
                **name_fields("photo", record.photo),
                "face": number,
                "score": values["score"],
                "rotation": values["rotation_deg"],
                "pose": values["pose_deg"],
                "sharpness": values["sharpness"],
                "affine": affine.round(_DIGITS).tolist(),
            }
        )
    return rows, skipped


def _known_points(face: Face) -> FloatArray:
    """Return a face's points, NaN for those that a dataset of others does not have."""
    missing = (face.point_scores == 0) & (face.points_xy == 0).all(axis=1)
    return np.where(missing[:, None], np.float32(np.nan), face.points_xy)


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    write_whole(path, "".join(lines))


_LONGEST_BYTES = 200
"""Of the photo's part of the name; file systems take 255 bytes in all."""
_SHOWN = 80
_ODD = re.compile(r"[^\w .+,()\[\]=@-]")
_NOT_ASCII = re.compile(r"[^A-Za-z0-9 .+-]")
_JOINT = "__"
_MARK = "~"


def chip_name(photo: str, number: int, suffix: str) -> str:
    """Return the file name of the chip of a photo's face, numbered from 1.

    Two photos never give the same name: one that could be mistaken for another's, that has
    characters a file system may refuse, or that is too long carries a digest of its whole path.

    >>> chip_name("a.jpg", 1, ".jpg"), chip_name("2011/at sea/b.png", 12, ".jpg")
    ('a.jpg.face1.jpg', '2011__at sea__b.png.face12.jpg')
    >>> chip_name("2011/a_/b?.jpg", 1, ".png")
    '2011__a___b_.jpg~6842dc8b2338.face1.png'
    """
    return f"{_flat(photo)}.face{number}{suffix}"


def _flat(photo: str) -> str:
    parts = photo.split("/")
    flat = _JOINT.join(parts)
    plain = (
        not _ODD.search(photo.replace("/", ""))
        # With these, another photo's parts could be joined to the same text.
        and not any(
            _JOINT in part or part[:1] in ("_", ".", "") or part[-1:] == "_" for part in parts
        )
        and len(os.fsencode(flat)) <= _LONGEST_BYTES
    )
    if plain:
        return flat
    digest = hashlib.sha256(photo.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{_NOT_ASCII.sub('_', flat)[-_SHOWN:].lstrip('._ ')}{_MARK}{digest}"

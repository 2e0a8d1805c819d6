"""A data set's faces as chips in a folder, with a listing of what each one is."""

from __future__ import annotations

import io
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from facekit.annotations.dataset import name_fields, name_of
from facekit.annotations.output import OUTPUT_MARK
from facekit.annotations.record import SCORE_DIGITS, PhotoRecord
from facekit.chips.cut import cut_chip
from facekit.chips.geometry import DegenerateFaceError, chip_from_photo
from facekit.chips.names import chip_name
from facekit.chips.options import FORMATS, ChipOptions
from facekit.draw import open_upright
from facekit.errors import DataError, PhotoError
from facekit.faces import Face
from facekit.files import LOCK_FILE, FolderLock, write_whole
from facekit.landmarks.crops import FloatArray
from facekit.progress import ProgressBar

LISTING = "chips.jsonl"
"""One line a chip, in the data set's order: ``chip`` (its file), ``photo``, ``face`` (its place
among the photo's faces, from 1), ``score``, ``rotation`` (degrees, clockwise as seen) and
``affine``, the 2 x 3 map from pixels of the upright photo to pixels of the chip. A name that is no
UTF-8 has escapes, and its bytes stand beside it, as ``chip_hex`` or ``photo_hex``."""
LEFT_OUT = "chips.failures.jsonl"
"""One line for each face or photo without a chip; there is no such file where there is none."""

_SAVING: dict[str, dict[str, Any]] = {
    # Colors as fine as the brightness: a chip is small, and networks look at both.
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "png": {"format": "PNG"},
}
_CHIP = re.compile(r"\.face\d+\.(jpg|png)(\.\d+)?\Z")
"""A chip's name, or that of one which a killed run was writing."""
_DIGITS = 6
Made = TypeVar("Made")


@dataclass(frozen=True)
class LeftOut:
    """A face, or a whole photo, that has no chip.

    Attributes:
        photo: Path under the photo folder.
        face: The face's place among the photo's, from 1; None for all of the photo's.
        reason: Why, in one line.
    """

    photo: str
    face: int | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: a name that is no UTF-8 has escapes, and its bytes beside."""
        return name_fields("photo", self.photo) | {"face": self.face, "reason": self.reason}

    def __str__(self) -> str:
        face = "" if self.face is None else f", face {self.face}"
        return f"{self.photo}{face}: {self.reason}"


@dataclass(frozen=True)
class ChipSummary:
    """What a run did.

    Attributes:
        chips: How many were written.
        photos: How many photos they are of.
        left_out: What has no chip though it was asked for.
    """

    chips: int
    photos: int
    left_out: tuple[LeftOut, ...]


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
        records: A data set's photos; those with an error have no faces and are passed over.
        photo_folder: What their paths count from.
        out: Where the chips go: a new folder, an empty one, or one of chips.
        options: How they are made; the defaults when left out.
        bar: Advanced once a record.

    Raises:
        DataError: The folder holds other things, is being filled by another process or can't be
            written to, or the disk is full.
    """
    chosen = ChipOptions() if options is None else options
    rows: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    photos = 0
    try:
        jobs = chosen.jobs or len(os.sched_getaffinity(0))
        with FolderLock(out), ThreadPoolExecutor(jobs) as pool:
            _mark(out)
            for made, missing in _in_order(
                pool, lambda r: _align_photo(r, photo_folder, out, chosen), records, 4 * jobs
            ):
                rows += made
                left_out += missing
                photos += bool(made)
                if bar is not None:
                    bar.advance(failed=bool(missing))
            _write_lines(out / LISTING, rows)
            _write_lines(out / LEFT_OUT, [each.to_dict() for each in left_out])
            if not left_out:
                (out / LEFT_OUT).unlink()
            made_now = {name_of(row, "chip") for row in rows}
            for path in list(out.iterdir()):
                if _CHIP.search(path.name) and path.name not in made_now:
                    path.unlink()
    except OSError as e:
        raise DataError(out, f"cannot be written to: {e.strerror or e}") from e
    return ChipSummary(len(rows), photos, tuple(left_out))


def _align_photo(
    record: PhotoRecord, photo_folder: Path, out: Path, options: ChipOptions
) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """Write the chips of one photo; return their rows of the listing, and what was left out."""
    maps, missing = [], []
    for number, face in enumerate(record.faces or (), 1):
        small = min(face.width, face.height) < options.min_size
        # As it is written: in float32, 0.9 is below 0.9.
        if small or round(face.score, SCORE_DIGITS) < options.min_score:
            continue
        try:
            affine = chip_from_photo(_labeled(face), face.box_xyxy, options.size, options.margin)
        except DegenerateFaceError as e:
            missing.append(LeftOut(record.photo, number, str(e)))
        else:
            maps.append((number, face, affine))
    if not maps or record.faces is None:
        return [], missing
    path = photo_folder / record.photo
    try:
        image = open_upright(path)
        if image.size != record.faces.size_wh:
            raise PhotoError(
                "{} x {} pixels, but {} x {} when its faces were found".format(
                    *image.size, *record.faces.size_wh
                )
            )
    except PhotoError as e:
        reason = str(e).removeprefix(f"{path}: ")
        return [], [*missing, LeftOut(record.photo, None, reason)]
    rows = []
    for number, face, affine in maps:
        name = chip_name(record.photo, number, FORMATS[options.format])
        chip = cut_chip(image, affine, options.size)
        write_whole(out / name, _encoded(chip, options.format), sync=False)
        rows.append(_row(name, record.photo, number, face, affine.round(_DIGITS).tolist()))
    return rows, missing


def _labeled(face: Face) -> FloatArray:
    """Return a face's points, NaN for those that a data set of others does not tell."""
    missing = (face.point_scores == 0) & (face.points_xy == 0).all(axis=1)
    return np.where(missing[:, None], np.float32(np.nan), face.points_xy)


def _encoded(chip: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    chip.save(buffer, **_SAVING[kind])
    return buffer.getvalue()


def _row(name: str, photo: str, number: int, face: Face, affine: Any) -> dict[str, Any]:
    known = face.to_dict()
    return {
        **name_fields("chip", name),
        **name_fields("photo", photo),
        "face": number,
        "score": known["score"],
        "rotation": known["rotation_deg"],
        "affine": affine,
    }


def _mark(out: Path) -> None:
    """Make the folder one of chips: none of them is taken for a photo, whoever walks it.

    Raises:
        DataError: It holds other things. A chip might be written over a photo, and the mark would
            hide all photos from ``annotate``.
    """
    mark = out / OUTPUT_MARK
    if not mark.exists():
        if any(path.name != LOCK_FILE for path in out.iterdir()):
            raise DataError(out, "holds other things than chips: give a new or an empty folder")
        mark.touch()


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    write_whole(path, "".join(lines).encode())


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[PhotoRecord], Made],
    records: Iterable[PhotoRecord],
    ahead: int,
) -> Iterator[Made]:
    """Give the results in the records' order, with at most ``ahead`` of them under way."""
    under_way: deque[Future[Made]] = deque()
    try:
        for record in records:
            under_way.append(pool.submit(work, record))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()

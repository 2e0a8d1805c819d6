"""Make a picture of a dataset's file: a contact sheet, or one photo."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageOps

from facekit.annotations import Dataset, read_dataset
from facekit.annotations.dataset import check_photo_folder, name_of
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.draw import draw_faces
from facekit.errors import ConfigError, DataError, InputError, reading
from facekit.progress import ProgressBar
from facekit.sheet.pick import MIXTURE, Pick, pick
from facekit.sheet.sheet import TILE_PX, contact_sheet
from facekit.sheet.tiles import GROUND, TileSize, draw_tile
from facekit.text import count

COUNT = 12
"""Photos of a sheet."""
_SHOWN = 5
_NOTHING = dict.fromkeys((MIXTURE, "spread"), "no photo") | {"failures": "no photo that failed"}
_SAYS = {
    MIXTURE: "a mixture: many faces, faces turned far, low scores, and any",
    "spread": "at even distances through the dataset",
    "most-faces": "the most faces first",
    "rotation": "the farthest turned first",
    "lowest-score": "the lowest scores first",
    "failures": "those that failed",
}


def show_dataset(
    path: Path | str,
    photo_folder: Path | str | None = None,
    *,
    how: str = MIXTURE,
    count_of_photos: int = COUNT,
    columns: int | None = None,
    tile_px: int = TILE_PX,
    bar: ProgressBar | None = None,
) -> Image.Image:
    """Return a contact sheet of a dataset.

    Args:
        path: Its COCO file; what failed is read from the report beside it, where there is one.
        photo_folder: What its file names count from; when left out, what it says itself.
        how: Which photos, one of :data:`facekit.sheet.PICKS`.
        count_of_photos: How many at most.
        columns: As for :func:`facekit.sheet.contact_sheet`, as the next two.
        tile_px: A tile's width in pixels.
        bar: Advanced once a photo.

    Raises:
        ConfigError: There is nothing to show, or ``how`` is unknown.
        DataError: A file can't be used, or none of the photos to show is in the folder.
    """
    path = Path(path)
    dataset, failed = _read(path, photo_folder)
    found = [photo.record for photo in dataset.photos]
    picks = pick([*found, *failed], how, count_of_photos)
    if not picks:
        raise ConfigError(f"{path}: {_NOTHING.get(how, 'no photo with a face')} to show")
    faces = sum(len(record.faces) for record in found if record.faces is not None)
    title = f"{path.name}: {count(faces, 'face')} in {count(len(found), 'photo')}"
    if failed:
        title += f", {len(failed):,} failed"
    shown = f"{count(len(picks), 'photo')} shown, {_SAYS[how]}"
    folder = Path(dataset.info.photo_folder)
    seen = [each.record.photo for each in picks if each.record.faces is not None]
    check_photo_folder(folder, seen)
    return contact_sheet(picks, folder, title, shown, columns=columns, tile_px=tile_px, bar=bar)


def show_photo(path: Path | str, name: str, photo_folder: Path | str | None = None) -> Image.Image:
    """Return one photo of a dataset at its full size, with its faces drawn into it.

    It is named by its path under the photo folder, or the end of it that no other has. One that
    failed is a dark tile with the reason.

    Raises:
        ConfigError: No photo has this name, or several do.
        DataError: A file can't be used, or there is no such folder.
        InputError: The photo can't be read, or has changed since its faces were found.
    """
    dataset, failed = _read(Path(path), photo_folder)
    record = _named([*(photo.record for photo in dataset.photos), *failed], name)
    folder = Path(dataset.info.photo_folder)
    if record.faces is None:
        tile = draw_tile(Pick(record), folder, TileSize(2 * TILE_PX))
        return ImageOps.expand(tile, TILE_PX // 12, GROUND)
    if not folder.is_dir():
        check_photo_folder(folder, [record.photo])
    try:
        return draw_faces(folder / record.photo, record.faces)
    except InputError as error:
        reason = str(error).removeprefix(f"{folder / record.photo}: ")
        raise InputError(f"{record.photo}: {reason}") from error


def failure_report(path: Path) -> Path:
    """Return the file beside a dataset that lists what failed."""
    return path.with_name(f"{path.stem}.failures.jsonl")


def _read(path: Path, photo_folder: Path | str | None) -> tuple[Dataset, list[PhotoRecord]]:
    folder = None if photo_folder is None else Path(photo_folder)
    return read_dataset(path, folder), _failed(failure_report(path))


def _failed(path: Path) -> list[PhotoRecord]:
    """Return the photos that failed; none where there is no report.

    Raises:
        DataError: The report can't be used.
    """
    if not path.exists():
        return []
    records = []
    with reading(path), path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                name, reason = name_of(entry, "photo"), str(entry["reason"])
                if not name:
                    raise ValueError("no name of a photo")
            except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
                raise DataError(path, "does not name a photo and a reason", number) from error
            records.append(PhotoRecord(name, FileStamp(0, 0), error=reason))
    return records


def _named(records: list[PhotoRecord], name: str) -> PhotoRecord:
    same = [record for record in records if record.photo == name]
    ends = same or [record for record in records if record.photo.endswith(f"/{name}")]
    if not ends:
        raise ConfigError(f"no photo is called {name}")
    if len(ends) > 1:
        listed = ", ".join(record.photo for record in ends[:_SHOWN])
        more = f" and {len(ends) - _SHOWN:,} more" if len(ends) > _SHOWN else ""
        raise ConfigError(f"{len(ends)} photos are called {name}: {listed}{more}")
    return ends[0]

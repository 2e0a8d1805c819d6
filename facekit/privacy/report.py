"""The report of a run, for the person who checks it: a table, and a sheet of doubtful photos."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facekit.annotations.dataset import utf8_name
from facekit.annotations.record import SCORE_DIGITS, PhotoRecord
from facekit.errors import writing
from facekit.files import write_whole
from facekit.outputs import begins_as, check_own, is_our_picture, picture_bytes
from facekit.sheet import Pick, contact_sheet
from facekit.sheet.pick import lowest_score
from facekit.text import count

DOUBTFUL = 24
"""Photos of the sheet."""
SURE_SCORE = 0.5
"""From here on a face is no doubtful one: the least score of the server's own configuration."""
_HEAD = ("photo", "faces", "lowest_score", "not_written_because")
_BEGINNING = re.compile(",".join(_HEAD).encode() + rb"\r?\n")


def sheet_path(path: Path) -> Path:
    """Return where the sheet lies: beside the table."""
    return path.with_name(f"{path.stem}.faces.jpg")


def check_report(path: Path) -> None:
    """Raise DataError if the table or the sheet would replace a file that facekit did not write."""
    check_own(path, begins_as(_BEGINNING))
    check_own(sheet_path(path), is_our_picture)


def write_report(path: Path, records: Sequence[PhotoRecord], photo_folder: Path) -> list[Path]:
    """Write the table, and the sheet where any photo is doubtful; return the files.

    The table is CSV with a line a photo: its name, how many faces are covered, the lowest of their
    scores, and why it was not written, if so. The sheet shows the photos as they are, their faces
    uncovered: those of the lowest scores, and some in which no face was found.

    Raises:
        DataError: A file can't be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_HEAD)
    for record in sorted(records, key=lambda each: each.photo):
        faces = record.faces
        score = round(lowest_score(faces), SCORE_DIGITS) if faces else ""
        number = "" if faces is None else len(faces)
        table.writerow([utf8_name(record.photo), number, score, utf8_name(record.error)])
    with writing(path):
        write_whole(path, text.getvalue())
    picks = doubtful(records)
    if not picks:
        sheet_path(path).unlink(missing_ok=True)
        return [path]
    title = f"{count(len(picks), 'doubtful photo')} of {len(records):,}, before they were covered"
    sheet = contact_sheet(picks, photo_folder, title, "not to be published")
    with writing(sheet_path(path)):
        write_whole(sheet_path(path), picture_bytes(sheet, ".jpg"))
    return [path, sheet_path(path)]


def doubtful(records: Sequence[PhotoRecord]) -> list[Pick]:
    """Return the photos that a person should see: half of them with no face, if there are any.

    Those without a face may have one that was missed; of the others, those with a score below
    ``SURE_SCORE`` come, the lowest first.
    """
    found = [(lowest_score(each.faces), each.photo, each) for each in records if each.faces]
    low = [Pick(each, "low score") for score, _, each in sorted(found) if score < SURE_SCORE]
    none = [Pick(each, "no face") for each in records if each.faces is not None and not each.faces]
    shown = low[: max(DOUBTFUL // 2, DOUBTFUL - len(none))]
    places = np.linspace(0, len(none) - 1, min(len(none), DOUBTFUL - len(shown)))
    return [*shown, *(none[place] for place in places.round().astype(int))]

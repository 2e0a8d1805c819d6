"""Output files: written as a stream, whole or not at all, and never over another's work."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from facekit.errors import DataError, writing
from facekit.files import LOCK_FILE, followed, whole_file
from facekit.outputs import begins_as, check_own

OUTPUT_MARK = ".facekit-output"
"""A file that says of its folder that the pictures in it are the kit's own work, no photos."""

DESCRIPTION = "Faces and landmarks found by facekit"
"""Stands at the beginning of each COCO file and in the metadata of each Parquet file."""

Format = Literal["coco", "jsonl", "parquet", "label-studio", "fiftyone"]
"""Of a dataset."""
OutputKind = Literal[Format, "failures", "label-studio-config"]
_NAME = rb'"(?:[^"\\]|\\.)*"'
_JSONL = rb'\{"photo":%s,(?:"photo_hex":"[0-9a-f]*",)?"image_id":-?\d+,"channels":\d+,' % _NAME
_TASK = rb'\{"data":\{"image":%s,"photo":%s,"image_id":-?\d+\},"predictions":\[' % (_NAME, _NAME)
_BEGINNINGS = {
    "coco": re.compile(rb'\{\n"info":\{"description":"%s"' % DESCRIPTION.encode()),
    "jsonl": re.compile(_JSONL),
    "failures": re.compile(rb'\{"photo": %s, (?:"photo_hex": "[0-9a-f]*", )?"reason": "' % _NAME),
    "label-studio": re.compile(rb"\[\]\n\Z|\[\n" + _TASK),
    "label-studio-config": re.compile(
        rb'<View>\n  <Image name="image" value="\$image" zoom="true" zoomControl="true"/>\n'
    ),
}
_BEGINNINGS["fiftyone"] = _BEGINNINGS["coco"]


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """Open an output for writing; it replaces what was there when the block ends well.

    Raises DataError if it can't be written, such as on a full disk, or another process is writing
    it; what was there before is unchanged.
    """
    with writing(path), whole_file(path) as file:
        yield file


def config_path(path: Path) -> Path:
    """Return where the labeling configuration of Label Studio's tasks lies: beside their file."""
    return path.with_name(f"{path.stem}.config.xml")


def failures_path(path: Path) -> Path:
    """Return where the report of photos that failed lies: beside the dataset."""
    return path.with_name(f"{path.stem}.failures.jsonl")


def check_replaceable(path: Path, kind: OutputKind) -> None:
    """Refuse to replace a file that facekit did not write, such as one of labels made by hand.

    A file is the kit's if it begins as the writers begin one, to the byte, or, of Parquet, by its
    metadata; one that another tool has saved anew is not. A file that is empty or missing, a device
    and a pipe may be written to. The kit's file of another ``kind`` is not replaced either; with
    Label Studio's tasks goes their configuration. Raises DataError if the file is another's, or
    can't be read.
    """
    check_own(path, _is_our_parquet if kind == "parquet" else begins_as(_BEGINNINGS[kind]))
    if kind == "label-studio":
        check_replaceable(config_path(path), "label-studio-config")


def _is_our_parquet(path: Path) -> bool:
    """Look for the metadata in the footer, whose length is in front of the last four bytes."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        end = file.read()
        length = int.from_bytes(end[:4], "little")
        if end[4:] != b"PAR1" or length > size - 8:
            return False
        file.seek(size - 8 - length)
        footer = file.read(length)
    return b"facekit.description" in footer and DESCRIPTION.encode() in footer


def claim_folder(folder: Path, what: str) -> None:
    """Create a folder of outputs and mark it; ``annotate`` takes no picture in it for a photo.

    ``what`` is written there, such as "chips". Raises DataError if a folder without the mark
    contains anything, which might be replaced and which the mark would hide from ``annotate``, or
    if it can't be written to.
    """
    mark = folder / OUTPUT_MARK
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            if any(path.name != LOCK_FILE for path in folder.iterdir()):
                raise DataError(
                    folder, f"contains other things than {what}: give a new or an empty folder"
                )
            mark.touch()


@contextmanager
def scratch_file(path: Path) -> Iterator[BinaryIO]:
    """Open a nameless file for a part of ``path`` that has to wait; on the same disk."""
    beside = path.is_file() or not path.exists()
    with tempfile.TemporaryFile(dir=followed(path).parent if beside else None) as file:
        yield file

from __future__ import annotations

import json
import re
import resource
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facekit.annotations as annotations
from facekit.annotations import DatasetInfo, NumberedPhoto
from facekit.annotations.output import output_file
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import DataError
from tests.annotations.random_photos import contents, random_faces, random_photos, source

INFO = DatasetInfo("/photos", "faces")
WRITERS = [
    annotations.write_coco,
    annotations.write_jsonl,
    annotations.write_parquet,
    annotations.write_label_studio,
    annotations.write_fiftyone,
]
Writer = Callable[..., None]


@contextmanager
def full_disk_after(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: a write then fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("size", [100, 9000])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, write: Writer, size: int) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with full_disk_after(size), pytest.raises(DataError) as caught:
        write(path, source(random_photos(1) + random_photos(2)), INFO)
    assert caught.value.path == path
    assert "free some space and run the same command again" in str(caught.value)
    assert path.read_text() == "old"
    assert files(tmp_path) == ["out"]


@pytest.mark.parametrize("write", WRITERS)
def test_the_bytes_depend_on_the_photos_alone(tmp_path: Path, write: Writer) -> None:
    found = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        write(tmp_path / place / "out", source(random_photos(4)), INFO)
        found.append(
            {name: (tmp_path / place / name).read_bytes() for name in files(tmp_path / place)}
        )
    assert found[0] == found[1] and len(found[0]["out"]) > 1000
    write(tmp_path / "a/out", source(random_photos(5)), INFO)
    assert (tmp_path / "a/out").read_bytes() != found[0]["out"]


@pytest.mark.parametrize("write", [write for write in WRITERS if "parquet" not in write.__name__])
def test_json_has_no_half_surrogates(tmp_path: Path, write: Writer) -> None:
    """One in a name makes the whole file useless to pandas, pyarrow, DALI and most others."""
    photos = random_photos(4)
    assert any("\udcff" in photo.record.photo for photo in photos)
    write(tmp_path / "out", source(photos), DatasetInfo("/photos \udcfe", "faces"))
    for line in (tmp_path / "out").read_text().splitlines():
        for text in re.findall(r'"(?:[^"\\]|\\.)*"', line):
            json.loads(text).encode()


def test_a_name_that_is_no_utf8_is_read_back(tmp_path: Path) -> None:
    photos = random_photos(4)
    info = DatasetInfo("/photos \udcfe", "faces")
    annotations.write_coco(tmp_path / "out", source(photos), info)
    dataset = annotations.read_dataset(tmp_path / "out")
    assert dataset.info.photo_folder == info.photo_folder
    assert contents(dataset.photos) == contents(photos)


@pytest.mark.parametrize("write", WRITERS)
def test_photos_are_let_go_as_they_are_written(tmp_path: Path, write: Writer) -> None:
    seen: list[weakref.ref[Any]] = []
    most = 0

    def photos() -> Iterator[NumberedPhoto]:
        nonlocal most
        for number in range(1, 40):
            faces = random_faces(np.random.default_rng(number), 1)
            record = PhotoRecord(f"{number}.jpg", FileStamp(1, 1), faces)
            seen.append(weakref.ref(record))
            yield NumberedPhoto(number, record)
            del record
            most = max(most, sum(ref() is not None for ref in seen))

    write(tmp_path / "out", photos, INFO)
    assert len(seen) == 39 and most <= 3


def test_two_writers_of_one_output_are_told_apart(tmp_path: Path) -> None:
    with output_file(tmp_path / "out") as out:
        with pytest.raises(DataError, match="another process is writing it"):
            with output_file(tmp_path / "out"):
                raise AssertionError("never reached")
        out.write(b"first")
    assert (tmp_path / "out").read_bytes() == b"first"


def test_a_folder_is_refused_as_an_output(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Is a directory"), output_file(tmp_path):
        raise AssertionError("never reached")

"""The mosaics are the same at every call; a caller's own photos are read as they are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import mosaics, own_photos
from facekit.errors import PhotoError


def test_mosaics_are_jpegs_of_the_size_and_always_the_same() -> None:
    first, again = mosaics((320, 200), 3), mosaics((320, 200), 3)
    assert len({photo.tobytes() for photo in first.photos}) == len(first.photos) == 4
    for one, other in zip(first.photos, again.photos, strict=True):
        np.testing.assert_array_equal(one, other)
        with Image.open(io.BytesIO(one.tobytes())) as image:
            assert (image.format, image.size) == ("JPEG", (320, 200))


def test_own_photos_reads_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"bb")
    (tmp_path / "a.PNG").write_bytes(b"a")
    (tmp_path / "notes.txt").write_bytes(b"no photo")
    single = tmp_path / "no_suffix"
    single.write_bytes(b"cccc")
    found = own_photos([tmp_path, single])
    assert [photo.tobytes() for photo in found.photos] == [b"a", b"bb", b"cccc"]


def test_own_photos_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no photos in .*" + tmp_path.name):
        own_photos([tmp_path])
    with pytest.raises(PhotoError, match=r"gone\.jpg: No such file"):
        own_photos([tmp_path / "gone.jpg"])

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit import PhotoError, limits
from facekit.client.photos import read_photo
from facekit.client.pixels import encode_pixels
from facekit.data import probe_photo


def test_read_photo_takes_bytes_paths_and_arrays_alike(tmp_path: Path) -> None:
    data = probe_photo()
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    array = np.frombuffer(data, np.uint8)
    for photo in (data, bytearray(data), memoryview(data), path, str(path), array, array.copy()):
        result = read_photo(photo)
        assert result.dtype == np.uint8 and result.tobytes() == data


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (b"", "empty: it contains no bytes"),
        (np.zeros(0, np.uint8), "empty: it contains no bytes"),
        (np.zeros((0, 5), np.uint8), r"array: no pixels in shape \(0, 5\)"),
        (np.zeros((4, 4), np.float32), "array: expected dtype uint8, got float32"),
        (np.zeros(9, np.int64), "array: expected dtype uint8, got int64"),
        (np.zeros((4, 4, 4), np.uint8), r"gray pixels .* got shape \(4, 4, 4\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"got shape \(1, 4, 4, 3\)"),
        (np.zeros((2, 40_000), np.uint8), "40000 x 2 pixels; the longest side may be 32,767"),
        (None, "got an object of type NoneType"),
        (17, "got an object of type int"),
        ("no/such/photo.jpg", r"no/such/photo\.jpg: No such file or directory"),
        ("a\0b", "null"),
    ],
)
def test_read_photo_wrong_input_is_refused_with_its_reason(photo: object, message: str) -> None:
    with pytest.raises(PhotoError, match=message):
        read_photo(photo)  # type: ignore[arg-type]


def test_read_photo_folder_and_empty_file_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(PhotoError, match=r"empty\.jpg: empty"):
        read_photo(empty)
    with pytest.raises(PhotoError, match="not a regular file"):
        read_photo(tmp_path)


def test_read_photo_pipe_and_device_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    link = tmp_path / "zero.jpg"
    link.symlink_to("/dev/zero")
    # The pipe last: a check that is gone fails on a device, and would hang on a pipe.
    for path in (Path("/dev/zero"), link, pipe):
        with pytest.raises(PhotoError, match=f"{path}: not a regular file"):
            read_photo(path)


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs /proc")
def test_read_photo_file_that_tells_no_size_is_read_up_to_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A file of /proc has a size of 0 and holds more, like one that grows while it is read.
    assert read_photo("/proc/self/maps").size > 100
    monkeypatch.setattr(limits, "MAX_PHOTO_BYTES", 100)
    with pytest.raises(PhotoError, match="101 bytes; the limit is 100"):
        read_photo("/proc/self/maps")


def test_read_photo_memoryview_with_gaps_is_copied() -> None:
    data = bytes(range(100))
    assert read_photo(memoryview(data)[::2]).tobytes() == data[::2]
    assert read_photo(memoryview(data)[::-1]).tobytes() == data[::-1]


def test_read_photo_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.truncate(limits.MAX_PHOTO_BYTES * 1000)  # A hole: it takes no disk.
    with pytest.raises(
        PhotoError,
        match=rf"film\.mp4: {limits.MAX_PHOTO_BYTES * 1000:,} bytes; the limit is "
        f"{limits.MAX_PHOTO_BYTES:,}",
    ):
        read_photo(path)
    with pytest.raises(PhotoError, match=f"{limits.MAX_PHOTO_BYTES + 1:,} bytes"):
        read_photo(np.zeros(limits.MAX_PHOTO_BYTES + 1, np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (5, 7), (5, 7, 3), (8, 4, 3), (33, 2)])
def test_encode_pixels_decodes_to_the_same_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)
    for array in (pixels, pixels[::-1], np.asfortranarray(pixels)):
        image = Image.open(io.BytesIO(encode_pixels(array)))
        assert image.mode == ("L" if len(shape) == 2 else "RGB")
        assert np.array_equal(np.asarray(image), array)


@pytest.mark.parametrize("shape", [(1000, 1101), (600, 600, 3)])
def test_encode_pixels_large_becomes_a_png_under_the_limit(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_PHOTO_BYTES", 1 << 20)
    rows = np.arange(shape[0], dtype=np.uint32).reshape(-1, *[1] * (len(shape) - 1))
    pixels = np.broadcast_to((rows % 251).astype(np.uint8), shape)
    data = encode_pixels(pixels)
    assert data[:4] == b"\x89PNG" and len(data) <= limits.MAX_PHOTO_BYTES
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


def test_encode_pixels_that_no_lossless_file_can_hold_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_PHOTO_BYTES", 1 << 20)
    noise = np.random.default_rng(0).integers(0, 256, (700, 600, 3), dtype=np.uint8)
    with pytest.raises(PhotoError, match="send them as a JPEG, or make them smaller"):
        encode_pixels(noise)


def test_encode_pixels_over_the_pixel_limit_is_refused() -> None:
    with pytest.raises(
        PhotoError, match="9000 x 9000 = 81,000,000 pixels; the limit is 67,108,864"
    ):
        encode_pixels(np.broadcast_to(np.uint8(0), (9000, 9000)))

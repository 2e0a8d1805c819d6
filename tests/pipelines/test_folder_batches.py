"""Batches of a folder: grouped or ragged, the same photos upright, and none that stops the run."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekit.draw import open_upright
from facekit.errors import ConfigError, PhotoError
from facekit.photos.check import CheckedPhoto
from facekit.pipelines import folder_batches
from facekit.pipelines.folder_batches import PhotoBatches, photo_shape
from tests import photo_files

SIZES = [(64, 48), (48, 64), (64, 48), (80, 30), (64, 48), (48, 64), (64, 48)]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = []
    for k, size in enumerate(SIZES):
        paths.append(tmp_path / f"{k}.jpg")
        # Turned ones among them: what counts is the shape upright.
        data = photo_files.oriented_jpeg(photo_files.picture(size), 6 if k % 2 else 1)
        paths[-1].write_bytes(data)
    return paths


def run(photos: list[Any], size: int, **options: Any) -> tuple[list[Any], dict[int, PhotoError]]:
    with PhotoBatches(photos, size, **options) as batches:
        return list(batches), batches.failures


def test_grouped_batches_stack(photos: list[Path]) -> None:
    batches, failures = run(photos, 3, grouped=True)
    assert [batch.indices for batch in batches] == [[0, 2, 4], [6], [1, 5], [3]] and not failures
    assert [batch.images.shape for batch in batches] == [
        (3, 48, 64, 3), (1, 48, 64, 3), (2, 64, 48, 3), (1, 30, 80, 3)
    ]  # fmt: skip


@pytest.mark.parametrize("gray", [False, True])
def test_both_ways_give_the_photos_upright(photos: list[Path], gray: bool) -> None:
    for grouped in (True, False):
        batches, _ = run(photos, 3, grouped=grouped, gray=gray)
        found = {k: image for b in batches for k, image in zip(b.indices, b.images, strict=True)}
        assert sorted(found) == list(range(len(photos)))
        for k, image in found.items():
            expected = open_upright(photos[k])
            expected = (
                np.asarray(expected.convert("L"))[..., None] if gray else np.asarray(expected)
            )
            assert image.shape == expected.shape
            assert np.abs(image.astype(int) - expected).mean() < 2


def test_ragged_batches_keep_the_order(photos: list[Path]) -> None:
    batches, _ = run(photos, 3, grouped=False)
    assert [batch.indices for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [image.shape[:2] for image in batches[0].images] == [(48, 64), (64, 48), (48, 64)]


def test_batches_stay_as_they_are_when_the_next_is_decoded(photos: list[Path]) -> None:
    for grouped in (True, False):
        with PhotoBatches(photos, 2, grouped=grouped) as batches:
            kept = [(b, np.array(b.images[0])) for b in batches]
            assert all(np.array_equal(b.images[0], copy) for b, copy in kept)
            # A second pass gives the same.
            again = [np.array(b.images[0]) for b in batches]
        assert all(np.array_equal(a, b) for a, (_, b) in zip(again, kept, strict=True))


@pytest.mark.parametrize("grouped", [True, False])
def test_bad_photos_are_named_and_left_out(photos: list[Path], grouped: bool) -> None:
    bad = photo_files.bad_photos()
    good = {name: data for name, (data, _) in photo_files.good_photos().items()}
    mixed: list[Any] = [*photos, *(data for data, _ in bad.values()), *good.values(), Path("/gone")]
    batches, failures = run(mixed, 4, grouped=grouped)
    found = sorted(k for batch in batches for k in batch.indices)
    first = len(photos)
    assert found == [*range(first), *range(first + len(bad), len(mixed) - 1)]
    assert sorted(failures) == [*range(first, first + len(bad)), len(mixed) - 1]
    for k, (_, said) in enumerate(bad.values(), first):
        assert said in str(failures[k])
    assert "/gone: No such file" in str(failures[len(mixed) - 1])


@pytest.mark.parametrize("grouped", [True, False])
def test_a_pipe_is_no_photo_and_never_waited_for(photos: list[Path], grouped: bool) -> None:
    pipe = photos[0].with_name("pipe.jpg")
    os.mkfifo(pipe)
    # Ends the wait of one who does wait, with another error.
    end = threading.Timer(20, lambda: os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)))
    end.start()
    batches, failures = run([photos[0], pipe, photos[2]], 3, grouped=grouped)
    waited = not end.is_alive()
    end.cancel()
    assert [batch.indices for batch in batches] == [[0, 2]] and not waited
    assert {k: str(error) for k, error in failures.items()} == {1: f"{pipe}: not a regular file"}


@pytest.mark.parametrize("grouped", [True, False])
def test_photo_that_only_dali_refuses_spoils_no_other(
    photos: list[Path], grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = folder_batches._checked

    def lenient(photo: Any) -> CheckedPhoto:
        if photo == photos[4]:
            return CheckedPhoto(np.frombuffer(b"no photo at all", np.uint8), 1, (48, 64, 3))
        return real(photo)

    monkeypatch.setattr(folder_batches, "_checked", lenient)
    batches, failures = run(photos, 4, grouped=grouped)
    assert sorted(k for batch in batches for k in batch.indices) == [0, 1, 2, 3, 5, 6]
    assert list(failures) == [4] and "DALI cannot decode it" in str(failures[4])


def test_photo_that_changes_its_shape_meanwhile_is_a_failure(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_batches, "photo_shape", lambda photo: (48, 64))
    batches, failures = run(photos[:3], 3, grouped=True)
    assert [batch.indices for batch in batches] == [[0, 2]]
    assert "changed" in str(failures[1])


def test_shapes_come_from_headers(tmp_path: Path) -> None:
    picture = photo_files.picture((300, 200))
    assert photo_shape(photo_files.oriented_jpeg(picture, 8)) == (200, 300)
    # Behind its header this one holds nothing.
    header_only = tmp_path / "a.jpg"
    header_only.write_bytes(photo_files.encode(picture, "JPEG")[:700])
    assert photo_shape(header_only) == (200, 300)
    with pytest.raises(PhotoError, match="limit"):
        photo_shape(photo_files.png_claiming(9_000, 9_000))


@pytest.mark.parametrize(("size", "device"), [(0, "cpu"), (1, "tpu")])
def test_options_out_of_range_are_refused(size: int, device: str) -> None:
    with pytest.raises(ConfigError):
        PhotoBatches([], size, grouped=True, device=device)

"""The DALI pipelines against Pillow, and the committed files against the pipelines."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from facekit.errors import PhotoError, SetupError
from facekit.photos.check import CheckedPhoto, check_photo
from facekit.photos.jpeg import read_structure
from facekit.pipelines.definitions import COLORS, COLORS_OF, PIPELINES
from facekit.pipelines.serialize import file_name, serialize, write_all
from tests import photo_files

REPOSITORY = Path(__file__).parents[2] / "model_repository"
VARIANTS = [(model, color) for model in PIPELINES for color in COLORS_OF[model]]


def load(data: bytes) -> Pipeline:
    pipeline = Pipeline.deserialize(
        serialized_pipeline=data,
        batch_size=32,
        num_threads=1,
        device_id=None,
        prefetch_queue_depth=1,
        exec_pipelined=False,
        exec_async=False,
    )
    pipeline.build()
    return pipeline


def run(pipeline: Pipeline, photos: list[CheckedPhoto]) -> list[np.ndarray]:
    pipeline.feed_input("photo", [photo.data for photo in photos])
    pipeline.feed_input("orientation", [np.array([p.orientation], np.int32) for p in photos])
    return [output.as_array().copy() for output in pipeline.run()]


def committed(model: str, color: str | None) -> bytes:
    return (REPOSITORY / model / "1" / file_name(color, "cpu")).read_bytes()


@pytest.mark.parametrize("color", COLORS)
def test_preprocess_turns_every_orientation_upright(color: str) -> None:
    upright = photo_files.picture((300, 200))
    photos = [check_photo(photo_files.oriented_jpeg(upright, o)) for o in range(1, 9)]
    (network_input,) = run(load(committed("facenet_preprocess", color)), photos)
    assert network_input.shape == (8, 3, 416, 736)
    assert network_input.dtype == np.float32
    # Gray repeated three times, or the three colors.
    planes = upright.convert("L" if color == "gray" else "RGB").convert("RGB")
    resized = planes.resize((736, 416), Image.Resampling.BILINEAR)
    expected = np.asarray(resized, np.float32).transpose(2, 0, 1) / 255
    for sample in network_input:
        np.testing.assert_allclose(sample, expected, atol=0.03)


def test_gray_pictures_are_upright_and_padded_to_the_largest() -> None:
    sizes = [(300, 200), (120, 250)]
    photos = [
        check_photo(photo_files.oriented_jpeg(photo_files.picture(size), orientation))
        for size, orientation in zip(sizes, (6, 3), strict=True)
    ]
    (gray,) = run(load(committed("photo_gray", None)), photos)
    assert gray.shape == (2, 250, 300)
    assert gray.dtype == np.uint8
    for picture, (width, height) in zip(gray, sizes, strict=True):
        expected = np.asarray(photo_files.picture((width, height)).convert("L"), float)
        assert np.abs(picture[:height, :width] - expected).max() < 6
        assert not picture[height:].any()
        assert not picture[:, width:].any()


@pytest.mark.parametrize("color", COLORS)
def test_faces_preprocess_is_both_in_one(color: str) -> None:
    photos = [check_photo(photo_files.oriented_jpeg(photo_files.picture(), o)) for o in (1, 6)]
    both = run(load(committed("faces_preprocess", color)), photos)
    (alone,) = run(load(committed("facenet_preprocess", color)), photos)
    (gray,) = run(load(committed("photo_gray", None)), photos)
    np.testing.assert_array_equal(both[0], alone)
    # From RGB the luma is rounded once more than straight from the JPEG.
    assert np.abs(both[1].astype(int) - gray).max() <= (0 if color == "gray" else 2)


@pytest.mark.parametrize("name", photo_files.good_photos())
def test_every_format_gives_the_same_picture(name: str) -> None:
    data, _ = photo_files.good_photos()[name]
    padded = np.concatenate([check_photo(data).data, np.zeros(777, np.uint8)])
    checked = CheckedPhoto(padded, 1, check_photo(data).size_hwc)
    (gray,) = run(load(committed("photo_gray", None)), [checked])
    expected = np.asarray(photo_files.picture().convert("L"), float)
    assert gray.shape == (1, 120, 200)
    assert np.abs(gray[0] - expected).mean() < 3


@pytest.mark.parametrize("progressive", [False, True])
def test_no_jpeg_with_a_broken_header_gets_past_the_check_to_fail_here(progressive: bool) -> None:
    jpeg = photo_files.encode(photo_files.picture(), "JPEG", quality=95, progressive=progressive)
    header = read_structure(jpeg).scan_start
    rng = np.random.default_rng(0)
    pipeline = load(committed("photo_gray", None))
    passed = 0
    for _ in range(400):
        broken = bytearray(jpeg)
        broken[rng.integers(0, header)] = rng.integers(0, 256)
        try:
            checked = check_photo(bytes(broken))
        except PhotoError:
            continue
        run(pipeline, [checked])  # a decode error raises, and would fail a merged batch
        passed += 1
    assert 100 < passed < 400


@pytest.mark.parametrize(("model", "color"), VARIANTS)
def test_committed_file_is_what_the_pipeline_serializes_to(model: str, color: str | None) -> None:
    photos = [check_photo(photo_files.oriented_jpeg(photo_files.picture(), o)) for o in (1, 5, 8)]
    fresh = run(load(serialize(model, device="cpu", color=color)), photos)
    for ours, theirs in zip(run(load(committed(model, color)), photos), fresh, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("model", "color"), VARIANTS)
def test_committed_file_is_portable(model: str, color: str | None) -> None:
    data = committed(model, color)
    # Arithmetic operators changed their names between DALI releases; traces carry local paths.
    assert b"Arithmetic" not in data
    assert b"_origin_stack" not in data


def test_write_all_writes_every_variant(tmp_path: Path) -> None:
    written = write_all(tmp_path, devices=("cpu",))
    assert len(written) == len(VARIANTS)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU")
def test_gpu_variant_without_cuda_says_so() -> None:
    with pytest.raises(SetupError, match="can only be serialized where CUDA is"):
        serialize("photo_gray", device="gpu", color=None)


def test_pillow_reads_what_the_check_hands_on() -> None:
    # PNM is the interchange form: keep it one that other tools open.
    data, _ = photo_files.good_photos()["png 16 bit"]
    assert Image.open(io.BytesIO(bytes(check_photo(data).data))).format == "PPM"


def test_command_writes_and_names_the_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facekit.pipelines.serialize", str(tmp_path), "--device", "cpu"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(VARIANTS)
    assert all(Path(line).is_file() for line in done.stdout.splitlines())

"""The converter's DALI and this machine's newest make the same pictures of the same photos.

An engine's input comes from a pipeline that the converter's DALI serializes, and the stand-ins of a
machine without a GPU use a newer one: what one of them was tried with must hold for the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from facekit.photos.check import check_photo
from tests import photo_files
from tests.docker import engine
from tests.docker.engine import ROOT
from tests.photo_files import picture

pytest_plugins = ("tests.docker.converter_fixtures",)
PIXELS = ROOT / "tests" / "docker" / "pixels.py"
# One step of 255: the JPEG decoders of two releases may round a sample otherwise.
STEP = 1 / 255


@dataclass
class Dali:
    """One of the two: where it runs, and the folder that both of them see."""

    image: str | None
    folder: Path

    def __call__(self, *arguments: str) -> str:
        """Run ``pixels.py``; return which DALI it ran with."""
        if self.image is None:
            command = [sys.executable, str(PIXELS), *arguments]
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                command, cwd=self.folder, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.split()[-1]
        volumes = ("--volume", f"{self.folder}:/work", "--volume", f"{PIXELS}:/pixels.py:ro")
        options = ("--rm", "--user", "0", "--network", "none", "--workdir", "/work")
        output = engine.docker(
            "run",
            *options,
            *volumes,
            "--entrypoint",
            "python3",
            self.image,
            "/pixels.py",
            *arguments,
        )
        return output.split()[-1]


@dataclass
class Results:
    """Versions of both, and the pictures by who wrote the pipelines and who ran them."""

    versions: tuple[str, str]
    pictures: dict[tuple[str, str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def results(converter_image: str, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("pixels")
    write_photos(folder / "photos.npz")
    dalis = {"converter": Dali(converter_image, folder), "newest": Dali(None, folder)}
    versions = tuple(dali("write", f"{name}-files") for name, dali in dalis.items())
    pictures = {}
    for writer in dalis:
        for runner, dali in dalis.items():
            out = f"{writer}-{runner}.npz"
            dali("run", f"{writer}-files", "photos.npz", out)
            with np.load(folder / out) as found:
                pictures[writer, runner] = dict(found)
    return Results((versions[0], versions[1]), pictures)


def write_photos(path: Path) -> None:
    """Write photos as ``photo_check`` hands them on: formats, colors, sizes and orientations."""
    encoded = {name: data for name, (data, _) in photo_files.good_photos().items()}
    for name in ("astronaut", "coffee", "camera"):
        pixels = getattr(skimage.data, name)()
        encoded[name] = photo_files.encode(photo_files.Image.fromarray(pixels), "JPEG", quality=90)
    for orientation in range(1, 9):
        data = photo_files.oriented_jpeg(picture((301, 203)), orientation)
        encoded[f"turned{orientation}"] = data
    checked = {name: check_photo(data) for name, data in encoded.items()}
    photos = {f"{name}.{photo.orientation}": photo.data for name, photo in checked.items()}
    np.savez(path, **photos)


def test_converter_on_a_base_without_dali_has_the_one_for_24_04(results: Results) -> None:
    assert f"dali={results.versions[0]} ;; esac" in (ROOT / "Dockerfile.converter").read_text()
    assert results.versions[1] != results.versions[0]


@pytest.mark.parametrize(
    "other", [("converter", "newest"), ("newest", "converter"), ("newest", "newest")]
)
def test_pictures_of_two_versions_are_the_same(results: Results, other: tuple[str, str]) -> None:
    ours, theirs = results.pictures["converter", "converter"], results.pictures[other]
    assert len(ours) > 100
    assert ours.keys() == theirs.keys()
    for name, expected in ours.items():
        found = theirs[name]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
        # Input of the network is in 0..1, the gray picture in 0..255.
        unit = STEP if expected.dtype == np.float32 else 1
        steps = np.abs(found.astype(float) - expected) / unit
        assert steps.max() <= 1, f"{name}: {steps.max():.2f} steps"
        assert steps.mean() < 0.02, f"{name}: {steps.mean():.4f} steps on average"

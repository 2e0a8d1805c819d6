"""The server to measure, and photos with labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.evaluate.three_faces import FACE, FALSE, HEIGHT, OTHER, WIDTH, faces_of, kitti
from tests.fake_triton import FakeTriton


@pytest.fixture
def url() -> Iterator[str]:
    with FakeTriton(faces_of) as fake:
        yield fake.url


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two photos with KITTI labels: both faces found as they are, and one of the wrong class."""
    folder = tmp_path / "data"
    for name, text in (
        ("a", kitti(("Mask", FACE), ("No-Mask", OTHER))),
        ("b", kitti(("Mask", FACE), ("Mask", OTHER), ("incorrect-mask", FALSE))),
    ):
        (folder / "labels").mkdir(parents=True, exist_ok=True)
        (folder / "images").mkdir(exist_ok=True)
        (folder / "labels" / f"{name}.txt").write_text(text)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / f"{name}.png")
    return folder

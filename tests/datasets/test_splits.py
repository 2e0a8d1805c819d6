"""Splits by name, of names that are no text too."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from facekit.labels.folder import select
from facekit.labels.listing import split_of, stem_number
from facekit.labels.photo_labels import PhotoLabels
from tests.datasets.face_sets import write_voc_set
from tests.datasets.tutorial_sets import SIZE, convert, labels

NAME = os.fsdecode(b"caf\xe9")
"""As Latin-1 has it, which is no UTF-8."""


def test_the_bytes_of_a_name_count() -> None:
    assert stem_number(NAME) == int(hashlib.sha1(b"caf\xe9").hexdigest(), 16)
    assert stem_number("café") == int(hashlib.sha1("café".encode()).hexdigest(), 16)


def test_a_name_that_is_no_text_is_converted(tmp_path: Path) -> None:
    write_voc_set(tmp_path / "set", "annotations", {"x.jpg": [("with_mask", (1, 1, 9, 9))]})
    for file in (tmp_path / "set" / "images" / "x.jpg", tmp_path / "set" / "annotations" / "x.xml"):
        file.rename(file.with_name(NAME + file.suffix))
    options = ("--mask-detection-path", str(tmp_path / "set"), *SIZE)
    for part, folder in (("--train", "train"), ("--val", "test")):
        assert convert(tmp_path / "out", *options, part=part) == 0
        found = labels(tmp_path / "out" / folder)
        assert (f"mask-detection_{NAME}" in found) == (
            (split_of(NAME) == "evaluation") == (part == "--val")
        )


def test_a_name_that_is_no_text_is_selected() -> None:
    photo = Path(f"{NAME}.jpg")
    found = PhotoLabels(
        photo, None, np.zeros((0, 4), np.float32), (), np.zeros(0, bool), (), Path("x.xml")
    )
    for split in ("evaluation", "calibration", "training"):
        chosen = select([found], split=split).labels
        assert bool(chosen) == (split == split_of(NAME))

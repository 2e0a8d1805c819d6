"""A set of ten tiny photos in the form of Face Mask Detection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facekit.labels.listing import split_of
from tests.training.facesets import OBJECT, VOC, draw_face

PHOTO = (216, 144)
TRAINED, TESTED = 8, 2

Box = tuple[int, int, int, int]
Faces = list[tuple[str, Box]]


def write_mask_set(folder: Path) -> Path:
    """Write 8 photos to train on and 2 to test on, and return their folder."""
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    stems = [f"maksssksksss{k}" for k in range(200)]
    tested = [stem for stem in stems if split_of(stem) == "evaluation"][:TESTED]
    trained = [stem for stem in stems if split_of(stem) != "evaluation"][:TRAINED]
    rng = np.random.default_rng(5)
    for number, stem in enumerate(sorted(trained + tested)):
        image, faces = draw_photo(rng, number)
        image.save(folder / f"images/{stem}.png")
        objects = "".join(OBJECT.format(*box, name=name) for name, box in faces)
        text = VOC.format(w=PHOTO[0], h=PHOTO[1], objects=objects)
        (folder / f"annotations/{stem}.xml").write_text(text)
    return folder


def draw_photo(rng: np.random.Generator, number: int) -> tuple[Image.Image, Faces]:
    """Draw two faces before a dark grain, one of them, or both, or none, with a mask."""
    image = Image.fromarray(rng.integers(0, 70, (PHOTO[1], PHOTO[0], 3), dtype=np.uint8))
    faces: Faces = []
    for left, masked in ((8, number % 2 == 0), (116, number % 3 == 0)):
        width = int(rng.integers(44, 60))
        height = round(1.3 * width)
        x, y = left + int(rng.integers(0, 30)), int(rng.integers(6, PHOTO[1] - height - 6))
        box = (x, y, x + width, y + height)
        draw_face(image, box)
        if masked:
            lower = (x + 0.08 * width, y + 0.52 * height, x + 0.92 * width, y + 0.95 * height)
            ImageDraw.Draw(image).rectangle(lower, fill=(150, 190, 235))
        faces.append(("with_mask" if masked else "without_mask", box))
    return image, faces

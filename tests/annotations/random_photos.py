"""Photos with random faces, of any layout."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from facekit.annotations import NumberedPhoto, PhotoSource
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.faces import Faces

NAMES = ("plain.jpg", "ünïcödé/日本 😀.jpg", 'quote" & <tag>.png', "a\udcff.jpg", "deep/er/x y.jpg")
"""Of photos; the fourth is what Python makes of a name that is no UTF-8."""


def random_faces(
    rng: np.random.Generator,
    count: int,
    *,
    points: int = 68,
    classes: tuple[str, ...] = (),
    size_wh: tuple[int, int] = (640, 480),
) -> Faces:
    """Faces anywhere in and around a photo, in float32 and not rounded."""
    corner = rng.uniform(-20, 300, (count, 2))
    return Faces(
        boxes_xyxy=np.hstack([corner, corner + rng.uniform(5, 400, (count, 2))]),
        scores=rng.uniform(0.01, 1, count),
        points_xy=rng.uniform(-50, 700, (count, points, 2)),
        point_scores=rng.uniform(0.01, 1, (count, points)),
        size_wh=size_wh,
        labels=rng.integers(0, len(classes), count) if classes else np.zeros(0, np.int32),
        class_names=classes,
        channels=3,
        sharpness=np.where(rng.random(count) < 0.2, np.nan, rng.uniform(0, 0.6, count)),
    )


def random_photos(
    seed: int, *, points: int = 68, classes: tuple[str, ...] = (), names: tuple[str, ...] = NAMES
) -> list[NumberedPhoto]:
    """One photo without faces, some with, and a failed one between them; ids with a gap."""
    rng = np.random.default_rng(seed)
    photos = []
    for place, name in enumerate(names):
        faces = random_faces(rng, place % 4, points=points, classes=classes)
        photos.append(NumberedPhoto(2 * place + 1, PhotoRecord(name, FileStamp(9, 9), faces)))
    failed = PhotoRecord("broken.jpg", FileStamp(9, 9), error="an empty file")
    return [photos[0], NumberedPhoto(2, failed), *photos[1:]]


def source(photos: list[NumberedPhoto]) -> PhotoSource:
    """Give them as the writers take them."""

    def again() -> Iterator[NumberedPhoto]:
        return iter(photos)

    return again


def contents(photos: list[NumberedPhoto]) -> list[tuple[int, str, Faces]]:
    """What a file of these photos has to hold."""
    return [
        (photo.image_id, photo.record.photo, photo.record.faces)
        for photo in photos
        if photo.record.faces is not None
    ]

"""What the tests share: errors reported and faces found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facekit.datasets.source import SourcePhoto
from facekit.errors import DataError


def faces(photos: Sequence[SourcePhoto]) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {
        photo.name: [(face.class_name, face.box_xyxy) for face in photo.faces] for photo in photos
    }


def fail(error: DataError) -> None:
    raise AssertionError(error)


class Reports(list[DataError]):
    def texts(self, folder: Path) -> list[str]:
        return [str(error).replace(f"{folder}/", "") for error in self]

"""Reader of PASCAL VOC annotation files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError

FACE_LABELS: tuple[str, ...] = ("with_mask", "without_mask", "mask_weared_incorrect")


@dataclass(frozen=True)
class VocAnnotation:
    """The labelled objects of one photo.

    Attributes:
        boxes: float32 [n, 4]: x1, y1, x2, y2 in pixels of the photo.
        labels: The n class names.
        size: Width and height of the photo in pixels.
    """

    boxes: NDArray[np.float32]
    labels: tuple[str, ...]
    size: tuple[int, int]


def _text(parent: ElementTree.Element, tag: str, path: Path) -> str:
    """Return the text of a child element, or raise with its name."""
    text = parent.findtext(tag)
    if text is None or not text.strip():
        raise DataError(path, f"<{parent.tag}> has no <{tag}>")
    return text.strip()


def _number(parent: ElementTree.Element, tag: str, path: Path) -> float:
    """Return the number in a child element, or raise with its name."""
    text = _text(parent, tag, path)
    try:
        return float(text)
    except ValueError:
        raise DataError(path, f"<{tag}> is not a number: {text!r}") from None


def read_voc(path: Path, labels: tuple[str, ...] = FACE_LABELS) -> VocAnnotation:
    """Read one VOC file.

    Args:
        path: The ``.xml`` file.
        labels: The class names that may occur.

    Returns:
        The objects, boxes clipped to the photo.

    Raises:
        DataError: The file is missing or malformed, a class is unknown, or a box is empty.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error}") from error
    except ElementTree.ParseError as error:
        raise DataError(path, f"is not well-formed XML: {error}") from error
    width, height = (int(_number(root, f"size/{side}", path)) for side in ("width", "height"))
    boxes: list[list[float]] = []
    names: list[str] = []
    for item in root.iter("object"):
        name = _text(item, "name", path)
        if name not in labels:
            raise DataError(path, f"unknown class {name!r}, expected one of {', '.join(labels)}")
        corners = [_number(item, f"bndbox/{tag}", path) for tag in ("xmin", "ymin", "xmax", "ymax")]
        x1, x2 = (min(max(value, 0.0), float(width)) for value in corners[0::2])
        y1, y2 = (min(max(value, 0.0), float(height)) for value in corners[1::2])
        if x2 <= x1 or y2 <= y1:
            raise DataError(path, f"object {len(names) + 1} has an empty box {corners}")
        boxes.append([x1, y1, x2, y2])
        names.append(name)
    array = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return VocAnnotation(array, tuple(names), (width, height))

"""Read PASCAL VOC annotation files."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

import numpy as np

from facekit.errors import DataError, reading
from facekit.labels.photo_labels import PhotoLabels

FACE_LABELS: tuple[str, ...] = ("with_mask", "without_mask", "mask_weared_incorrect")


@dataclass(frozen=True)
class VocLabels(PhotoLabels):
    """The labels of one photo; difficult objects are ignored.

    ``lines`` of the file, from 1, are those on which the objects start; ``photo_name`` is the one
    in the file, without folders, "" where there is none.
    """

    lines: tuple[int, ...] = ()
    photo_name: str = ""


def read_voc(
    path: Path,
    labels: tuple[str, ...] | None = FACE_LABELS,
    report: Callable[[DataError], None] | None = None,
) -> VocLabels:
    """Read the objects of a VOC file, boxes clipped to the photo.

    Parts of an object, such as the head of a person, are not objects. An object with an empty box
    is left out and goes to ``report``; without that it is an error. ``labels`` are the class names
    that may occur; None for any. Raises DataError if the file is missing or malformed, or a class
    is unknown.
    """
    file = _XmlFile(path)
    width, height = (int(file.number(file.root, f"size/{side}")) for side in ("width", "height"))
    if width <= 0 or height <= 0:
        raise DataError(path, f"says the photo has {width} x {height} pixels")
    boxes: list[list[float]] = []
    names: list[str] = []
    difficult: list[bool] = []
    starts: list[int] = []
    for number, item in enumerate(file.root.findall("object"), start=1):
        line = file.lines[item]
        name, _ = file.text(item, "name")
        if labels is not None and name not in labels:
            reason = f"unknown class {name!r}, expected one of {', '.join(labels)}"
            raise DataError(path, reason, line)
        corners = [file.number(item, f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")]
        x1, x2 = (min(max(value, 0.0), float(width)) for value in corners[0::2])
        y1, y2 = (min(max(value, 0.0), float(height)) for value in corners[1::2])
        if x2 <= x1 or y2 <= y1:
            error = DataError(path, f"object {number} has an empty box {corners}", line)
            if report is None:
                raise error
            report(error)
            continue
        boxes.append([x1, y1, x2, y2])
        names.append(name)
        difficult.append((item.findtext("difficult") or "").strip() == "1")
        starts.append(line)
    return VocLabels(
        photo=None,
        size_wh=(width, height),
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        class_names=tuple(names),
        ignored=np.array(difficult, dtype=bool),
        points_xy=(None,) * len(names),
        source=path,
        lines=tuple(starts),
        photo_name=(file.root.findtext("filename") or "").strip().replace("\\", "/").split("/")[-1],
    )


class _XmlFile:
    """The root of an XML file, and the line on which each element starts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[ElementTree.Element, int] = {}
        builder = ElementTree.TreeBuilder()
        parser = expat.ParserCreate()

        def start(tag: str, attributes: dict[str, str]) -> None:
            self.lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

        parser.StartElementHandler = start
        parser.EndElementHandler = builder.end
        parser.CharacterDataHandler = builder.data
        try:
            with reading(path):
                parser.Parse(path.read_bytes(), True)
        except expat.ExpatError as error:
            reason = f"is not well-formed XML: {expat.ErrorString(error.code)}"
            raise DataError(path, reason, error.lineno) from error
        self.root = builder.close()

    def text(self, parent: ElementTree.Element, tag: str) -> tuple[str, int]:
        """Return the text of an element below another, and its line."""
        element = parent.find(tag)
        text = "" if element is None else (element.text or "").strip()
        if element is None or not text:
            line = self.lines[parent if element is None else element]
            raise DataError(self.path, f"<{parent.tag}> has no <{tag}>", line)
        return text, self.lines[element]

    def number(self, parent: ElementTree.Element, tag: str) -> float:
        """Return the finite number in an element below another."""
        text, line = self.text(parent, tag)
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not math.isfinite(value):
            raise DataError(self.path, f"<{tag}> is not a number: {text!r}", line)
        return value

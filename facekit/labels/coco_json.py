"""What every reader of a COCO file checks: its three lists, ids and numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from facekit.errors import DataError

LARGEST = 1e9
"""Beyond it a number is no place in a photo, and its square no number in float32."""
_SHOWN = 60
Entry = dict[str, Any]


def load_coco(path: Path) -> dict[str, Any]:
    """Return a file's content: ``images``, ``annotations`` and ``categories`` are lists.

    Raises:
        DataError: The file is missing, or is no COCO annotation file.
    """
    try:
        # "-sig" passes over the mark that programs of Windows begin a text with.
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except json.JSONDecodeError as error:
        reason = f"is no COCO file, which is one JSON object: {error.msg}"
        raise DataError(path, reason, error.lineno) from error
    except UnicodeDecodeError as error:
        raise DataError(path, "is no COCO file, which is one JSON object: no text") from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        raise DataError(path, f"is no JSON that can be read: {error}") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(data, dict) or not set(parts) <= data.keys():
        raise DataError(path, f"is no COCO file: needs {', '.join(parts)}")
    for part in parts:
        if not isinstance(data[part], list):
            raise DataError(path, f"is not laid out as COCO annotations: {part} is no list")
    return data


def has_pairs(entry: Entry) -> bool:
    """Whether an annotation's segmentation is a list of x, y pairs; no polygon is as short.

    Files with it have their boxes as left, top, right, bottom, see
    ``facekit.annotations.coco_reader``.
    """
    parts = entry.get("segmentation")
    if not isinstance(parts, list) or not parts:
        return False
    return all(isinstance(part, list) and len(part) == 2 for part in parts)


def is_id(value: Any) -> bool:
    """Whether a value can be an entry's id: a whole number or a text."""
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def is_side(value: Any) -> bool:
    """Whether a value can be a photo's width or height."""
    return type(value) is int and 0 < value < LARGEST


def shown(value: Any) -> str:
    """Return a value as an error shows it, cut to a few words."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def numbers(path: Path, values: Any, count: int, what: str) -> list[float]:
    """Return a list of so many numbers that can be places in a photo.

    Raises:
        DataError: It is something else; ``what`` names it.
    """
    if not isinstance(values, list) or len(values) != count:
        raise DataError(path, f"{what}: expected {count} numbers, got {shown(values)}")
    if not all(
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and not (isinstance(value, float) and math.isnan(value))
        and abs(value) <= LARGEST
        for value in values
    ):
        raise DataError(path, f"{what}: something is no number, or none of a photo's pixels")
    return [float(value) for value in values]

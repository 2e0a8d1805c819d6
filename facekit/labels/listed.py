"""Read the label files of public face sets: text lists of FDDB and WIDER FACE, and MATLAB files."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError, reading

Report = Callable[[DataError], None]
"""Takes what is wrong with one photo or face, which is then left out."""


@dataclass(frozen=True)
class ListedPhoto:
    """A photo of a list: its name, and the numbers of each face with their line, from 1."""

    name: str
    rows: tuple[tuple[int, tuple[float, ...]], ...]


def read_listing(path: Path, least_columns: int, report: Report) -> list[ListedPhoto]:
    """Read a list of photos: a photo's name, its number of faces, a line of numbers for each face.

    A photo of which a line is malformed, or has fewer numbers than ``least_columns``, is left out
    and goes to ``report``, as a face that can't be read would be trained as background; reading
    goes on at the next name, a line with ``/`` in it. Raises DataError if the file can't be read.
    """
    with reading(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    blocks: list[list[tuple[int, str]]] = [[]]
    for number, text in enumerate(lines, start=1):
        if "/" in text:
            blocks.append([])
        if text.strip():
            blocks[-1].append((number, text.strip()))
    found = []
    if blocks[0]:
        report(DataError(path, "expected the name of a photo", blocks[0][0][0]))
    for block in blocks[1:]:
        try:
            found.append(_photo(path, block, least_columns))
        except DataError as error:
            report(error)
    return found


def _photo(path: Path, block: list[tuple[int, str]], least_columns: int) -> ListedPhoto:
    (line, name), *rest = block
    if name.startswith("/") or ".." in name.split("/"):
        raise DataError(path, f"a photo outside the set: {name}", line)
    if not rest:
        raise DataError(path, f"{name} has no number of faces", line)
    (count_line, count_text), *face_lines = rest
    if not count_text.isdecimal():
        raise DataError(path, f"expected the number of faces, got {count_text!r}", count_line)
    rows = tuple(
        (number, _numbers(path, number, text, least_columns)) for number, text in face_lines
    )
    if int(count_text) == 0 and len(rows) == 1 and not any(rows[0][1]):
        rows = ()  # WIDER has a line of zeros where there is no face
    if len(rows) != int(count_text):
        reason = f"{name} has {count_text} faces, but {len(rows)} lines of faces"
        raise DataError(path, reason, count_line)
    return ListedPhoto(name, rows)


def _numbers(path: Path, line: int, text: str, least: int) -> tuple[float, ...]:
    try:
        values = tuple(float(field) for field in text.split())
    except ValueError:
        raise DataError(path, f"expected numbers, got {text!r}", line) from None
    if len(values) < least:
        raise DataError(path, f"{len(values)} numbers, expected at least {least}", line)
    if not all(math.isfinite(value) for value in values):
        raise DataError(path, f"a number that is not finite: {text!r}", line)
    return values


def load_matlab(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Return variables of a MATLAB file of version 7 or older, in the order of their names.

    Each is as ``scipy.io.loadmat`` gives it, one-dimensional: cells as arrays of objects, structs
    as arrays with named fields. Raises DataError if the file is missing, damaged, of another kind,
    or lacks a variable, and ModuleNotFoundError without SciPy (the extra ``data``).
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(path, "no such file")
    try:
        # By default SciPy would read x.mat where x is asked for.
        data: dict[str, Any] = loadmat(path, appendmat=False, variable_names=list(names))
    except NotImplementedError as error:
        raise DataError(path, "is of MATLAB 7.3; save it with -v7") from error
    except Exception as error:  # SciPy has no error of its own for damaged files
        raise DataError(path, f"is not a MATLAB file that can be read: {error}") from error
    for name in names:
        if not isinstance(data.get(name), np.ndarray):
            raise DataError(path, f"contains no variable {name}")
    return [data[name].reshape(-1) for name in names]


def text_of(value: object) -> str:
    """Return the string in a cell, whatever cells lie around it; ValueError for none or more."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if not isinstance(value, str) or not value:
        raise ValueError("no text where a name should be")
    return value


def rows_of(value: object, least_columns: int) -> NDArray[np.float64]:
    """Return the matrix in a cell, float64 [rows, columns]; raises ValueError if it is not one."""
    matrix = np.asarray(value)
    if matrix.size == 0:
        return np.zeros((0, least_columns))
    if matrix.dtype.kind not in "buif" or matrix.ndim != 2:
        raise ValueError("no matrix of numbers where faces should be")
    if matrix.shape[1] < least_columns:
        raise ValueError(f"{matrix.shape[1]} columns, expected at least {least_columns}")
    return matrix.astype(np.float64)

"""What the face sets keep in MATLAB files: structs and cells, unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError


def load_matlab(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return variables of a MATLAB file.

    Args:
        path: The ``.mat`` file, of version 7 or older.
        names: The variables that it must hold.

    Returns:
        Each variable as ``scipy.io.loadmat`` gives it: cells as arrays of objects, structs as
        arrays with named fields.

    Raises:
        DataError: The file is missing, damaged, of another kind, or lacks a variable.
        ModuleNotFoundError: SciPy (the extra ``data``) is not installed.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(path, "no such file")
    try:
        # Left alone, SciPy would read x.mat where x is asked for.
        data: dict[str, Any] = loadmat(path, appendmat=False, variable_names=list(names))
    except NotImplementedError as error:
        raise DataError(path, "is of MATLAB 7.3; save it with -v7") from error
    except Exception as error:  # SciPy has no error of its own for damaged files
        raise DataError(path, f"is no MATLAB file that can be read: {error}") from error
    for name in names:
        if not isinstance(data.get(name), np.ndarray):
            raise DataError(path, f"holds no variable {name}")
    return {name: data[name] for name in names}


def text_of(value: object) -> str:
    """Return the string in a cell, however many cells lie around it.

    Raises:
        ValueError: There is no string, or several.
    """
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if not isinstance(value, str) or not value:
        raise ValueError("no text where a name should be")
    return value


def rows_of(value: object, least_columns: int) -> NDArray[np.float64]:
    """Return a matrix of numbers, float64 [rows, columns].

    Args:
        value: What a cell holds.
        least_columns: Number of columns that it must have where it has rows.

    Raises:
        ValueError: It is no matrix of numbers, or too narrow.
    """
    matrix = np.asarray(value)
    if matrix.size == 0:
        return np.zeros((0, least_columns))
    if matrix.dtype.kind not in "buif" or matrix.ndim != 2:
        raise ValueError("no matrix of numbers where faces should be")
    if matrix.shape[1] < least_columns:
        raise ValueError(f"{matrix.shape[1]} columns, expected at least {least_columns}")
    return matrix.astype(np.float64)

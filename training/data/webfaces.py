"""Reader of the 36-pixel web-face crops."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError
from facekit.labels.listing import EVALUATION_MODULUS

CROP_SIZE = 36
CROP_FACE_BOX: tuple[float, float, float, float] = (7.5, 6.5, 28.5, 32.5)
"""Where the face lies in a crop: x1, y1, x2, y2, mid-forehead to chin, cheek to cheek."""


def read_webfaces(path: Path, evaluation: bool = False) -> NDArray[np.uint8]:
    """Read the crops of one split.

    Args:
        path: The ``.npz`` file with the array ``faces``.
        evaluation: Take every seventh crop (held out) instead of the others.

    Returns:
        uint8 [n, 36, 36], gray.

    Raises:
        DataError: The file is missing, damaged, or holds something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            faces = archive["faces"]
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except KeyError:
        raise DataError(path, "has no array named 'faces'") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (CROP_SIZE, CROP_SIZE):
        raise DataError(path, f"'faces' is {faces.dtype} {list(faces.shape)}, not uint8 [n,36,36]")
    held_out = np.arange(len(faces)) % EVALUATION_MODULUS == 0
    return np.ascontiguousarray(faces[held_out == evaluation])

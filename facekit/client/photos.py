"""Read a caller's photo as the encoded bytes that are sent."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from facekit import limits
from facekit.client.pixels import encode_pixels
from facekit.errors import PhotoError
from facekit.photos.formats import EMPTY

PhotoLike = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]", npt.NDArray[Any]]
"""A photo: encoded bytes, the path of a file, or a uint8 array.

A 1-D array is encoded bytes; (H, W) is gray pixels and (H, W, 3) RGB pixels, already upright.
"""


def read_photo(photo: PhotoLike) -> npt.NDArray[np.uint8]:
    """Return a photo as encoded bytes: uint8 (n,).

    Raises:
        PhotoError: The file is missing, not regular or not readable; there are no bytes, or more
            than ``limits.MAX_PHOTO_BYTES``; or an array has another dtype or shape.
    """
    if isinstance(photo, np.ndarray):
        if photo.ndim == 1 and photo.dtype == np.uint8:
            return _checked(photo)
        return np.frombuffer(encode_pixels(photo), np.uint8)
    if isinstance(photo, memoryview) and not photo.c_contiguous:
        photo = photo.tobytes()
    if isinstance(photo, bytes | bytearray | memoryview):
        return _checked(np.frombuffer(photo, np.uint8))
    if isinstance(photo, str | os.PathLike):
        return _read_file(Path(photo))
    raise PhotoError(
        "a photo is bytes, the path of a file or a uint8 array; "
        f"got an object of type {type(photo).__name__}"
    )


def _read_file(path: Path) -> npt.NDArray[np.uint8]:
    try:
        # Checked before reading, so that a path to a video does not fill the memory.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # A pipe may never answer, and a device may never end.
            raise PhotoError(f"{path}: not a regular file")
        size = status.st_size
        if size > limits.MAX_PHOTO_BYTES:
            raise PhotoError(f"{path}: {size:,} bytes; the limit is {limits.MAX_PHOTO_BYTES:,}")
        with path.open("rb") as file:
            # The file may have grown, and files of /proc have no size.
            data = file.read(limits.MAX_PHOTO_BYTES + 1)
    except OSError as error:
        raise PhotoError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # A zero byte in the path.
        raise PhotoError(f"{str(path)!r}: {error}") from error
    try:
        return _checked(np.frombuffer(data, np.uint8))
    except PhotoError as error:
        raise PhotoError(f"{path}: {error}") from error


def _checked(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if data.size == 0:
        raise PhotoError(EMPTY)
    if data.size > limits.MAX_PHOTO_BYTES:
        raise PhotoError(f"{data.size:,} bytes; the limit is {limits.MAX_PHOTO_BYTES:,}")
    return data

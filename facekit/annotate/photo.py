"""Turn one photo into its record."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from facekit import limits
from facekit.annotations.record import GONE, FileStamp, PhotoRecord
from facekit.client.photos import PhotoLike
from facekit.errors import InputError, ModelMissingError, ServerError
from facekit.faces import Faces
from facekit.photos.formats import HEAD_BYTES, refusal
from facekit.text import one_line


@dataclass(frozen=True)
class PendingPhoto:
    """A photo that a run has still to look at.

    ``rank`` is its number in the dataset, its place in the order of all photos from 1; ``photo`` is
    its path under the photo folder, with ``/`` between its parts; ``stamp`` is of when the folder
    was listed, and may have changed since.
    """

    rank: int
    photo: str
    stamp: FileStamp


class Detector(Protocol):
    """Finds faces: a ``Client`` or a ``ServerPool``."""

    def detect(
        self,
        photo: PhotoLike,
        *,
        model: str = "faces",
        tiles: str | int | None = None,
        rotations: str | int | None = None,
        threshold: float | None = None,
    ) -> Faces:
        """Find all faces of one photo."""
        ...


class ServersAwayError(ServerError):
    """No server has answered for too long, and the run can't go on."""


def annotate_photo(
    detector: Detector,
    folder: Path,
    pending: PendingPhoto,
    *,
    hash_content: bool = False,
    **how: Any,
) -> PhotoRecord:
    """Find the faces of one photo of a folder; what is wrong with it is in the record.

    ``how`` are options of ``Client.detect``; with ``hash_content`` the record gets the content's
    digest.

    Raises:
        ModelMissingError: The server does not serve the model, which no photo will change.
        ServersAwayError: No server has answered for too long.
    """
    photo = pending.photo
    data: npt.NDArray[np.uint8] | None
    try:
        if "://" in photo:  # which no path below a folder contains
            from facekit.annotate.objects import read_object

            content, stamp = read_object(photo)
            data = np.frombuffer(content, np.uint8)
        else:
            data, stamp = _read(folder / photo, hash_content)
    except FileNotFoundError:
        return PhotoRecord(photo, pending.stamp, error=GONE, lasting=False)
    except OSError as error:
        reason = f"can't be read: {error.strerror or error}"
        return PhotoRecord(photo, pending.stamp, error=reason, lasting=False)
    if data is None:
        reason = "has changed since it was listed; the next run looks at it again"
        return PhotoRecord(photo, stamp, error=reason, lasting=False)
    try:
        return PhotoRecord(photo, stamp, detector.detect(data, **how))
    except InputError as error:
        return PhotoRecord(photo, stamp, error=one_line(str(error)))
    except (ModelMissingError, ServersAwayError):
        raise
    except ServerError as error:
        return PhotoRecord(photo, stamp, error=one_line(str(error)), lasting=False)


def _read(path: Path, hash_content: bool) -> tuple[npt.NDArray[np.uint8] | None, FileStamp]:
    """Return a file's bytes, and the state that they are of.

    None instead of bytes: the file was being written, or it is no longer what was listed as a
    photo; the next run lists it again and says what is wrong with it.
    """
    with open(path, "rb", opener=_open_at_once) as file:  # noqa: PTH123 - pathlib has no opener
        before = os.fstat(file.fileno())
        if not (stat.S_ISREG(before.st_mode) and 0 < before.st_size <= limits.MAX_PHOTO_BYTES):
            return None, FileStamp.of(before)
        data = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    sha256 = hashlib.sha256(data).hexdigest() if hash_content else ""
    stamp = FileStamp.of(before, sha256)
    same = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    if not same or len(data) != before.st_size or _is_refused(data, path):
        return None, stamp
    return np.frombuffer(data, np.uint8), stamp


def _is_refused(data: bytes, path: Path) -> bool:
    return refusal(data[:HEAD_BYTES], path.suffix.lower()) != ""


def _open_at_once(path: str, flags: int) -> int:
    # A pipe in the photo's place would never open.
    return os.open(path, flags | os.O_NONBLOCK)

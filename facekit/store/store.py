"""What every store of results can do, whatever database it is, and what it answers."""

import math
import sys
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from facekit.annotations.dataset import utf8_name
from facekit.annotations.record import ANGLE_DIGITS, PhotoRecord
from facekit.closing import Closing
from facekit.errors import InputError, StoreError
from facekit.landmarks.pose import off_frontal_deg, poses_deg

_MAX_FACES = 1e9
"""Of a photo; as a limit it is one that every database can compare with."""


class Answer:
    """One row of what a store answers."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class StoredDataset(Answer):
    """A dataset; its photos' names are relative to ``photo_folder``, and some have no face."""

    dataset: str
    photo_folder: str
    photos: int
    faces: int


@dataclass(frozen=True)
class StoredPhoto(Answer):
    """A photo.

    Attributes:
        photo: Path under the photo folder.
        width: Of the upright photo in pixels, as ``height``.
        channels: As in ``facekit.Faces``.
        faces: Number of faces.
    """

    photo: str
    width: int
    height: int
    channels: int
    faces: int


@dataclass(frozen=True)
class StoredFace(Answer):
    """A face, in pixels of the upright photo, x right, y down.

    Attributes:
        photo: Path of its photo under the photo folder.
        number: Its place in the photo, from 1, best first.
        category: Name of its class, or ``face``.
        score: In [0, 1].
        rotation_deg: Angle of the eye line, 0 upright, positive clockwise as seen; None if unknown.
        center_xy: The point between the eyes; None if unknown.
        box_xywh: Left, top, width and height.
        points_xy: The landmarks in the order of ``facekit.landmarks.scheme``; () for none.
        pose_deg: Yaw, pitch and roll, see ``facekit.landmarks.pose``; None if unknown.
        sharpness: As in ``facekit.Face``; None if unknown.
    """

    photo: str
    number: int
    category: str
    score: float
    rotation_deg: float | None
    center_xy: tuple[float, float] | None
    box_xywh: tuple[float, float, float, float]
    points_xy: tuple[tuple[float, float], ...]
    pose_deg: tuple[float, float, float] | None = None
    sharpness: float | None = None


@dataclass(frozen=True)
class FaceFilter:
    """What faces have to be like, besides their score; the defaults take all.

    Attributes:
        frontal_deg: Looking past the camera by at most so many degrees, whichever way; None for
            any, also for those whose pose is unknown.
        min_size_px: The shorter side of the box in pixels.
        min_sharpness: As in ``facekit.selection.FaceLimits``.
    """

    frontal_deg: float | None = None
    min_size_px: float = 0.0
    min_sharpness: float = 0.0

    def takes(self, face: StoredFace) -> bool:
        """Return whether a face is such a one."""
        if min(face.box_xywh[2:]) < self.min_size_px:
            return False
        if self.min_sharpness and not (face.sharpness or 0.0) >= self.min_sharpness:
            return False
        if self.frontal_deg is None:
            return True
        return face.pose_deg is not None and (
            float(off_frontal_deg([face.pose_deg])[0]) <= self.frontal_deg
        )


EVERY_FACE = FaceFilter()


@dataclass(frozen=True)
class FolderCount(Answer):
    """How much lies directly in one folder; the photo folder itself is ``.``."""

    folder: str
    photos: int
    faces: int


@dataclass(frozen=True)
class CategoryCount(Answer):
    """Number of faces of one category."""

    category: str
    faces: int


@dataclass(frozen=True)
class Change:
    """A photo that a dataset gets, gets anew or loses.

    ``photo`` is the bytes of its path under the photo folder. The faces of ``record`` replace all
    that the store has of the photo; None removes it. ``digest`` differs when the record differs.
    """

    photo: bytes
    record: PhotoRecord | None = None
    digest: str = ""


class Store(Closing):
    """Datasets of photos and faces in a database, changed one photo at a time, whole or not at all.

    Each answer has one order, the same in every database; ties are settled by the bytes of the
    photo's path, then by the face's number. ``name`` is the address, without a password.
    """

    name: str

    def photos(
        self, dataset: str, min_faces: int = 0, *, limit: int | None = None
    ) -> Iterator[StoredPhoto]:
        """Yield the photos with at least so many faces, those with most faces first.

        Raises InputError for ``min_faces`` or a ``limit`` that is not a number to compare with.
        """
        fewest = min(max(_number(min_faces), 0.0), _MAX_FACES)
        return islice(self._photos(dataset, fewest), _limit(limit))

    def faces(
        self,
        dataset: str,
        min_score: float = 0.0,
        *,
        category: str | None = None,
        such: FaceFilter = EVERY_FACE,
        limit: int | None = None,
    ) -> Iterator[StoredFace]:
        """Yield the faces of a score that is not lower, of one category or all, best first.

        Only those that ``such`` takes. Raises InputError for ``min_score`` or a ``limit`` that is
        not a number to compare with.
        """
        lowest = _number(min_score)
        only = None if category is None else utf8_name(category)
        faces = self._faces_by_score(dataset, lowest, only)
        return islice(filter(such.takes, faces), _limit(limit))

    def best_per_folder(
        self,
        dataset: str,
        min_score: float = 0.0,
        *,
        category: str | None = None,
        such: FaceFilter = EVERY_FACE,
        limit: int | None = None,
    ) -> Iterator[StoredFace]:
        """Yield the sharpest face of each folder, by the bytes of its path; arguments as above.

        A folder whose faces are all left out has none. Of equally sharp ones, or where the
        sharpness is unknown, it is the one with the highest score.
        """
        best: dict[str, StoredFace] = {}
        for face in self.faces(dataset, min_score, category=category, such=such):
            folder = face.photo.rpartition("/")[0]
            if folder not in best or (face.sharpness or 0) > (best[folder].sharpness or 0):
                best[folder] = face
        ranked = (best[folder] for folder in sorted(best, key=to_bytes))
        return islice(ranked, _limit(limit))

    def rotated(
        self,
        dataset: str,
        beyond_deg: float,
        *,
        category: str | None = None,
        such: FaceFilter = EVERY_FACE,
        limit: int | None = None,
    ) -> Iterator[StoredFace]:
        """Yield the faces turned by more than an angle either way, the farthest turned first.

        One whose rotation is unknown is not among them. Raises InputError for ``beyond_deg`` or a
        ``limit`` that is not a number to compare with.
        """
        faces = self._faces_by_turn(dataset, _number(beyond_deg))
        wanted = (face for face in faces if category is None or face.category == category)
        return islice(filter(such.takes, wanted), _limit(limit))

    @abstractmethod
    def faces_of(self, dataset: str, photo: str) -> list[StoredFace]:
        """Return the faces of one photo by their number; raises StoreError without that photo."""

    @abstractmethod
    def datasets(self) -> list[StoredDataset]:
        """Return the datasets by name."""

    @abstractmethod
    def folders(self, dataset: str) -> list[FolderCount]:
        """Return how much lies directly in each folder, by the bytes of its path."""

    @abstractmethod
    def categories(self, dataset: str) -> list[CategoryCount]:
        """Return how many faces each category has, by the bytes of its name."""

    @abstractmethod
    def begin(self, dataset: str, folder: str, owner: str) -> None:
        """Create a dataset where it is missing, and let a run's record, by its id, own it.

        A run whose record owned the dataset before can't change it any more. Raises StoreError if
        it contains another folder's photos and has another owner.
        """

    @abstractmethod
    def apply(self, dataset: str, owner: str, changes: Sequence[Change]) -> None:
        """Change photos, all or none of them; doing it twice is the same as doing it once.

        Raises StoreError if another record owns the dataset.
        """

    @abstractmethod
    def digests(self, dataset: str, photos: Sequence[bytes]) -> list[str]:
        """Return the digest of each of some photos; "" for one that the dataset lacks."""

    @abstractmethod
    def photo_names(self, dataset: str, after: bytes, count: int) -> list[bytes]:
        """Return the next photos by the bytes of their path."""

    @abstractmethod
    def _photos(self, dataset: str, min_faces: float) -> Iterator[StoredPhoto]: ...

    @abstractmethod
    def _faces_by_score(
        self, dataset: str, min_score: float, category: str | None
    ) -> Iterator[StoredFace]: ...

    @abstractmethod
    def _faces_by_turn(self, dataset: str, beyond_deg: float) -> Iterator[StoredFace]: ...

    def _other_folder(self, dataset: str, folder: str) -> StoreError:
        return StoreError(
            f"{self.name}: the dataset {dataset} contains the photos of {folder}; "
            "choose another name with --dataset"
        )

    def _other_owner(self, dataset: str) -> StoreError:
        return StoreError(f"{self.name}: another run has taken over the dataset {dataset}")

    def _no_dataset(self, dataset: str) -> StoreError:
        return StoreError(f"{self.name}: does not contain a dataset {dataset}")

    def _no_photo(self, dataset: str, photo: str) -> StoreError:
        return StoreError(f"{self.name}: the dataset {dataset} does not contain a photo {photo}")


def to_bytes(text: str) -> bytes:
    """Return a path's own bytes, also of one that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Undo :func:`to_bytes`."""
    return data.decode("utf-8", "surrogateescape")


def photo_answer(data: dict[str, Any]) -> StoredPhoto:
    """Return an image's document as a photo."""
    return StoredPhoto(_photo(data), data["width"], data["height"], data["channels"], data["faces"])


def face_answer(data: dict[str, Any]) -> StoredFace:
    """Return an annotation's document as a face."""
    center = data.get("center")
    keypoints = data.get("keypoints", [])
    points = tuple(zip(keypoints[::3], keypoints[1::3], strict=True))
    pose = data.get("pose")
    if pose is None and center:  # a document of an earlier version
        found = poses_deg([points])[0].astype(float).round(ANGLE_DIGITS).tolist()
        pose = None if math.isnan(found[0]) else found
    return StoredFace(
        photo=_photo(data),
        number=data["number"],
        category=data["category"],
        score=float(data["score"]),
        rotation_deg=data.get("rotation"),
        center_xy=tuple(center) if center else None,
        box_xywh=tuple(data["bbox"]),
        points_xy=points,
        pose_deg=tuple(pose) if pose else None,
        sharpness=data.get("sharpness"),
    )


def _photo(data: dict[str, Any]) -> str:
    if "file_name_hex" in data:
        return to_text(bytes.fromhex(data["file_name_hex"]))
    name: str = data["file_name"]
    return name


def _number(value: float) -> float:
    """Return a number of Python's own: NumPy's are compared as bytes by SQLite, without a word."""
    number = float(value)
    if math.isnan(number):
        raise InputError("NaN is not a number to compare with")
    return number


def _limit(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise InputError(f"limit: expected a number from 0, got {limit}")
    return None if limit is None else min(limit, sys.maxsize)

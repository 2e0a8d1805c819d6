"""Datasets of photos with their faces, as the writers take them and the readers return them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekit.annotations.record import PhotoRecord
from facekit.errors import DataError
from facekit.faces import Faces
from facekit.landmarks.scheme import POINT_COUNTS, point_names, skeleton


@dataclass(frozen=True)
class DatasetInfo:
    """Properties of a whole dataset.

    Attributes:
        photo_folder: Folder that the photos' names count from, absolute.
        model: Name of the model that found the faces; "" where it is unknown.
        point_count: Points a face, for a dataset without photos; otherwise the photos decide.
        class_names: The classes, likewise.
        point_names: Names of the points where the dataset brings its own; () for those of
            ``facekit.landmarks.scheme``.
        skeleton: Lines between those points as pairs of indices from 0.
    """

    photo_folder: str
    model: str = ""
    point_count: int = 68
    class_names: tuple[str, ...] = ()
    point_names: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class NumberedPhoto:
    """One photo's outcome and its number in the dataset, which stays whatever the run does."""

    image_id: int
    record: PhotoRecord


PhotoSource = Callable[[], Iterator[NumberedPhoto]]
"""Gives all photos of a dataset in order, anew each time it is called."""


@dataclass(frozen=True)
class Dataset:
    """A dataset that was read, in memory; the photos are in the file's order."""

    info: DatasetInfo
    photos: list[NumberedPhoto]


def photos_with_faces(photos: PhotoSource) -> Iterator[tuple[int, str, Faces]]:
    """Yield id, name and faces of the photos that were looked at; failed ones are left out."""
    for photo in photos():
        if photo.record.faces is not None:
            yield photo.image_id, photo.record.photo, photo.record.faces


def check_photo_folder(folder: Path, names: Iterable[str]) -> None:
    """Raise DataError unless a photo folder contains at least one of some photos."""
    first = None
    for name in names:
        first = name if first is None else first
        try:
            (folder / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):
            return  # one that is there and can't be read
        return
    if first is None:
        return
    remedy = "name the folder of the photos with --photos DIR"
    if not folder.is_dir():
        raise DataError(folder, f"no such folder; {remedy}")
    raise DataError(folder, f"none of the photos is here, such as {utf8_name(first)}; {remedy}")


def utf8_name(name: str) -> str:
    r"""Return a photo's name with escapes for bytes that are not UTF-8, which few tools take.

    >>> utf8_name("\udcff.jpg")
    '\\udcff.jpg'
    """
    return name.encode("utf-8", "backslashreplace").decode()


def name_fields(key: str, name: str) -> dict[str, str]:
    r"""Return a name as JSON fields: one that is not UTF-8 has its bytes beside it.

    Half a surrogate, Python's sign for such a byte, is refused by pandas, pyarrow and most others,
    with the whole file, and ends DALI's reader with a crash.

    >>> name_fields("photo", "\udcff.jpg")
    {'photo': '\\udcff.jpg', 'photo_hex': 'ff2e6a7067'}
    """
    shown = utf8_name(name)
    raw = {} if shown == name else {f"{key}_hex": name.encode("utf-8", "surrogateescape").hex()}
    return {key: shown} | raw


def name_of(entry: dict[str, Any], key: str) -> str:
    """Undo :func:`name_fields`; "" where there is no name that a file can have."""
    name = entry.get(key)
    try:
        if f"{key}_hex" in entry:
            return bytes.fromhex(entry[f"{key}_hex"]).decode("utf-8", "surrogateescape")
        return name if isinstance(name, str) and name.encode("utf-8", "surrogateescape") else ""
    except (ValueError, TypeError):
        return ""


@dataclass
class Layout:
    """Number of points a face and names of the classes, as the photos that pass have them.

    Those of ``info`` are assumed for a dataset without photos; ``path`` is for errors.
    """

    path: Path
    info: DatasetInfo
    _told: tuple[int, tuple[str, ...]] | None = field(default=None, init=False)
    _told_by: str = field(default="", init=False)
    _has_faces: bool = field(default=False, init=False)

    def see(self, photo: str, faces: Faces) -> None:
        """Note the layout of one photo's faces; no file can have two: a DataError."""
        layout = faces.points_xy.shape[1], faces.class_names
        if self._has_faces and len(faces) and layout != self._told:
            assert self._told is not None
            raise DataError(
                self.path,
                f"faces of two models: {_described(*self._told)} in {self._told_by}, "
                f"{_described(*layout)} in {photo}; write them to two files",
            )
        if self._told is None or (len(faces) and not self._has_faces):
            self._told, self._told_by, self._has_faces = layout, photo, len(faces) > 0

    @property
    def point_count(self) -> int:
        """Points a face."""
        return self.info.point_count if self._told is None else self._told[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, of which a face is one; () where there are none."""
        return self.info.class_names if self._told is None else self._told[1]

    @property
    def point_names(self) -> tuple[str, ...]:
        """A name for each point, no two alike."""
        count = self.point_count
        if count and len(self.info.point_names) == count:
            return self.info.point_names
        if count in POINT_COUNTS:
            return point_names(count)
        return tuple(f"point_{number}" for number in range(1, count + 1))

    @property
    def skeleton(self) -> tuple[tuple[int, int], ...]:
        """Lines between the points, as pairs of indices from 0."""
        count = self.point_count
        if count and len(self.info.point_names) == count:
            return self.info.skeleton
        return tuple(skeleton(count)) if count in POINT_COUNTS else ()


def _described(point_count: int, class_names: tuple[str, ...]) -> str:
    names = f" and the classes {', '.join(class_names)}" if class_names else ""
    return f"{point_count} points{names}"

"""One run over several photos: their files, the server, and the results."""

import errno
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from facekit import limits
from facekit.client import Client
from facekit.contract import is_optional
from facekit.engines.manifest import repair_command
from facekit.errors import (
    DataError,
    FacekitError,
    ModelMissingError,
    PhotoError,
    ServerUnavailableError,
    writing,
)
from facekit.faces import Faces
from facekit.files import check_writable, write_whole
from facekit.landmarks.crops import crop_squares
from facekit.outputs import check_own, is_our_picture, picture_bytes
from facekit.photos.formats import ACCEPTED, DRAWN_SUFFIXES, PHOTO_SUFFIXES, refuse_file
from facekit.progress import ProgressBar
from facekit.report import PhotoResult
from facekit.selection import FaceLimits
from facekit.text import show

_CONCURRENCY = 4
STDIN = Path("/dev/stdin")
"""Stands for the photo that comes on standard input; it is shown as ``-``."""
CROP_EXPAND = 1.4
"""Side of a crop over the longer side of the face's box."""


def find_photos(paths: Sequence[Path]) -> list[Path | PhotoResult]:
    """Return files unchanged, and each folder's photos in order of their names.

    Files of a folder are recognized by content. Unsupported pictures, paths that can't be accessed
    or do not exist, and folders that can't be listed or contain no photos become failed results.
    Subfolders, hidden files, other files and pictures of :class:`Drawings` are skipped.
    """
    found: list[Path | PhotoResult] = []
    for path in paths:
        try:
            if path == STDIN:
                found.append(path)
                continue
            if not path.is_dir():
                there = path.exists()
                found.append(path if there else _failed(path, os.strerror(errno.ENOENT)))
                continue
            entries = sorted(path.iterdir())
        except OSError as error:
            found.append(_failed(path, error.strerror or str(error)))
            continue
        inside = [each for entry in entries if (each := _examine(entry)) is not None]
        found += inside or [_failed(path, f"a folder without photos; {ACCEPTED}")]
    return found


def _examine(path: Path) -> Path | PhotoResult | None:
    """Return a folder's entry if it is a photo, a failed result for another picture, or None."""
    if path.name.startswith(".") or path.name.lower().endswith(DRAWN_SUFFIXES):
        return None
    try:
        reason = refuse_file(path) if path.is_file() else None
    except OSError:
        # The name decides, and the client reports why it can't be read.
        reason = "" if path.suffix.lower() in PHOTO_SUFFIXES else None
    return path if reason == "" else None if reason is None else _failed(path, reason)


def _failed(path: Path, reason: str) -> PhotoResult:
    return PhotoResult(str(path), PhotoError(f"{path}: {reason}"))


@contextmanager
def connect(
    url: str | None, *, timeout_s: float = 30.0, tls_certificate: Path | None = None
) -> Iterator[Client]:
    """Yield a client of the server at ``url``, or of an embedded server for the block.

    Raises ServerError if that at ``url`` has another certificate, ServerUnavailableError if it is
    not ready, and SetupError if the embedded one can't start on this machine.
    """
    if url is not None:
        with Client(url, timeout_s=timeout_s, tls_certificate=tls_certificate) as client:
            try:
                client.check_ready()
            except ServerUnavailableError as error:
                raise ServerUnavailableError(
                    f"{error}. If it is starting, try again; else start one with scripts/serve, "
                    "or leave out --url"
                ) from error
            yield client
        return
    from facekit.serving import EmbeddedServer
    from facekit.serving.repository import check_default_repository

    check_default_repository()
    with EmbeddedServer() as server, Client(server.grpc_url, timeout_s=timeout_s) as client:
        for note in server.notes:
            show(note, sys.stderr)
        yield client


def detect_all(
    client: Client,
    photos: Sequence[Path | PhotoResult],
    *,
    keep: FaceLimits | None = None,
    model: str = "faces",
    tiles: str | int | None = None,
    rotations: str | int | None = None,
) -> Iterator[PhotoResult]:
    """Yield the results of all photos in order, with a progress bar; a failed one passes through.

    Faces that do not meet ``keep`` are left out. ``model``, ``tiles`` and ``rotations`` are as for
    :meth:`Client.detect`. A ModelMissingError says what to do.
    """
    paths = (source(photo) for photo in photos if isinstance(photo, Path))
    answers = client.detect_many(
        paths, concurrency=_CONCURRENCY, model=model, tiles=tiles, rotations=rotations
    )
    with ProgressBar(len(photos), "photos") as bar:
        for photo in photos:
            if isinstance(photo, Path):
                answer = next(answers)
                if isinstance(answer, ModelMissingError):
                    raise ModelMissingError(f"{answer}; {missing_model_remedy(model)}") from answer
                if isinstance(answer, Faces) and keep is not None:
                    answer = keep.keep(answer)
                result = PhotoResult(shown_name(photo), answer)
            else:
                result = photo
            bar.advance(failed=result.failed)
            yield result


def source(photo: Path) -> Path | bytes:
    """Return what a photo is read from: its path, or what came on standard input."""
    return _standard_input() if photo == STDIN else photo


def shown_name(photo: Path) -> str:
    """Return what a photo is called in the results."""
    return "-" if photo == STDIN else str(photo)


@functools.cache
def _standard_input() -> bytes:
    # It can be read once, and is drawn after it was sent. It is None where it has been closed.
    return b"" if sys.stdin is None else sys.stdin.buffer.read(limits.MAX_PHOTO_BYTES + 1)


class _UniqueNames:
    """Names of files made of photos' stems; photos of two folders may have one name."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, photo: str) -> str:
        stem = "stdin" if photo == "-" else Path(photo).stem
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name)
        return name


class Crops:
    """Writes each face as a square picture into a folder: ``PHOTO.face1.jpg`` for the best.

    The face's box with some room, not turned, at the photo's own size; black beyond its border.
    Raises DataError if the folder contains other things than crops or can't be written to.
    """

    def __init__(self, folder: Path) -> None:
        from facekit.annotations.output import claim_folder

        claim_folder(folder, "crops")
        self._folder, self._names = folder, _UniqueNames()

    def add(self, entry: PhotoResult) -> PhotoResult:
        """Cut the faces out of their photo, and return the result with the pictures' files.

        A failed result is returned unchanged; a photo that can't be cut becomes a failed one.
        """
        if not isinstance(entry.result, Faces):
            return entry
        from facekit.draw import open_upright

        name, faces, paths = self._names.of(entry.photo), entry.result, []
        try:
            image = open_upright(_source_of(entry), faces.size_wh) if len(faces) else None
            squares = crop_squares(faces.boxes_xyxy, size_wh=faces.size_wh, expand=CROP_EXPAND)
            for number, (left, top, side) in enumerate(squares.tolist(), 1):
                assert image is not None
                box = (round(left), round(top), round(left + side), round(top + side))
                path = self._folder / f"{name}.face{number}.jpg"
                picture = picture_bytes(image.crop(box), path.suffix)
                write_whole(path, picture, sync=False)
                paths.append(str(path))
        except (FacekitError, OSError) as error:
            return _not_written(entry, error, self._folder)
        return replace(entry, crops=tuple(paths))


class Drawings:
    """Writes annotated pictures into a folder, which the first one creates, under unique names.

    With ``pose`` each face also has the axes of its head. ``photos`` are those of the run, as
    :func:`find_photos` returns them. Raises DataError if the folder can't be written to, or a
    picture would replace one of the photos, or a file that facekit did not draw.
    """

    def __init__(
        self, folder: Path, photos: Sequence[Path | PhotoResult] = (), *, pose: bool = False
    ) -> None:
        self._folder, self._pose = folder, pose
        self._photos = [photo for photo in photos if isinstance(photo, Path)]
        if folder.exists() and not folder.is_dir():
            raise DataError(folder, "is not a folder, which the pictures need")
        with writing(folder):
            check_writable(folder)
        names = _UniqueNames()
        for photo in self._photos:
            self._check(self._path(names.of(shown_name(photo))))
        self._names = _UniqueNames()

    def _check(self, path: Path) -> None:
        inputs = self._photos if path.exists() else ()
        check_own(path, is_our_picture, inputs)

    def add(self, entry: PhotoResult) -> PhotoResult:
        """Draw the faces into their photo, and return the result with the picture's file.

        A failed result is returned unchanged; a photo that can't be drawn becomes a failed one.
        """
        if not isinstance(entry.result, Faces):
            return entry
        from facekit.draw import draw_faces

        path = self._path(self._names.of(entry.photo))
        try:
            picture = draw_faces(_source_of(entry), entry.result, pose=self._pose)
            self._check(path)
            write_whole(path, picture_bytes(picture, path.suffix), sync=False)
        except (FacekitError, OSError) as error:
            return _not_written(entry, error, path)
        return replace(entry, drawing=str(path))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{DRAWN_SUFFIXES[0]}"


def _source_of(entry: PhotoResult) -> Path | bytes:
    return source(STDIN if entry.photo == "-" else Path(entry.photo))


def _not_written(entry: PhotoResult, error: FacekitError | OSError, path: Path) -> PhotoResult:
    if isinstance(error, OSError):
        error = FacekitError(f"{error.filename or path}: {error.strerror or error}")
    return PhotoResult(entry.photo, error)


def missing_model_remedy(model: str) -> str:
    """Return what to do about a server that does not serve a model."""
    if not is_optional(model):
        return "is that a server of this kit? Its log says what it could not load"
    network = model.removesuffix("_ensemble")
    return (
        f"a server skips {network} while its network is missing. On a GPU build the engine: "
        f"{repair_command(network)}; on a CPU restore model_repository/{network}/1/model.onnx; "
        "then restart the server"
    )

"""One run over several photos: their files, the server, and the results."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
from facekit.outputs import check_own, is_our_picture, picture_bytes
from facekit.photos.formats import ACCEPTED, DRAWN_SUFFIXES, PHOTO_SUFFIXES, refuse_file
from facekit.progress import ProgressBar
from facekit.report import PhotoResult
from facekit.text import show

_CONCURRENCY = 4


def find_photos(paths: Sequence[Path]) -> list[Path | PhotoResult]:
    """Return files unchanged, and each folder's photos in order of their names.

    Files of a folder are recognized by content. Unsupported pictures, paths that can't be accessed
    or do not exist, and folders that can't be listed or contain no photos become failed results.
    Subfolders, hidden files, other files and pictures of :class:`Drawings` are skipped.
    """
    found: list[Path | PhotoResult] = []
    for path in paths:
        try:
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
    min_score: float = 0.0,
    model: str = "faces",
) -> Iterator[PhotoResult]:
    """Yield the results of all photos in order, with a progress bar; a failed one passes through.

    ``model`` is as for :meth:`Client.detect`. A ModelMissingError says what to do.
    """
    paths = (photo for photo in photos if isinstance(photo, Path))
    answers = client.detect_many(paths, concurrency=_CONCURRENCY, model=model)
    with ProgressBar(len(photos), "photos") as bar:
        for photo in photos:
            if isinstance(photo, Path):
                answer = next(answers)
                if isinstance(answer, ModelMissingError):
                    raise ModelMissingError(f"{answer}; {missing_model_remedy(model)}") from answer
                result = PhotoResult(str(photo), _filtered(answer, min_score))
            else:
                result = photo
            bar.advance(failed=result.failed)
            yield result


class Drawings:
    """Writes annotated pictures into a folder, which the first one creates, under unique names.

    ``photos`` are those of the run, as :func:`find_photos` returns them. Raises DataError if the
    folder can't be written to, or a picture would replace one of the photos, or a file that
    facekit did not draw.
    """

    def __init__(self, folder: Path, photos: Sequence[Path | PhotoResult] = ()) -> None:
        self._folder = folder
        self._photos = [photo for photo in photos if isinstance(photo, Path)]
        self._taken: set[str] = set()
        if folder.exists() and not folder.is_dir():
            raise DataError(folder, "is not a folder, which the pictures need")
        with writing(folder):
            check_writable(folder)
        for photo in self._photos:
            self._check(folder / self._name(photo.stem))
        self._taken.clear()

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

        path = self._folder / self._name(Path(entry.photo).stem)
        try:
            picture = draw_faces(entry.photo, entry.result)
            self._check(path)
            write_whole(path, picture_bytes(picture, path.suffix), sync=False)
        except FacekitError as error:
            return PhotoResult(entry.photo, error)
        except OSError as error:
            return PhotoResult(
                entry.photo, FacekitError(f"{error.filename or path}: {error.strerror or error}")
            )
        return PhotoResult(entry.photo, entry.result, str(path))

    def _name(self, stem: str) -> str:
        # Photos of two folders may have one name.
        name, number = f"{stem}{DRAWN_SUFFIXES[0]}", 1
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}{DRAWN_SUFFIXES[0]}"
        self._taken.add(name)
        return name


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


def _filtered(result: Faces | FacekitError, min_score: float) -> Faces | FacekitError:
    if isinstance(result, Faces) and min_score > 0:
        return result[result.scores >= min_score]
    return result

"""Which files an output may replace: those that the same command wrote, and never an input."""

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from facekit.errors import DataError, SetupError, reading, writing
from facekit.files import write_whole

PICTURE_MARK = "Drawn by facekit"
"""Stands in the metadata of each picture that the kit draws."""
MAX_BEGINNING_BYTES = 1 << 17
"""Enough for any path a file can have, and its address, however much of it is escaped."""

# Of Pillow's and matplotlib's writers; those of matplotlib's own formats take a creator.
_PILLOW_OPTIONS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("jpg", "jpeg", "gif"), {"comment": PICTURE_MARK.encode()}),
    **dict.fromkeys(("tif", "tiff"), {"description": PICTURE_MARK}),
    "webp": {"xmp": PICTURE_MARK.encode()},
}
_CREATOR_FORMATS = ("pdf", "svg", "ps", "eps")


def check_own(
    path: Path, is_ours: Callable[[Path], bool], inputs: Iterable[Path | str] = ()
) -> None:
    """Refuse to replace an input, or a file that facekit did not write, by a DataError.

    A file that is empty or missing, a device and a pipe may be written to, as - for standard
    output. ``is_ours`` tells a file that the command writes, such as :func:`begins_as` one.
    """
    if path == Path("-"):
        return
    with reading(path):
        if not path.is_file():
            return
        if any(is_same_file(path, each) for each in inputs):
            raise DataError(path, "is a file that is read; give another name for what is written")
        ours = path.stat().st_size == 0 or is_ours(path)
    if not ours:
        raise DataError(
            path, "exists and was not written by facekit: give another name, or remove it"
        )


def is_same_file(one: Path, other: Path | str) -> bool:
    """Return whether two paths lead to one file that exists."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def begins_as(pattern: re.Pattern[bytes]) -> Callable[[Path], bool]:
    """Return a test of a file's first bytes."""

    def is_ours(path: Path) -> bool:
        with path.open("rb") as file:
            return pattern.match(file.read(MAX_BEGINNING_BYTES)) is not None

    return is_ours


def is_our_picture(path: Path) -> bool:
    """Return whether a picture has the kit's mark near its beginning or its end."""
    with path.open("rb") as file:
        beginning = file.read(MAX_BEGINNING_BYTES)
        file.seek(max(0, path.stat().st_size - MAX_BEGINNING_BYTES))
        return PICTURE_MARK.encode() in beginning or PICTURE_MARK.encode() in file.read()


def picture_bytes(image: Any, suffix: str) -> bytes:
    """Return a picture of Pillow in RGB as a marked file of ``.png``, ``.jpg`` or ``.jpeg``."""
    file = io.BytesIO()
    if suffix.lower() == ".png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("Comment", PICTURE_MARK)
        image.save(file, format="PNG", pnginfo=info)
    else:
        image.save(file, format="JPEG", quality=92, comment=PICTURE_MARK.encode())
    return file.getvalue()


def write_figure(path: Path, figure: Any) -> None:
    """Write a figure of matplotlib whole, marked where its format has a place for it.

    Raises SetupError if the format is unknown, or the file can't be written.
    """
    kind = path.suffix.lower().removeprefix(".") or "png"
    options: dict[str, Any] = {}
    if kind == "png":
        options["metadata"] = {"Comment": PICTURE_MARK}
    elif kind in _CREATOR_FORMATS:
        options["metadata"] = {"Creator": PICTURE_MARK}
    elif kind in _PILLOW_OPTIONS:
        options["pil_kwargs"] = dict(_PILLOW_OPTIONS[kind])
    file = io.BytesIO()
    try:
        figure.savefig(file, format=kind, dpi=110, **options)
    except ValueError as error:
        raise SetupError(f"{path}: {error}") from error
    with writing(path, SetupError):
        write_whole(path, file.getvalue())

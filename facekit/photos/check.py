"""Check one encoded photo, and hand on bytes that every DALI version decodes alike.

A decode error inside DALI fails every request that was merged into the same batch, and what DALI
does with EXIF, palettes, alpha, 16 bits and CMYK differs from version to version. So the bytes are
checked here first, with Pillow. An ordinary JPEG passes unread but for its header (well under a
millisecond); anything else, odd JPEGs among them, is decoded here and handed on as an uncompressed
PNM, which leaves DALI nothing to fail on.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from facekit import limits
from facekit.errors import PhotoError
from facekit.photos.blocks import essential_jpeg
from facekit.photos.formats import HEAD_BYTES, SUFFIXES, Kind, name_format, refusal
from facekit.photos.header import Header, read_photo_header
from facekit.photos.jpeg import OddJpegError, read_header
from facekit.photos.orientation import turn_upright
from facekit.photos.png import open_png
from facekit.photos.tiff import decode_tiff

_END_OF_IMAGE = b"\xff\xd9"
_CHANNELS = {"1": 1, "L": 1, "LA": 2, "I;16": 1, "I;16B": 1, "I": 1, "RGBA": 4, "CMYK": 4}


@dataclass(frozen=True)
class CheckedPhoto:
    """One photo that a decoder may see.

    Attributes:
        data: uint8 (n,), a JPEG whose EXIF no decoder will act on, or an uncompressed PNM.
        orientation: EXIF orientation 1..8 that turns the pixels of ``data`` upright.
        size_hwc: Height and width of the upright photo in pixels, and its channels as stored
            (1 gray, 2 gray and alpha, 3 colour, 4 colour and alpha, or CMYK).
    """

    data: npt.NDArray[np.uint8]
    orientation: int
    size_hwc: tuple[int, int, int]


def check_photo(
    data: npt.NDArray[np.uint8] | bytes, *, pixels_left: int = limits.MAX_REQUEST_PIXELS
) -> CheckedPhoto:
    """Check one encoded photo and prepare it for decoding.

    Args:
        data: The file's bytes; uint8 (n,) when an array. Zeros behind its end are ignored.
        pixels_left: How many pixels the other photos of the request leave to this one.

    Raises:
        PhotoError: The photo is empty, truncated, corrupt, of another format, or over a limit of
            ``facekit.limits``.
    """
    raw = bytes(data)
    if len(raw) > limits.MAX_PHOTO_BYTES:
        raise PhotoError(f"{len(raw):,} bytes; the limit is {limits.MAX_PHOTO_BYTES:,}")
    reason = refusal(raw[:HEAD_BYTES], SUFFIXES[0])
    if reason:
        raise PhotoError(reason if raw.strip(b"\0") else "empty: it holds no bytes but padding")
    try:
        header = read_photo_header(io.BytesIO(raw))
    except ValueError as error:
        raise PhotoError(name_format(raw)) from error
    _check_pixels(header, pixels_left)
    try:
        if header.kind == "JPEG":
            return _check_jpeg(raw, header.orientation)
        pixels, channels = _decode(raw, header.kind)
        return _handed_on(turn_upright(pixels, header.orientation), channels)
    except PhotoError:
        raise
    # Pillow's decoders raise many kinds of errors on broken files, SyntaxError and struct.error
    # among them; whichever it is, this photo can't be read and the next one must be.
    except Exception as error:
        raise PhotoError(f"truncated or corrupt {header.kind}: {error}") from error


def decode_checked(checked: CheckedPhoto) -> Image.Image:
    """Decode a checked photo here, in mode L or RGB, and turn it upright.

    Raises:
        PhotoError: The coded data of a JPEG is damaged, which its check does not decode.
    """
    stream = io.BytesIO(checked.data.tobytes())
    try:
        image = (JpegImageFile if checked.data[0] == 0xFF else PpmImageFile)(stream)
        image.load()
    # Of damage in a JPEG Pillow tells by errors of many kinds; an OSError that got out of here
    # would be taken for one of whatever is written next.
    except Exception as error:
        raise PhotoError(f"truncated or corrupt JPEG: {error}") from error
    return turn_upright(image, checked.orientation)


def _check_pixels(header: Header, pixels_left: int) -> None:
    width, height = header.stored_wh
    limits.check_size(width, height, header.kind)
    if width * height > pixels_left:
        raise PhotoError(
            f"with it the request holds more than {limits.MAX_REQUEST_PIXELS:,} pixels: send the "
            "photos in several requests"
        )


def _check_jpeg(raw: bytes, orientation: int) -> CheckedPhoto:
    try:
        image = JpegImageFile(io.BytesIO(essential_jpeg(raw, scans=False)))
    except SyntaxError as error:
        raise PhotoError(name_format(raw)) from error
    if image.info.get("progressive"):
        limits.check_size(image.width, image.height, "progressive JPEG")
    if image.mode in ("L", "RGB"):
        try:
            return _pass_jpeg(raw, image, orientation)
        except OddJpegError:
            pass  # Pillow decodes more kinds than DALI does, and fails for this one alone
    return _decode_jpeg(raw, orientation)


def _pass_jpeg(raw: bytes, image: Image.Image, orientation: int) -> CheckedPhoto:
    header = read_header(raw)
    if image.info.get("adobe_transform", 1) != 1 and image.mode == "RGB":
        raise OddJpegError("colours that are not stored as luma and chroma")
    # No end-of-image marker can stand inside a scan, because an 0xFF byte of coded data is always
    # followed by a zero.
    if raw.rfind(_END_OF_IMAGE, header.scan_start) < 0:
        raise PhotoError("truncated JPEG: no end-of-image marker")
    data = np.frombuffer(raw, np.uint8)
    if header.exif_starts:
        # Newer DALI decoders act on EXIF and older ones do not: hide it from all of them.
        data = data.copy()
        for start in header.exif_starts:
            data[start : start + 4] = np.frombuffer(b"none", np.uint8)
    height, width = image.height, image.width
    if orientation >= 5:
        height, width = width, height
    return CheckedPhoto(data, orientation, (height, width, 1 if image.mode == "L" else 3))


def _decode_jpeg(raw: bytes, orientation: int) -> CheckedPhoto:
    image = JpegImageFile(io.BytesIO(essential_jpeg(raw)))
    limits.check_size(*image.size)
    channels = _CHANNELS.get(image.mode, 3)
    image.load()
    return _handed_on(turn_upright(_to_8_bit(image), orientation), channels)


def _handed_on(pixels: Image.Image, channels: int) -> CheckedPhoto:
    header = f"P{5 if pixels.mode == 'L' else 6}\n{pixels.width} {pixels.height}\n255\n"
    data = np.frombuffer(header.encode() + pixels.tobytes(), np.uint8)
    return CheckedPhoto(data, 1, (pixels.height, pixels.width, channels))


def _decode(raw: bytes, kind: Kind) -> tuple[Image.Image, int]:
    """Return the pixels as stored, in mode L or RGB, and the channels that the file has."""
    if kind == "TIFF":
        picture = decode_tiff(raw)
        return _to_8_bit(picture.image), picture.channels
    image: Image.Image
    if kind == "PNG":
        image = open_png(raw)
    else:
        image = _open_bmp(raw) if kind == "BMP" else WebPImageFile(io.BytesIO(raw))
    channels = _CHANNELS.get(image.mode, 3)
    image.load()
    if kind == "BMP" and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        # Programs that know of no alpha leave its bytes zero.
        image = image.convert("RGB")
    return _to_8_bit(image), channels


def _open_bmp(raw: bytes) -> Image.Image:
    try:
        return BmpImageFile(io.BytesIO(raw))
    except OSError as error:
        if not str(error).startswith("Unsupported"):
            raise
        raise PhotoError(f"{error} is not read: save it as JPEG") from error


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Return the same picture in mode L or RGB, transparent pixels over white."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I"):
        # 16-bit gray; Pillow's own conversion to 8 bits clips instead of scaling.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("1", "LA", "PA", "P", "RGBA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, "white")
        canvas.alpha_composite(rgba)
        return canvas.convert("L" if image.mode in ("1", "LA", "La") else "RGB")
    return image.convert("RGB")

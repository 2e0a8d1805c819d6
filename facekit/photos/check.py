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
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from facekit import limits
from facekit.errors import PhotoError
from facekit.photos.formats import name_format
from facekit.photos.jpeg import read_whole_jpeg
from facekit.photos.jpeg_coding import OddJpegError
from facekit.photos.jpeg_kinds import explain_unread_jpeg

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
"""Pillow's names of the accepted formats."""

_ORIENTATION_TAG = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 322, 323
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
    if not raw.strip(b"\0"):
        raise PhotoError("empty: it holds no bytes but padding")
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            _check_pixels(image, pixels_left)
            # MPO is what Pillow calls the JPEGs of phones that append further pictures.
            if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
                try:
                    return _pass_jpeg(raw, image)
                except OddJpegError:
                    pass  # Pillow decodes more kinds than DALI does, and fails for this one alone
            return _decode_other(image)
    except PhotoError:
        raise
    except UnidentifiedImageError as e:
        raise PhotoError(name_format(raw)) from e
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise PhotoError(f"over the limit of {limits.MAX_PHOTO_PIXELS:,} pixels") from e
    # Pillow's decoders raise many kinds of errors on broken files, SyntaxError and struct.error
    # among them; whichever it is, this photo can't be read and the next one must be.
    except Exception as e:
        raise PhotoError(f"truncated or corrupt: {e}") from e


def _check_pixels(image: Image.Image, pixels_left: int) -> None:
    limits.check_size(image.width, image.height)
    if image.width * image.height > pixels_left:
        raise PhotoError(
            f"with it the request holds more than {limits.MAX_REQUEST_PIXELS:,} pixels: send the "
            "photos in several requests"
        )
    if isinstance(image, TiffImageFile):
        # A tile is decoded whole, however little of it the photo shows.
        limits.check_size(
            int(image.tag_v2.get(_TILE_WIDTH, 1)), int(image.tag_v2.get(_TILE_LENGTH, 1))
        )


def _pass_jpeg(raw: bytes, image: Image.Image) -> CheckedPhoto:
    orientation = exif_orientation(image)
    try:
        raw, structure = read_whole_jpeg(raw)
        if image.info.get("adobe_transform", 1) != 1 and image.mode == "RGB":
            raise OddJpegError("colors that are not stored as luma and chroma")
    except OddJpegError as odd:
        # Pillow decodes more kinds than DALI does, and fails for this one alone.
        try:
            with Image.open(io.BytesIO(raw), formats=("JPEG",)) as whole:
                return _decode_other(whole)
        except Exception as error:
            raise PhotoError(explain_unread_jpeg(raw, str(odd))) from error
    data = np.frombuffer(raw, np.uint8)
    if structure.exif_starts:
        # Newer DALI decoders act on EXIF and older ones do not: hide it from all of them.
        data = data.copy()
        for start in structure.exif_starts:
            data[start : start + 4] = np.frombuffer(b"none", np.uint8)
    height, width = image.height, image.width
    if orientation >= 5:
        height, width = width, height
    return CheckedPhoto(data, orientation, (height, width, 1 if image.mode == "L" else 3))


def _decode_other(image: Image.Image) -> CheckedPhoto:
    channels = _CHANNELS.get(image.mode, 3)
    image.load()
    pixels = ImageOps.exif_transpose(_to_8_bit(image))
    header = f"P{5 if pixels.mode == 'L' else 6}\n{pixels.width} {pixels.height}\n255\n"
    data = np.frombuffer(header.encode() + pixels.tobytes(), np.uint8)
    return CheckedPhoto(data, 1, (pixels.height, pixels.width, channels))


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Return the same picture in mode L or RGB, transparent pixels over white."""
    exif = image.getexif()
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I"):
        # 16-bit gray; Pillow's own conversion to 8 bits clips instead of scaling.
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise PhotoError("32-bit integer pixels; 8 and 16 bits a channel are accepted")
        result = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise PhotoError("floating-point pixels; 8 and 16 bits a channel are accepted")
    elif image.mode in ("1", "LA", "PA", "P", "RGBA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, "white")
        canvas.alpha_composite(rgba)
        result = canvas.convert("L" if image.mode in ("1", "LA", "La") else "RGB")
    else:
        result = image.convert("RGB")
    result.getexif()[_ORIENTATION_TAG] = exif.get(_ORIENTATION_TAG, 1)
    return result


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or that of the XMP block where EXIF has none, as Pillow does."""
    value = image.getexif().get(_ORIENTATION_TAG, 1)
    return value if value in range(1, 9) else 1

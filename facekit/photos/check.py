"""Check one encoded photo, and hand on bytes that every DALI version decodes alike.

A decode error inside DALI fails every request that was merged into the same batch, and DALI's
handling of EXIF, palettes, alpha, 16 bits and CMYK differs from version to version. So the bytes
are checked here first. Of an ordinary JPEG all segments are walked, its picture data are searched
for markers, and it passes as it is. Anything else, odd JPEGs among them, is decoded here with
Pillow and handed on as an uncompressed PNM, on which DALI can't fail.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from facekit import limits
from facekit.errors import PhotoError
from facekit.photos import blocks, formats
from facekit.photos.header import Header, read_photo_header, turn_upright
from facekit.photos.jpeg import read_whole_jpeg
from facekit.photos.jpeg_coding import OddJpegError
from facekit.photos.tiff import decode_tiff

_HIDDEN = np.frombuffer(b"none", np.uint8)
_CHANNELS = {"1": 1, "L": 1, "LA": 2, "I;16": 1, "I;16B": 1, "I": 1, "RGBA": 4, "CMYK": 4}
# Color types of the PNG specification, third edition.
_PNG_GRAY, _PNG_RGB, _PNG_PALETTE = 0, 2, 3
_PNG_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


@dataclass(frozen=True)
class CheckedPhoto:
    """One photo that a decoder may see.

    Attributes:
        data: uint8 (n,), a JPEG whose EXIF no decoder will act on, or an uncompressed PNM.
        orientation: EXIF orientation 1..8 that turns the pixels of ``data`` upright.
        size_hwc: Height and width of the upright photo in pixels, and its channels as stored
            (1 gray, 2 gray and alpha, 3 color, 4 color and alpha, or CMYK).
    """

    data: npt.NDArray[np.uint8]
    orientation: int
    size_hwc: tuple[int, int, int]


def check_photo(
    data: npt.NDArray[np.uint8] | bytes,
    *,
    pixels_before: int = 0,
    max_pixels: int = limits.MAX_REQUEST_PIXELS,
) -> CheckedPhoto:
    """Check one encoded photo and prepare it for decoding.

    Args:
        data: The file's bytes; uint8 (n,) when an array. Zeros behind its end are ignored.
        pixels_before: Pixels of the request's photos in front of this one.
        max_pixels: Pixels that all photos of the request may have together.

    Raises:
        PhotoError: The photo is empty, truncated, corrupt, of another format, or over a limit of
            ``facekit.limits``.
    """
    if len(data) > limits.MAX_PHOTO_BYTES:
        raise PhotoError(f"{len(data):,} bytes; the limit is {limits.MAX_PHOTO_BYTES:,}")
    reason = formats.refusal(bytes(data[: formats.HEAD_BYTES]), formats.PHOTO_SUFFIXES[0])
    if reason:
        padding = len(data) > 0 and not bytes(data).strip(b"\0")
        raise PhotoError(formats.PADDING if padding else reason)
    if bytes(data[:2]) == b"\xff\xd8":
        # One copy and no more: fresh memory for a second one takes longer than the whole check.
        array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
        own = np.array(array, order="C").data
        header = _read_header(
            own, io.BufferedReader(blocks.MemoryStream(own)), pixels_before, max_pixels
        )
        with naming_damage():
            return _check_jpeg(own, header)
    raw = bytes(data)
    header = _read_header(raw, io.BytesIO(raw), pixels_before, max_pixels)
    with naming_damage(header.kind):
        pixels, channels = _decode(raw, header)
        return _to_checked(pixels, header, channels)


def _read_header(
    raw: blocks.Bytes, stream: BinaryIO, pixels_before: int, max_pixels: int
) -> Header:
    try:
        header = read_photo_header(stream)
    except ValueError as error:
        raise PhotoError(formats.name_format(bytes(raw))) from error
    width, height = header.stored_wh
    limits.check_size(width, height, header.kind)
    if pixels_before + width * height > max_pixels:
        raise PhotoError(
            f"with it the request holds more than {max_pixels:,} pixels: send the photos in "
            "several requests"
        )
    return header


def decode_checked(checked: CheckedPhoto) -> Image.Image:
    """Decode a checked photo here, in mode L or RGB, and turn it upright.

    Raises PhotoError if the coded data of a JPEG is damaged, which its check does not decode.
    """
    data = checked.data.tobytes()
    image: Image.Image
    with naming_damage():
        image = open_jpeg(data) if is_jpeg(checked) else PpmImageFile(io.BytesIO(data))
        image.load()
    return turn_upright(image, checked.orientation)


def is_jpeg(checked: CheckedPhoto) -> bool:
    """Tell whether a checked photo is still encoded."""
    return bool(checked.data[0] == 0xFF)


def open_jpeg(data: bytes) -> JpegImageFile:
    """Open a JPEG of any size, whatever its metadata are; its pixels are not decoded yet."""
    return JpegImageFile(io.BytesIO(blocks.essential_jpeg(data)))


@contextmanager
def naming_damage(kind: formats.Kind = "JPEG") -> Iterator[None]:
    """Raise a ``PhotoError`` for whatever Pillow raises while it decodes a photo."""
    try:
        yield
    except PhotoError:
        raise
    # Pillow's decoders raise many kinds of errors on broken files, SyntaxError and struct.error
    # among them. An OSError that left here would be taken for one of whatever is written next.
    except Exception as error:
        raise PhotoError(f"truncated or corrupt {kind}: {error}") from error


def to_pnm(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Return a picture of mode L or RGB as an uncompressed PNM, uint8 (n,)."""
    header = f"P{5 if picture.mode == 'L' else 6}\n{picture.width} {picture.height}\n255\n"
    return np.frombuffer(header.encode() + picture.tobytes(), np.uint8)


def _check_jpeg(raw: memoryview, header: Header) -> CheckedPhoto:
    try:
        return _pass_jpeg(raw, header)
    except OddJpegError as odd:
        # Pillow decodes more kinds than DALI does, and fails for this one alone.
        try:
            return _decode_jpeg(bytes(raw), header)
        except PhotoError:
            raise
        except Exception as error:
            raise PhotoError(formats.explain_unread_jpeg(bytes(raw), f"{odd}; {error}")) from error


def _pass_jpeg(raw: memoryview, header: Header) -> CheckedPhoto:
    whole, structure = read_whole_jpeg(raw)
    if structure.components == 3 and structure.adobe_transform not in (None, 1):
        raise OddJpegError("colors that are not stored as luma and chroma")
    data = np.frombuffer(whole, np.uint8)
    for start in structure.exif_starts:
        # Newer DALI decoders act on EXIF and older ones do not: hide it from all of them.
        data[start : start + 4] = _HIDDEN
    width, height = header.upright_wh
    return CheckedPhoto(data, header.orientation, (height, width, structure.components))


def _decode_jpeg(raw: bytes, header: Header) -> CheckedPhoto:
    image = open_jpeg(raw)
    _check_one_size(image, header)
    limits.check_size(*image.size)
    limits.check_scans(blocks.count_scans(raw))
    channels = _CHANNELS.get(image.mode, 3)
    image.load()
    return _to_checked(_to_8_bit(image), header, channels)


def _to_checked(pixels: Image.Image, header: Header, channels: int) -> CheckedPhoto:
    """Return stored pixels of mode L or RGB as an upright PNM."""
    upright = turn_upright(pixels, header.orientation)
    return CheckedPhoto(to_pnm(upright), 1, (upright.height, upright.width, channels))


def _decode(raw: bytes, header: Header) -> tuple[Image.Image, int]:
    """Return the pixels as stored, in mode L or RGB, and the channels that the file has."""
    kind = header.kind
    if kind == "TIFF":
        image, channels = decode_tiff(raw)
        return _to_8_bit(image), channels
    if kind == "PNG":
        image = open_png(raw)
    else:
        image = open_bmp(raw) if kind == "BMP" else WebPImageFile(io.BytesIO(raw))
    _check_one_size(image, header)
    channels = _CHANNELS.get(image.mode, 3)
    image.load()
    if kind == "BMP" and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        # Programs that do not know alpha leave its bytes zero.
        image = image.convert("RGB")
    return _to_8_bit(image), channels


def _check_one_size(image: Image.Image, header: Header) -> None:
    """Refuse a file that states two sizes, since only the first was held against the limits."""
    if image.size != header.stored_wh:
        raise ValueError("its headers tell different sizes")


def open_bmp(raw: bytes) -> Image.Image:
    """Open a BMP; raises PhotoError that names a layout that is not read."""
    try:
        return BmpImageFile(io.BytesIO(raw))
    except OSError as error:
        if not str(error).startswith("Unsupported"):
            raise
        raise PhotoError(f"{error} is not read: save it as JPEG") from error


def open_png(raw: bytes) -> Image.Image:
    """Open a PNG from those of its chunks that make the picture, whatever is in the others.

    Of an animated one it is the picture that all viewers show. Pixels of a color that a gray or RGB
    file declares to be transparent are white. Raises PhotoError if the file is cut off, or a chunk
    of the picture itself is damaged.
    """
    kept, clear, header = [], b"", b""
    for block in blocks.png_chunks(io.BytesIO(raw)):
        end = block.body + block.length + 4
        # The case of the first letter tells which chunks are part of the picture.
        critical = block.name[:1].isupper() and block.name != b"IEND"
        if not critical and block.name != b"tRNS":
            continue
        body = raw[block.body : end - 4]
        whole = end <= len(raw)
        if not whole or raw[end - 4 : end] != struct.pack(">I", zlib.crc32(block.name + body)):
            if not critical:
                continue  # as libpng does
            what = "a wrong checksum in" if whole else "the file ends within"
            name = block.name.decode("ascii", "replace")
            raise PhotoError(f"truncated or corrupt PNG: {what} its chunk {name}")
        if block.name == b"IHDR":
            header = body
        if block.name == b"tRNS" and header[9:10] != bytes([_PNG_PALETTE]):
            clear = body
        else:
            kept.append(raw[block.start : end])
    image = PngImageFile(io.BytesIO(b"".join([blocks.PNG_SIGNATURE, *kept, _PNG_END])))
    bits, color = header[8], header[9]
    if len(clear) != {_PNG_GRAY: 2, _PNG_RGB: 6}.get(color):
        return image
    return _whitened(image, bits, struct.unpack(f">{len(clear) // 2}H", clear))


def _whitened(image: Image.Image, bits: int, color: tuple[int, ...]) -> Image.Image:
    """Return a gray or RGB picture with all pixels of one color made white."""
    if bits == 16 and len(color) == 3:
        # Pillow keeps only the upper half of each sample, and the lower one matters here.
        raise PhotoError("PNG with 16-bit RGB and a transparent color is not read: save it as JPEG")
    # Samples of less than 8 bits are stretched, and so is the color.
    scale = 255 // (2**bits - 1) if bits < 8 else 1
    pixels = np.array(image.convert("L") if bits < 8 else image)
    key = np.array(color) * scale
    clear = pixels == key[0] if len(color) == 1 else (pixels == key).all(axis=2)
    pixels[clear] = 65535 if bits == 16 else 255
    return Image.fromarray(pixels)


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

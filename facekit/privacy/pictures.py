"""Photos as upright pixels at their own depth, written back in their own format.

A new file is made of the pixels, so that nothing of the old one is left but its color profile: no
EXIF, XMP, comment, thumbnail, further picture or film. Of a file with several pictures the one
that is searched for faces is written.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from facekit.errors import PhotoError
from facekit.photos import blocks
from facekit.photos.check import check_photo, naming_damage, open_bmp, open_jpeg, open_png
from facekit.photos.formats import Kind
from facekit.photos.header import read_photo_header, turn_upright
from facekit.photos.tiff import decode_tiff
from facekit.photos.tiff_directory import BITS, full_page
from facekit.privacy.cover import Pixels
from facekit.privacy.metadata import harmless_exif

_MODES = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "PA": "RGBA"}
"""Modes that Pillow's writers or NumPy can't hold, and those in their place."""
_WEBP_QUALITY = 90
"""Of WebP's lossy coding, which does not tell what it was coded with."""
_PROFILE_SPACES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}
"""Where a color profile states the kind of its colors: bytes 16 to 20 (ICC.1:2022, table 17)."""
_READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}
# By color type of a PNG: the raw modes that give the upper and lower byte of each 16-bit sample.
# Gray with alpha has four bytes a pixel, as RGBA has with 8 bits.
_PNG_HALVES = {2: ("RGB;16B", "RGB;16L"), 4: ("RGBA",), 6: ("RGBA;16B", "RGBA;16L")}
_PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""By channels."""
_PNG_UP = b"\x02"
"""Filter of a row: its difference to the one above."""


@dataclass(frozen=True)
class Picture:
    """A photo that can be changed and written.

    Attributes:
        kind: Its format.
        mode: Pillow's name of its channels: L, LA, RGB, RGBA or CMYK.
        pixels: uint8, or uint16 of a 16-bit PNG, (H, W, C), upright; may be changed.
        saving: Options of Pillow's writer, such as a JPEG's quantization tables.
    """

    kind: Kind
    mode: str
    pixels: Pixels
    saving: dict[str, Any]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def black(self) -> list[int]:
        """The value of each channel of a black, opaque pixel."""
        most = int(np.iinfo(self.pixels.dtype).max)
        lit = {"LA": [1], "RGBA": [3], "CMYK": [3]}.get(self.mode, [])
        return [most if channel in lit else 0 for channel in range(self.pixels.shape[2])]


def read_picture(data: bytes, *, keep_metadata: bool = False) -> Picture:
    """Decode a photo at its own depth and turn it upright.

    A palette becomes RGB, a CMYK TIFF too; color under full transparency becomes 0, since it may
    hide a face. ``keep_metadata`` keeps of EXIF what :func:`harmless_exif` returns.

    Raises:
        PhotoError: The photo can't be used, or its depth can't be kept.
    """
    check_photo(data)
    header = read_photo_header(io.BytesIO(data))
    with naming_damage(header.kind):
        stored, saving = _decode(data, header.kind)
    mode, channels = stored
    upright = [turn_upright(channel, header.orientation) for channel in channels]
    pixels = np.stack([np.asarray(channel) for channel in upright], axis=2)
    if mode in ("LA", "RGBA"):
        pixels[pixels[..., -1] == 0] = 0
    profile, exif = _metadata(data, header.kind)
    if profile and profile[16:20] == _PROFILE_SPACES[mode]:
        saving["icc_profile"] = profile
    if keep_metadata and (kept := harmless_exif(exif, of_tiff=header.kind == "TIFF")):
        saving["exif"] = kept
    return Picture(header.kind, mode, pixels, saving)


def write_picture(picture: Picture) -> bytes:
    """Return a picture as a file of its format."""
    pixels = picture.pixels
    if pixels.dtype == np.uint16:
        return _png_of_16_bits(pixels, **picture.saving)
    image = Image.frombytes(picture.mode, picture.size_wh, pixels.tobytes())
    file = io.BytesIO()
    image.save(file, picture.kind, **picture.saving)
    return file.getvalue()


_Stored = tuple[str, list[Image.Image]]
"""A mode, and a picture of each of its channels."""


def _decode(data: bytes, kind: Kind) -> tuple[_Stored, dict[str, Any]]:
    """Return the pixels as they are stored, and the options that code them alike."""
    image: Image.Image
    if kind == "JPEG":
        jpeg = open_jpeg(data)
        jpeg.load()
        return _split(jpeg), {
            "qtables": jpeg.quantization,
            "subsampling": get_sampling(jpeg),
            "progressive": "progressive" in jpeg.info,
        }
    if kind == "PNG":
        bits, color_type = data[24], data[25]  # of the header, the first chunk
        if bits == 16 and color_type in _PNG_HALVES:
            return _png_samples(data, color_type), {}
        return _split(open_png(data)), {}
    if kind == "TIFF":
        bits_each = full_page(io.BytesIO(data)).integers(BITS) or (1,)
        if max(bits_each) > 8:
            raise PhotoError(
                f"a TIFF of {max(bits_each)} bits a sample, which would be written with 8: save it "
                "as a PNG of 16 bits"
            )
        return _split(decode_tiff(data)[0]), {"compression": "tiff_adobe_deflate"}
    if kind == "WebP":
        lossless = any(_is_lossless(data, each) for each in blocks.webp_chunks(io.BytesIO(data)))
        saving = {"lossless": True} if lossless else {"quality": _WEBP_QUALITY}
        return _split(WebPImageFile(io.BytesIO(data))), saving
    image = open_bmp(data)
    if image.mode == "RGBA" and not image.getchannel("A").getbbox():
        image = image.convert("RGB")  # as facekit.photos.check does
    return _split(image), {}


def _is_lossless(webp: bytes, block: blocks.Block) -> bool:
    # A frame of an animation has 16 bytes in front of its own chunk.
    inner = webp[block.body + 16 : block.body + 20] if block.name == b"ANMF" else block.name
    return inner == b"VP8L"


def _split(image: Image.Image) -> _Stored:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    image = image.convert(_MODES.get(image.mode, image.mode))
    # A gray PNG of 16 bits has a mode of its own.
    return ("L", [image]) if image.mode == "I;16" else (image.mode, [*image.split()])


def _png_samples(data: bytes, color_type: int) -> _Stored:
    """Return the 16-bit channels of a PNG, of which Pillow gives one byte of each at a time."""
    halves = []
    for raw_mode in _PNG_HALVES[color_type]:
        image = open_png(data)
        assert isinstance(image, ImageFile)
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        halves.append(np.asarray(image).astype(np.uint16))
    if color_type == 4:
        halves = [halves[0][..., ::2], halves[0][..., 1::2]]
    samples = halves[0] << 8 | halves[1]
    mode = {2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
    return mode, [Image.fromarray(channel) for channel in np.moveaxis(samples, 2, 0)]


def _metadata(data: bytes, kind: Kind) -> tuple[bytes, Image.Exif]:
    """Return a photo's color profile, b"" for none, and its EXIF."""
    try:
        image = _READERS[kind](io.BytesIO(data))
        return image.info.get("icc_profile") or b"", image.getexif()
    # BMP has none, and Pillow's readers raise errors of many kinds on metadata.
    except Exception:
        return b"", Image.Exif()


def _png_of_16_bits(pixels: Pixels, icc_profile: bytes = b"", exif: bytes = b"") -> bytes:
    """Return a PNG, which Pillow writes with 16 bits only in gray."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    # Differences to the row above compress well.
    rows = np.diff(rows, axis=0, prepend=np.uint8(0))
    lines = np.concatenate([np.full((height, 1), _PNG_UP[0], np.uint8), rows], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR_TYPES[channels], 0, 0, 0)
    chunks = {b"IHDR": head}
    if icc_profile:
        chunks[b"iCCP"] = b"ICC\0\0" + zlib.compress(icc_profile)
    if exif:
        chunks[b"eXIf"] = exif.removeprefix(b"Exif\0\0")
    chunks |= {b"IDAT": zlib.compress(lines.tobytes()), b"IEND": b""}
    parts = [blocks.PNG_SIGNATURE]
    for name, body in chunks.items():
        crc = struct.pack(">I", zlib.crc32(name + body))
        parts += [struct.pack(">I", len(body)), name, body, crc]
    return b"".join(parts)

"""Decode a TIFF by what it says of its bits, their meaning and their place in the file.

Pillow is given the packed rows alone, as if each byte were a gray pixel, under a directory that is
written here; it unpacks them with libtiff. What the bytes mean is read here. Coded pictures (JPEG,
fax) are decoded by libtiff whole. What can't be read right is refused by name. Source of all tags
and values: TIFF 6.0 and its Technical Notes.
"""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from facekit import limits
from facekit.errors import PhotoError
from facekit.photos.tiff_directory import BITS, LENGTH, PHOTOMETRIC, WIDTH, Directory, full_page

Samples = npt.NDArray[Any]
"""uint8, or uint16 where a sample has more than 8 bits."""
Fields = dict[int, tuple[int, ...] | bytes]
"""Of a directory: whole numbers by tag, or bytes."""

_COMPRESSION, _FILL_ORDER, _SAMPLES, _ROWS = 259, 266, 277, 278
_STRIP_OFFSETS, _STRIP_BYTES, _MAX_SAMPLE, _PLANAR = 273, 279, 281, 284
_PREDICTOR, _COLOR_MAP, _TILE_WIDTH, _TILE_LENGTH = 317, 320, 322, 323
_TILE_OFFSETS, _TILE_BYTES, _INK_SET, _EXTRA, _FORMAT = 324, 325, 332, 338, 339

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_PHOTOMETRIC_NAMES = {
    4: "a transparency mask", 6: "YCbCr pixels and no JPEG compression", 8: "CIELab pixels",
    9: "ICCLab pixels", 10: "ITULab pixels", 32844: "LogL pixels", 32845: "LogLuv pixels",
}  # fmt: skip
_FORMAT_NAMES = {2: "signed", 3: "floating-point", 5: "complex integer", 6: "complex"}
# Compressions of bytes, whatever they mean, and those of pictures; libtiff has these in every
# build of Pillow.
_PACKED = (1, 5, 8, 32946, 32773)
_PREDICTED = (5, 8, 32946)
_FAX, _JPEG = (2, 3, 4), 7
_COMPRESSION_NAMES = {
    6: "old-style JPEG", 32766: "NeXT", 32809: "ThunderScan", 34676: "SGILog", 34677: "SGILog24",
    34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG of DNG", 34925: "LZMA", 50000: "ZSTD",
    50001: "WebP", 52546: "JPEG XL",
}  # fmt: skip
# What libtiff needs of a directory to decode a coded picture: size, samples, fax options, strips,
# tiles, subsampling. Orientation and all metadata stay out.
_CODED_TAGS = (
    WIDTH, LENGTH, BITS, _COMPRESSION, PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _ROWS,
    _STRIP_BYTES, _PLANAR, 292, 293, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES, _EXTRA,
    530, 531,
)  # fmt: skip
_JPEG_TABLES = 347
_MAX_JPEG_TABLES = 1 << 16


def decode_tiff(raw: bytes) -> tuple[Image.Image, int]:
    """Decode the first page that is not a thumbnail; pixels stay as stored, not turned.

    Returns the picture in mode L, RGB, LA or RGBA, and its channels as stored, 3 for a palette. A
    PhotoError names what of the file is not read; raises ValueError if it is broken.
    """
    page = full_page(io.BytesIO(raw))
    layout = _Layout(page)
    if layout.compression not in _PACKED:
        return _decode_coded(raw, page, layout), layout.samples
    planes = range(layout.samples) if layout.planar else range(1)
    parts = [_unpacked(_packed_rows(raw, page, layout, plane), layout) for plane in planes]
    samples = np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
    channels = 3 if layout.photometric == _PALETTE else layout.samples
    return Image.fromarray(_to_colors(samples, page, layout)), channels


def _refuse(what: str) -> PhotoError:
    return PhotoError(f"TIFF with {what} is not read: save it as JPEG")


class _Layout:
    """What a page says of its samples.

    ``alpha`` is the sample that is alpha, or None; ``row_samples`` lie together for each pixel;
    ``row_bytes`` are of one row of a strip or tile. Raises a PhotoError that names what is not read
    or the limit that is exceeded, and a ValueError where the page is broken.
    """

    def __init__(self, page: Directory) -> None:
        def first(tag: int, default: int) -> int:
            value = page.integer(tag)
            return default if value is None else value

        width, length = self.size_wh = first(WIDTH, 0), first(LENGTH, 0)
        if width < 1 or length < 1:
            raise ValueError("the directory lacks its width or length")
        self.order = page.order
        self.compression = first(_COMPRESSION, 1)
        self.samples, extra = first(_SAMPLES, 1), page.integers(_EXTRA)
        colors = max(1, self.samples - len(extra))
        # What libtiff takes a file for that does not say.
        fax = self.compression in _FAX
        guess = _RGB if colors >= 3 else _WHITE_IS_ZERO if fax else _BLACK_IS_ZERO
        self.photometric = first(PHOTOMETRIC, guess)
        bits = page.integers(BITS) or (1,)
        self.bits = bits[0]
        predictor = first(_PREDICTOR, 1) if self.compression in _PREDICTED else 1
        self.predicted = predictor == 2
        self.planar = first(_PLANAR, 1) == 2 and self.samples > 1
        self._check_readable(page, bits, predictor)
        self.tiled = _TILE_OFFSETS in page.entries
        if self.tiled:
            self.tile_wh = first(_TILE_WIDTH, 0), first(_TILE_LENGTH, 0)
        else:
            self.tile_wh = width, min(first(_ROWS, length), length)
        own = _COLORS[self.photometric]
        # Old programs write four samples of RGB and do not say that the fourth is alpha.
        kinds = extra or (2,) * (self.samples - own)
        alpha = next((k for k, kind in enumerate(kinds) if kind in (1, 2, 999)), None)
        self.alpha = None if alpha is None or own + alpha >= self.samples else own + alpha
        self.premultiplied = alpha is not None and kinds[alpha] == 1
        self.row_samples = 1 if self.planar else self.samples
        self.row_bytes = (self.tile_wh[0] * self.row_samples * self.bits + 7) // 8
        # A tile is decoded whole, however little of it the photo shows.
        limits.check_size(*self.tile_wh)
        self._check_bytes()

    def _check_readable(self, page: Directory, bits: tuple[int, ...], predictor: int) -> None:
        compression, photometric, samples = self.compression, self.photometric, self.samples
        coded = compression in (*_FAX, _JPEG)
        if not coded and compression not in _PACKED:
            raise _refuse(f"compression {_COMPRESSION_NAMES.get(compression, compression)}")
        odd = [kind for kind in page.integers(_FORMAT) if kind not in (1, 4)]
        if odd:
            raise _refuse(f"{_FORMAT_NAMES.get(odd[0], 'unknown')} samples")
        if photometric not in _COLORS or (photometric == _YCBCR and compression != _JPEG):
            raise _refuse(_PHOTOMETRIC_NAMES.get(photometric, f"photometric {photometric}"))
        if samples < _COLORS[photometric] or samples > _COLORS[photometric] + 8:
            raise _refuse(f"{samples} samples a pixel of photometric {photometric}")
        if len(set(bits)) > 1 and len(bits) >= samples:
            raise _refuse(f"{'/'.join(map(str, bits[:samples]))} bits a sample")
        if coded:
            # What libtiff itself decodes to pixels; fax has one bit, and the others have eight.
            kind = "fax" if compression in _FAX else "JPEG"
            right_bits = bits[0] == (1 if kind == "fax" else 8)
            if not right_bits or samples != _COLORS[photometric] or self.planar:
                raise _refuse(f"{samples} samples of {bits[0]} bits in {kind} compression")
            if photometric == _PALETTE or (photometric == _WHITE_IS_ZERO and kind == "JPEG"):
                raise _refuse(f"photometric {photometric} in {kind} compression")
            return
        if bits[0] not in (1, 2, 4, 8, 12, 16) or (photometric == _PALETTE and bits[0] > 8):
            raise _refuse(f"{bits[0]} bits a sample")
        if predictor not in (1, 2) or (predictor == 2 and bits[0] not in (8, 16)):
            raise _refuse(f"predictor {predictor} of {bits[0]} bits a sample")
        if photometric == _CMYK and (page.integer(_INK_SET) or 1) != 1:
            raise _refuse("other inks than CMYK")

    def _check_bytes(self) -> None:
        pixels, in_tiles = 1, 1
        for side, tile_side in zip(self.size_wh, self.tile_wh, strict=True):
            if tile_side < 1:
                raise ValueError("strips or tiles of no size")
            pixels *= side
            in_tiles *= -(-side // tile_side) * tile_side
        if self.tiled and in_tiles > 2 * limits.MAX_PHOTO_PIXELS:
            raise _refuse(f"{in_tiles:,} pixels in its tiles, for {pixels:,} of the picture")
        taken = pixels * self.samples * max(1, self.bits // 8)
        if taken > limits.MAX_SAMPLE_BYTES:
            raise PhotoError(
                f"{taken:,} bytes of samples; the limit is {limits.MAX_SAMPLE_BYTES:,}"
            )


def _packed_rows(raw: bytes, page: Directory, layout: _Layout, plane: int) -> Samples:
    """Return one plane's rows of bytes, unpacked but not yet read; uint8 (rows, across, bytes)."""
    (width, length), (tile_width, tile_length) = layout.size_wh, layout.tile_wh
    across, down = -(-width // tile_width), -(-length // tile_length)
    named = (_TILE_OFFSETS, _TILE_BYTES) if layout.tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    count = across * down
    offsets, sizes = (page.integers(tag)[plane * count :][:count] for tag in named)
    if len(offsets) < count:
        raise ValueError(f"{len(offsets)} strips or tiles of {count}")
    rows = down * tile_length if layout.tiled else length
    if layout.compression == 1:
        data = _plain_bytes(raw, page, layout, offsets)
    else:
        # To libtiff each tile lies alone in a picture that is one tile wide.
        wide, high = layout.row_bytes, rows * across
        if len(sizes) < count:
            raise ValueError("the sizes of strips or tiles are missing")
        fields: Fields = {
            WIDTH: (wide,), LENGTH: (high,), BITS: (8,), _COMPRESSION: (layout.compression,),
            PHOTOMETRIC: (_BLACK_IS_ZERO,), _FILL_ORDER: (page.integer(_FILL_ORDER) or 1,),
            _SAMPLES: (1,), _ROWS: (tile_length,), _STRIP_OFFSETS: offsets, _STRIP_BYTES: sizes,
        }  # fmt: skip
        image = TiffImageFile(io.BytesIO(_with_directory(raw, page.order, fields)))
        # Pillow has a limit of its own, of pixels, while these are bytes; it looks where it has no
        # memory for them yet.
        image.im = Image.new("L", image.size).im
        data = np.asarray(image).reshape(-1)
    tiles = data.reshape(down if layout.tiled else 1, across, -1, layout.row_bytes)
    return tiles.transpose(0, 2, 1, 3).reshape(rows, across, layout.row_bytes)


def _plain_bytes(
    raw: bytes, page: Directory, layout: _Layout, offsets: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    whole = layout.tile_wh[1] * layout.row_bytes
    rest = layout.size_wh[1] % layout.tile_wh[1] * layout.row_bytes
    parts = [raw[at : at + whole] for at in offsets]
    if not layout.tiled and rest:
        parts[-1] = parts[-1][:rest]
    if any(len(part) < whole for part in parts[:-1]) or len(parts[-1]) < (
        whole if layout.tiled or not rest else rest
    ):
        raise ValueError("the file ends within its pixels")
    data = np.frombuffer(b"".join(parts), np.uint8)
    if page.integer(_FILL_ORDER) == 2:
        data = np.packbits(np.unpackbits(data, bitorder="little"))
    return data


def _with_directory(raw: bytes, order: str, fields: Fields) -> bytes:
    """Return a file with a directory of these fields alone behind it."""
    start = len(raw) + len(raw) % 2
    entries, values = [], b""
    values_start = start + 2 + 12 * len(fields) + 4
    for tag, value in sorted(fields.items()):
        whole = value if isinstance(value, bytes) else struct.pack(f"{order}{len(value)}I", *value)
        kind = 7 if isinstance(value, bytes) else 4
        inline = whole.ljust(4, b"\0")
        if len(whole) > 4:
            inline = struct.pack(f"{order}I", values_start + len(values))
            values += whole + b"\0" * (len(whole) % 2)
        entries.append(struct.pack(f"{order}HHI", tag, kind, len(value)) + inline)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    count = struct.pack(f"{order}H", len(fields))
    return b"".join([head, raw[8:], b"\0" * (len(raw) % 2), count, *entries, bytes(4), values])


def _decode_coded(raw: bytes, page: Directory, layout: _Layout) -> Image.Image:
    fields: Fields = {tag: page.integers(tag) for tag in _CODED_TAGS if page.integers(tag)}
    fields[PHOTOMETRIC] = (layout.photometric,)
    if layout.compression == _JPEG:
        fields.pop(_FILL_ORDER, None)  # libtiff passes over it, and Pillow stumbles
        tables = page.bytes(_JPEG_TABLES, _MAX_JPEG_TABLES)
        if tables:
            fields[_JPEG_TABLES] = tables
    image = TiffImageFile(io.BytesIO(_with_directory(raw, page.order, fields)))
    image.load()
    return image


def _unpacked(rows: Samples, layout: _Layout) -> Samples:
    """Return samples (H, W, S) of rows of bytes."""
    (width, length), tile_width = layout.size_wh, layout.tile_wh[0]
    high, across, _ = rows.shape
    count = tile_width * layout.row_samples
    if layout.bits == 8:
        values: Samples = rows
    elif layout.bits == 16:
        values = np.ascontiguousarray(rows).view(f"{layout.order}u2").astype(np.uint16)
    elif layout.bits == 12:
        # Two samples in three bytes, the upper bits first whatever the byte order.
        padded = np.pad(rows, ((0, 0), (0, 0), (0, -rows.shape[2] % 3))).astype(np.uint16)
        a, b, c = padded[..., ::3], padded[..., 1::3], padded[..., 2::3]
        values = np.stack([a << 4 | b >> 4, (b & 15) << 8 | c], axis=3).reshape(high, across, -1)
    else:
        shifts = np.arange(8 - layout.bits, -1, -layout.bits, dtype=np.uint8)
        values = (rows[..., None] >> shifts) & np.uint8(2**layout.bits - 1)
        values = values.reshape(high, across, -1)
    values = values[..., :count].reshape(high, across, tile_width, layout.row_samples)
    if layout.predicted:
        values = np.cumsum(values, axis=2, dtype=values.dtype)
    return values.reshape(high, -1, layout.row_samples)[:length, :width]


def _to_colors(samples: Samples, page: Directory, layout: _Layout) -> npt.NDArray[np.uint8]:
    """Return uint8 (H, W), (H, W, 2), (H, W, 3) or (H, W, 4): gray or RGB, and alpha."""
    own = _COLORS[layout.photometric]
    colors: npt.NDArray[np.uint8]
    if layout.photometric == _PALETTE:
        table: npt.NDArray[Any] = np.array(page.integers(_COLOR_MAP), np.uint16)
        if table.size != 3 * 2**layout.bits:
            raise ValueError(f"a palette of {table.size} values for {layout.bits} bits")
        # Old programs write 8 bits where 16 are due.
        table = (table >> 8 if table.max() > 255 else table).astype(np.uint8).reshape(3, -1).T
        colors = table[samples[..., 0]]
    else:
        colors = _to_8_bits(samples[..., :own], page, layout)
    if layout.photometric == _WHITE_IS_ZERO:
        colors = (255 - colors).astype(np.uint8)
    if layout.photometric == _CMYK:
        light = 255 - colors.astype(np.uint16)
        colors = ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8)
    if layout.alpha is None:
        return colors[..., 0] if colors.shape[2] == 1 else colors
    alpha = _to_8_bits(samples[..., layout.alpha : layout.alpha + 1], page, layout)
    if _EXTRA not in page.entries and not alpha.any():
        return colors  # The file does not say that it is alpha, and it would hide all.
    if layout.premultiplied:
        # A pixel of alpha 0 is black then; any color gives the same over white.
        colors = np.minimum(colors.astype(np.uint32) * 255 // np.maximum(alpha, 1), 255)
    return np.concatenate([colors.astype(np.uint8), alpha], axis=2)


def _to_8_bits(samples: Samples, page: Directory, layout: _Layout) -> npt.NDArray[np.uint8]:
    bits = layout.bits
    if bits < 8:
        return (samples * np.uint8(255 // (2**bits - 1))).astype(np.uint8)
    if bits == 16:
        # A sensor's 10, 12 or 14 bits are written in 16, and only this field tells. Any other
        # value in it is what the brightest pixel happens to have.
        most = page.integer(_MAX_SAMPLE) or 0
        own = most.bit_length()
        if most == 2**own - 1 and 8 <= own < 16:
            return np.minimum(samples >> (own - 8), 255).astype(np.uint8)
    return (samples >> (bits - 8)).astype(np.uint8)

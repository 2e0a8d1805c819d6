"""Some 300 photos: one picture in every kind of file that cameras, scanners and programs write.

Each says what it is of, for the page ``docs/photos.md``, which ``tests/photos/test_page.py`` holds.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.photo_files import encode, exif, mpo, picture, stored, with_segment
from tests.photos import metadata_files as meta
from tests.photos.jpeg_damage import samsung_trailer
from tests.photos.tiff_files import CMYK, GRAY, PACKED, PALETTE, RGB, WHITE_IS_ZERO, Tiff, tiff

SIZE_WH = (48, 64)
UPRIGHT = picture(SIZE_WH)
JPEG = {"quality": 97, "subsampling": 0}


@dataclass(frozen=True)
class Photo:
    """One file.

    Attributes:
        kind: Of file.
        what: Of that kind; one row of the page.
        data: Its bytes.
        expected: The upright picture that the file holds by its specification, (H, W) gray or
            (H, W, 3); None where it must be refused.
        name: Tells photos of one row apart.
    """

    kind: str
    what: str
    data: bytes
    expected: NDArray[np.float64] | None
    name: str = ""


def photos() -> Iterator[Photo]:
    """Give them all, in order of the page's rows."""
    for make in (_jpegs, _pngs, _webps, _bmps, _tiffs, _odd_tiffs, _refused):
        yield from make()


def _of(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, np.float64)


def _jpegs() -> Iterator[Photo]:
    turns = cycle(range(1, 9))
    for mode, what in (("RGB", "color"), ("L", "gray"), ("CMYK", "CMYK")):
        upright = UPRIGHT.convert(mode)
        expected = _of(UPRIGHT.convert("L" if mode == "L" else "RGB"))
        for progressive in (False, True):
            for _ in range(4 if mode == "CMYK" else 8):
                turn = next(turns)
                data = encode(stored(upright, turn), "JPEG", progressive=progressive,
                              exif=exif(turn), **JPEG)  # fmt: skip
                yield Photo(
                    "JPEG",
                    f"{what}, baseline or progressive{': 255 - C - K' if what == 'CMYK' else ''}",
                    data,
                    expected,
                    f"{turn}",
                )
    for name, body in {**meta.GARBAGE, "a rational of -1/0": meta.odd_exif(6)}.items():
        turn = 6 if "-1/0" in name else 1
        for mode in ("RGB", "CMYK"):
            plain = encode(stored(UPRIGHT, turn).convert(mode), "JPEG", **JPEG)
            data = meta.jpeg_with_exif(plain, body)
            yield Photo("JPEG", "metadata of any state", data, _of(UPRIGHT), f"{mode} {name}")
    for turn in (3, 6):
        xmp = b"http://ns.adobe.com/xap/1.0/\0" + meta.XMP % turn
        data = with_segment(encode(stored(UPRIGHT, turn), "JPEG", **JPEG), 0xE1, xmp)
        yield Photo("JPEG", "orientation in XMP alone", data, _of(UPRIGHT), f"{turn}")
    for turn in (1, 8):
        yield Photo("JPEG", "a phone's with further pictures (MPO)", mpo(UPRIGHT, turn),
                    _of(UPRIGHT), f"{turn}")  # fmt: skip
    for progressive in (False, True):
        whole = encode(UPRIGHT, "JPEG", progressive=progressive, **JPEG)
        name = f"{progressive}"
        yield Photo("JPEG", "end marker missing", whole[:-2], _of(UPRIGHT), name)
        for what, trailer in (
            ("further pictures, films or notes behind it", b"notes of a program" + whole),
            ("further pictures, films or notes behind it", b"\0\0\0\x18ftypmp42" + bytes(99)),
            ("further pictures, films or notes behind it", samsung_trailer(whole)),
        ):
            yield Photo("JPEG", what, whole + trailer, _of(UPRIGHT), f"{name} {trailer[:8]!r}")
        yield Photo("JPEG", "a trailer of Samsung's in place of the end marker",
                    whole[:-2] + samsung_trailer(bytes(99)), _of(UPRIGHT), name)  # fmt: skip
        yield Photo("JPEG", "cut off", whole[: len(whole) // 2], None, name)
    yield from _unread_jpegs()


def _unread_jpegs() -> Iterator[Photo]:
    whole = encode(UPRIGHT, "JPEG", **JPEG)
    frame = whole.index(b"\xff\xc0")

    def with_frame(marker: int, precision: int = 8, height: int = SIZE_WH[1]) -> bytes:
        head = struct.pack(">BBHBH", 0xFF, marker, 17, precision, height)
        return whole[:frame] + head + whole[frame + len(head) :]

    for what, data in (
        ("12 bits", with_frame(0xC1, precision=12)),
        ("lossless, 16 bits", with_frame(0xC3, precision=16)),
        ("lossless, arithmetic-coded", with_frame(0xCB)),
        ("hierarchical", with_frame(0xC5)),
        ("JPEG-LS", with_frame(0xF7)),
        ("height in a DNL marker only", with_frame(0xC0, height=0)),
    ):
        yield Photo("JPEG", what, data, None)


def _pngs() -> Iterator[Photo]:
    turns = cycle(range(1, 9))
    clear = Image.fromarray(np.indices(SIZE_WH[::-1]).sum(axis=0).astype(np.uint8) * 2)
    over_white = Image.composite(UPRIGHT, Image.new("RGB", SIZE_WH, "white"), clear)
    faded, gray = UPRIGHT.copy(), UPRIGHT.convert("L")
    faded.putalpha(clear)
    gray_faded = gray.copy()
    gray_faded.putalpha(clear)
    gray_over_white = Image.composite(gray, Image.new("L", SIZE_WH, "white"), clear)
    palette = UPRIGHT.quantize(64)
    modes: dict[str, tuple[Image.Image, Image.Image]] = {
        "8-bit RGB": (UPRIGHT, UPRIGHT),
        "8-bit gray": (gray, gray),
        "1-bit gray": (UPRIGHT.convert("1"), UPRIGHT.convert("1").convert("L")),
        "palette": (palette, palette.convert("RGB")),
        "RGB and alpha: over white": (faded, over_white),
        "gray and alpha: over white": (gray_faded, gray_over_white),
    }
    for what, (image, shown) in modes.items():
        for _ in range(4):
            turn = next(turns)
            data = encode(stored(image, turn), "PNG", exif=exif(turn))
            yield Photo("PNG", what, data, _of(shown), f"{turn}")
    deep = np.linspace(0, 65535, SIZE_WH[0] * SIZE_WH[1]).astype(np.uint16).reshape(64, 48)
    values = np.stack([deep, deep[::-1], deep[:, ::-1]], axis=2)
    for color, samples in ((0, deep[..., None]), (2, values)):
        for bits in (16, 8, *((4, 2, 1) if color == 0 else ())):
            shown = samples >> (16 - bits)
            scaled = np.squeeze(shown >> 8 if bits == 16 else shown * (255 // (2**bits - 1)))
            name = f"{bits}-bit {'gray' if color == 0 else 'RGB'}"
            yield Photo("PNG", name, png(shown, bits, color), scaled.astype(float), "raw")
            key = shown[10, 20].astype(int)
            is_key = (shown == key).all(axis=2)
            white = scaled.astype(float).copy()
            white[is_key] = 255
            transparent = png_with_key(png(shown, bits, color), key)
            if (bits, color) == (16, 2):
                yield Photo("PNG", "16-bit RGB with a transparent color", transparent, None)
            else:
                what = f"{'gray' if color == 0 else 'RGB'} with a transparent color: white"
                yield Photo("PNG", what, transparent, white, f"{bits} bits")
    plain = encode(UPRIGHT, "PNG")
    for name, chunks in meta.png_metadata().items():
        yield Photo("PNG", "metadata of any size and state", meta.with_chunk(plain, *chunks),
                    _of(UPRIGHT), name)  # fmt: skip
        six = encode(stored(UPRIGHT, 6), "PNG", exif=exif(6))
        yield Photo("PNG", "metadata of any size and state", meta.with_chunk(six, *chunks),
                    _of(UPRIGHT), f"{name}, turned")  # fmt: skip
    for name, body in {**meta.GARBAGE, "a rational of -1/0": meta.odd_exif(6)}.items():
        turned = stored(UPRIGHT, 6 if "-1/0" in name else 1)
        data = meta.with_chunk(encode(turned, "PNG"), meta.png_chunk(b"eXIf", body))
        yield Photo("PNG", "metadata of any size and state", data, _of(UPRIGHT), name)
    for turn in (3, 8):
        xmp = b"XML:com.adobe.xmp\0\0\0\0\0" + meta.XMP % turn
        data = meta.with_chunk(encode(stored(UPRIGHT, turn), "PNG"), meta.png_chunk(b"iTXt", xmp))
        yield Photo("PNG", "orientation in XMP alone", data, _of(UPRIGHT), f"{turn}")
    for cut in (4, 8, 11, 12):
        yield Photo("PNG", "end marker cut off", plain[:-cut], _of(UPRIGHT), f"{cut} bytes")


def png(samples: NDArray[np.uint16], bits: int, color: int) -> bytes:
    """A PNG of unsigned samples (H, W, S) below 2 to the ``bits``."""
    high, wide = samples.shape[:2]
    shifts = np.arange(bits - 1, -1, -1)
    unpacked = (samples.reshape(high, -1)[..., None] >> shifts & 1).astype(np.uint8)
    rows = np.packbits(unpacked.reshape(high, -1), axis=1)
    plain = np.pad(rows, ((0, 0), (1, 0)))  # filter 0 in front of each row
    header = struct.pack(">IIBBBBB", wide, high, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        meta.png_chunk(name, body)
        for name, body in (
            (b"IHDR", header), (b"IDAT", zlib.compress(plain.tobytes())), (b"IEND", b"")
        )
    )  # fmt: skip


def png_with_key(data: bytes, key: NDArray[np.int64]) -> bytes:
    return meta.with_chunk(data, meta.png_chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))


def _webps() -> Iterator[Photo]:
    turns = cycle(range(1, 9))
    kinds = {"lossy": {"quality": 97}, "lossless": {"lossless": True}}
    for what, options in kinds.items():
        for _ in range(8):
            turn = next(turns)
            data = encode(stored(UPRIGHT, turn), "WEBP", exif=exif(turn), **options)
            yield Photo("WebP", what, data, _of(UPRIGHT), f"{turn}")
        for name, body in {**meta.GARBAGE, "a rational of -1/0": meta.odd_exif(6)}.items():
            turned = stored(UPRIGHT, 6 if "-1/0" in name else 1)
            plain = encode(turned, "WEBP", **options)
            data = meta.with_webp_chunks(plain, (b"EXIF", body), (b"junk", b"??"),
                                         size_wh=turned.size)  # fmt: skip
            yield Photo("WebP", "metadata of any state", data, _of(UPRIGHT), f"{what} {name}")
    half = UPRIGHT.copy()
    half.putalpha(Image.new("L", SIZE_WH, 128))
    white = Image.blend(Image.new("RGB", SIZE_WH, "white"), UPRIGHT, 128 / 255)
    yield Photo("WebP", "alpha: over white", encode(half, "WEBP", lossless=True), _of(white))
    frames = encode(UPRIGHT, "WEBP", lossless=True, save_all=True,
                    append_images=[Image.new("RGB", SIZE_WH)])  # fmt: skip
    yield Photo("WebP", "animated: its first picture", frames, _of(UPRIGHT))


def _bmps() -> Iterator[Photo]:
    gray, palette = UPRIGHT.convert("L"), UPRIGHT.quantize(64)
    for image, shown, what in (
        (UPRIGHT, UPRIGHT, "24-bit"), (gray, gray, "palette, 1 to 8 bits"),
        (palette, palette.convert("RGB"), "palette, 1 to 8 bits"),
        (UPRIGHT.convert("1"), UPRIGHT.convert("1").convert("L"), "palette, 1 to 8 bits"),
    ):  # fmt: skip
        yield Photo("BMP", what, encode(image, "BMP"), _of(shown), image.mode)
    rgb = np.asarray(UPRIGHT)
    for alpha, what in ((255, "32-bit, alpha of 255"), (0, "32-bit, alpha of 0 everywhere")):
        for masks in (False, True):
            pixels = np.dstack([rgb[..., ::-1], np.full(SIZE_WH[::-1], alpha, np.uint8)])
            for top_down in (False, True):
                yield Photo("BMP", f"{what}: opaque", bmp(pixels, masks, top_down), _of(UPRIGHT),
                            f"{masks} {top_down}")  # fmt: skip


def bmp(pixels: NDArray[np.uint8], masks: bool, top_down: bool) -> bytes:
    """A BMP of 32 bits: blue, green, red and alpha, whose masks a header of version 5 tells."""
    high, wide = pixels.shape[:2]
    rows = pixels if top_down else pixels[::-1]
    size = 124 if masks else 40
    info = struct.pack("<IiiHHIIiiII", size, wide, -high if top_down else high, 1, 32,
                       3 if masks else 0, rows.nbytes, 0, 0, 0, 0)  # fmt: skip
    if masks:
        info += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(124 - 56)
    head = struct.pack("<2sIHHI", b"BM", 14 + size + rows.nbytes, 0, 0, 14 + size)
    return head + info + rows.tobytes()


_NAMES = {WHITE_IS_ZERO: "gray whose 0 is white", GRAY: "gray", RGB: "RGB", PALETTE: "palette",
          CMYK: "CMYK"}  # fmt: skip


def _tiffs() -> Iterator[Photo]:
    """Bits, photometry, planes, compression, byte order, strips or tiles, predictor, orientation.

    Each pair of bits and photometry with each compression; the rest takes turns.
    """
    turns, rest = cycle(range(1, 9)), np.random.default_rng(6)
    for photometric in (GRAY, WHITE_IS_ZERO, RGB, CMYK, PALETTE):
        for bits in (1, 2, 4, 8, 12, 16):
            if photometric == PALETTE and bits > 8:
                continue
            for compression in PACKED:
                turn = next(turns)
                tiled, planar, order, back, big, predicted = rest.random(6) < 0.5
                page = _page(stored(UPRIGHT, turn), photometric, bits)
                whole_bytes = bits in (8, 16)
                page = replace(
                    page,
                    compression=compression,
                    order="<" if order else ">",
                    planar=bool(planar) and page.samples.shape[2] > 1,
                    predictor=bool(predicted) and whole_bytes and compression in ("LZW", "Deflate"),
                    reversed_bits=bool(back) and compression != "none",
                    big=bool(big),
                    tile_width=32 if tiled else 0,
                    rows=16 if tiled else 20,
                )
                page.fields[274] = (turn,)
                what = f"{_NAMES[photometric]}, 1 to {8 if photometric == PALETTE else 16} bits"
                what += ": 255 - C - K" if photometric == CMYK else ""
                name = f"{bits} {compression} {turn} {tiled} {planar} {order} {back} {big}"
                yield Photo("TIFF", what, tiff(page), _shown(photometric, bits), name)


def _page(image: Image.Image, photometric: int, bits: int) -> Tiff:
    most = 2**bits - 1
    gray = np.asarray(image.convert("L"))[..., None]
    rgb = np.asarray(image)
    if photometric == PALETTE:
        levels = np.arange(most + 1) * 65535 // most
        samples = _levels(gray, bits)
        return Tiff(samples, bits, PALETTE, fields={320: (*levels, *levels[::-1], *levels)})
    values = {
        GRAY: gray, WHITE_IS_ZERO: 255 - gray, RGB: rgb,
        CMYK: np.concatenate([255 - rgb, np.zeros_like(gray)], axis=2),
    }[photometric]  # fmt: skip
    return Tiff(_levels(values, bits), bits, photometric)


def _levels(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint16]:
    return np.round(values.astype(float) * (2**bits - 1) / 255).astype(np.uint16)


def _shown(photometric: int, bits: int) -> NDArray[np.float64]:
    """The picture that so few bits hold."""
    low = min(bits, 8)
    if photometric in (RGB, CMYK):
        return _levels(np.asarray(UPRIGHT), low) * (255 / (2**low - 1))
    gray = _levels(np.asarray(UPRIGHT.convert("L")), low) * (255 / (2**low - 1))
    return np.stack([gray, 255 - gray, gray], axis=2) if photometric == PALETTE else gray


def _odd_tiffs() -> Iterator[Photo]:
    rgb, gray = _page(UPRIGHT, RGB, 8), _page(UPRIGHT, GRAY, 16)
    for bits in (10, 12, 14):
        page = replace(gray, samples=gray.samples >> (16 - bits), fields={281: (2**bits - 1,)})
        yield Photo("TIFF", "10 to 14 bits in 16: scaled by MaxSampleValue", tiff(page),
                    _of(UPRIGHT.convert("L")), f"{bits}")  # fmt: skip
    faded = np.dstack([np.asarray(UPRIGHT), np.full(SIZE_WH[::-1], 102, np.uint8)])
    over_white = np.asarray(UPRIGHT, float) * 0.4 + 255 * 0.6
    for what, samples, extra, shown in (
        ("alpha: over white", faded, (2,), over_white),
        ("premultiplied alpha: over white",
         np.dstack([np.asarray(UPRIGHT) * 0.4, faded[..., 3]]).round().astype(np.uint8), (1,),
         over_white),
        ("extra samples without a meaning: left out", faded, (0,), np.asarray(UPRIGHT, float)),
        ("an unnamed fourth sample, 0 everywhere: left out",
         np.dstack([np.asarray(UPRIGHT), faded[..., 3] * 0]), (), np.asarray(UPRIGHT, float)),
    ):  # fmt: skip
        for bits in (8, 16):
            page = replace(rgb, samples=samples.astype(np.uint16) * (257 if bits == 16 else 1),
                           bits=bits, extra=extra)  # fmt: skip
            yield Photo("TIFF", what, tiff(page), shown, f"{bits}")
    thumbnail = Tiff(np.zeros((8, 6, 3), np.uint8), 8, RGB, fields={254: (1,)})
    turned = replace(_page(stored(UPRIGHT, 6), RGB, 8), fields={274: (6,), 254: (0,)})
    for name, pages in (("first", (thumbnail, turned)), ("last", (turned, thumbnail))):
        yield Photo(
            "TIFF", "a thumbnail beside the photo: the photo", tiff(*pages), _of(UPRIGHT), name
        )
    yield Photo("TIFF", "several pages: the first", tiff(turned, rgb), _of(UPRIGHT))
    for image, what in (
        (UPRIGHT, "JPEG compression"),
        (UPRIGHT.convert("L"), "JPEG compression"),
        (UPRIGHT.convert("YCbCr"), "JPEG compression"),
        (UPRIGHT.convert("CMYK"), "JPEG compression, CMYK: 255 - C - K"),
    ):
        data = encode(image, "TIFF", compression="jpeg", quality=97)
        shown = UPRIGHT.convert("L" if image.mode == "L" else "RGB")
        yield Photo("TIFF", what, data, _of(shown), image.mode)
    for fax in ("group3", "group4", "tiff_ccitt"):
        data = encode(UPRIGHT.convert("1"), "TIFF", compression=fax)
        yield Photo(
            "TIFF",
            "fax compression (group 3 and 4)",
            data,
            _of(UPRIGHT.convert("1").convert("L")),
            fax,
        )


def _refused() -> Iterator[Photo]:
    rgb, gray = _page(UPRIGHT, RGB, 8), _page(UPRIGHT, GRAY, 16)
    raw = replace(rgb, fields={50706: (1, 4, 0, 0)})
    mosaic = replace(_page(UPRIGHT, GRAY, 8), photometric=32803)
    thumbnail = Tiff(np.zeros((8, 6, 3), np.uint8), 8, RGB, fields={254: (1,)})
    for what, data in (
        ("signed samples", tiff(replace(gray, sample_format=2))),
        ("floating-point samples", encode(UPRIGHT.convert("F"), "TIFF")),
        ("32 bits a sample", tiff(replace(gray, bits=32))),
        ("10 bits a sample", tiff(replace(gray, bits=10, samples=gray.samples >> 6))),
        ("a camera's raw picture (DNG)", tiff(raw)),
        ("a camera's raw picture behind a thumbnail", tiff(thumbnail, mosaic)),
        ("CIELab colors", tiff(replace(rgb, photometric=8))),
        ("YCbCr colors without JPEG compression", encode(UPRIGHT.convert("YCbCr"), "TIFF")),
        ("fewer samples than its kind of color needs", tiff(
            replace(rgb, samples=rgb.samples[..., :2], photometric=RGB))),
        ("old-style JPEG compression; so ZSTD, LZMA, WebP, JPEG 2000", tiff(
            replace(rgb, fields={259: (6,)}))),
    ):  # fmt: skip
        yield Photo("TIFF", what, data, None)
    masked = bytearray(bmp(np.zeros((64, 48, 4), np.uint8), masks=True, top_down=False))
    masked[54:66] = struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF)
    yield Photo("BMP", "10 bits a color", bytes(masked), None)
    plain = encode(UPRIGHT, "PNG")
    idat = plain.index(b"IDAT")
    flipped = bytearray(plain)
    flipped[idat + 40] ^= 1
    for what, data in (
        ("pixels cut off", plain[: idat + 40]), ("a wrong checksum of pixels", bytes(flipped)),
    ):  # fmt: skip
        yield Photo("PNG", what, data, None)

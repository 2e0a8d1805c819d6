"""Damaged JPEGs of every kind, the same ones for the same seed."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests import photo_files

SIZE_WH = (76, 52)
Pieces = list[bytes]
Damage = Callable[[np.random.Generator, bytes], bytes]


def sound_jpegs(*, progressive: bool) -> list[bytes]:
    """Gray and colors, all samplings, with and without restart markers and optimized tables."""
    noise = np.random.default_rng(0).integers(-30, 30, (SIZE_WH[1], SIZE_WH[0], 3))
    pixels = np.asarray(photo_files.picture(SIZE_WH)).astype(int) + noise
    rgb = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return [
        photo_files.encode(
            picture,
            "JPEG",
            quality=quality,
            progressive=progressive,
            optimize=optimize,
            **({} if picture.mode == "L" else {"subsampling": subsampling}),
            **restarts,
        )
        for picture in (rgb, rgb.convert("L"))
        for subsampling in (("4:4:4", "4:2:2", "4:2:0") if picture.mode == "RGB" else ("",))
        for restarts in ({}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1})
        for quality, optimize in ((60, True), (92, progressive))
    ]


def split(jpeg: bytes) -> Pieces:
    """The start marker, every segment, every scan's data and the end marker, each apart."""
    pieces, at = [jpeg[:2]], 2
    while jpeg[at + 1] != 0xD9:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        pieces.append(jpeg[at:end])
        at = end
        if pieces[-1][1] == 0xDA:
            while jpeg[end] != 0xFF or jpeg[end + 1] in (0, *range(0xD0, 0xD8)):
                end += 1
            pieces.append(jpeg[at:end])
            at = end
    return [*pieces, jpeg[at:]]


def damage_header(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """Bytes in front of the first scan's data."""
    data = bytearray(jpeg)
    header = jpeg.index(b"\xff\xda") + 10
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(2, header)] = rng.integers(0, 256)
    return bytes(data)


def damage_later_segments(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """Bytes of the tables and headers behind the first scan."""
    pieces = [bytearray(piece) for piece in split(jpeg)]
    first = next(k for k, piece in enumerate(pieces) if piece[1] == 0xDA)
    later = [p for p in pieces[first + 2 : -1] if p[0] == 0xFF and p[1] in (0xDA, 0xC4)]
    for _ in range(rng.integers(1, 3)):
        piece = later[rng.integers(len(later))] if later else pieces[first]
        # Headers of scans are short, and each of their bytes is of more interest.
        piece[rng.integers(0, len(piece))] = (
            rng.integers(0, 256) if rng.random() < 0.7 else rng.integers(0, 8)
        )
    return b"".join(pieces)


def damage_picture_data(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """Bytes behind the first scan's header, whatever they are."""
    data = bytearray(jpeg)
    start = jpeg.index(b"\xff\xda") + 14
    for _ in range(rng.integers(1, 5)):
        data[rng.integers(start, len(data))] = rng.choice([rng.integers(0, 256), 0xFF])
    return bytes(data)


def insert_markers(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """Markers of any kind, some with a length behind them, anywhere."""
    for _ in range(rng.integers(1, 3)):
        at = rng.integers(2, len(jpeg))
        body = rng.integers(0, 256, rng.integers(0, 6), np.uint8).tobytes()
        marker = bytes([0xFF, rng.choice([*range(0xC0, 0x100), 1, 0x20])])
        jpeg = jpeg[:at] + marker + rng.choice([b"", b"\0\x04ab", body]) + jpeg[at:]
    return jpeg


def move_scans(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """Scans and tables dropped, doubled or in another order."""
    pieces = split(jpeg)
    units: list[bytes] = []
    for piece in pieces[1:-1]:
        if units and units[-1][:2] == b"\xff\xda" and piece[:1] != b"\xff":
            units[-1] += piece
        else:
            units.append(piece)
    first = next(k for k, unit in enumerate(units) if unit[1] == 0xDA)
    start = 0 if rng.random() < 0.2 else first
    for _ in range(rng.integers(1, 4)):
        one, other = rng.integers(start, len(units), 2) if len(units) > start else (0, 0)
        what = rng.integers(3)
        if what == 0 and len(units) > start + 1:
            del units[one]
        elif what == 1:
            units.insert(other, units[min(one, len(units) - 1)])
        else:
            units[one % len(units)], units[other % len(units)] = (
                units[other % len(units)],
                units[one % len(units)],
            )
    return pieces[0] + b"".join(units) + pieces[-1]


def cut_and_end(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """Cut off, with an end marker behind."""
    return jpeg[: rng.integers(jpeg.index(b"\xff\xda"), len(jpeg) - 2)] + b"\xff\xd9"


def cut_or_double_bytes(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """A run of bytes lost, doubled, zeroed or taken from elsewhere in the file."""
    start, source = rng.integers(2, len(jpeg), 2)
    length = int(rng.integers(1, 200))
    piece = [b"", jpeg[start : start + length] * 2, bytes(length), jpeg[source : source + length]]
    return jpeg[:start] + piece[rng.integers(4)] + jpeg[start + length :]


def change_tail(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """No end marker, or a cut, and anything behind."""
    cut = len(jpeg) - 2 - (int(rng.integers(0, 300)) if rng.random() < 0.5 else 0)
    noise = rng.integers(0, 256, rng.integers(0, 100), np.uint8).tobytes()
    tails = [b"", noise, noise + b"\xff\xd9" + noise, jpeg, bytes(50) + b"\xff\xd9", b"\xff\xd9"]
    return jpeg[:cut] + tails[rng.integers(len(tails))]


DAMAGES: tuple[Damage, ...] = (
    damage_header,
    damage_later_segments,
    damage_picture_data,
    insert_markers,
    move_scans,
    cut_and_end,
    cut_or_double_bytes,
    change_tail,
)


def damaged_jpegs(damage: Damage, count: int, *, progressive: bool) -> list[bytes]:
    rng = np.random.default_rng([DAMAGES.index(damage), progressive])
    sound = sound_jpegs(progressive=progressive)
    return [damage(rng, sound[k % len(sound)]) for k in range(count)]


def samsung_trailer(note: bytes) -> bytes:
    """One block with its directory, as Samsung's cameras append them."""
    block = struct.pack("<HHI", 0, 0x0A01, 8) + b"Pano_Inf" + note
    directory = b"SEFH" + struct.pack("<5I", 106, 1, 0x0A010000, len(block), len(block))
    return block + directory + struct.pack("<I", len(directory)) + b"SEFT"

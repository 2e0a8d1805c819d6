"""What a file is, told from its first bytes and never from its name; without a picture library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from facekit.photos.jpeg_kinds import explain_unread_jpeg

Kind = Literal["JPEG", "PNG", "BMP", "WebP", "TIFF"]

ACCEPTED = "JPEG, PNG, BMP, WebP and TIFF are accepted"
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Names that promise an accepted photo."""
HEAD_BYTES = 32
"""How much of a file is looked at."""

# Tab, line ends, the printable ASCII, and all that UTF-8 uses beyond it.
_TEXT = {9, 10, 13, *range(32, 127), *range(128, 248)}
BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""Sizes in bytes of the headers that follow a BMP's first 14 bytes."""
# TIFF and BigTIFF; some programs write the first two letters of the other byte order.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0")
_PICTURE_BRANDS = (
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis",
)  # fmt: skip
_PICTURES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("a GIF", lambda b: b[:4] == b"GIF8"),
    ("an HEIC or AVIF picture", lambda b: b[4:8] == b"ftyp" and b[8:12] in _PICTURE_BRANDS),
    ("a JPEG XL picture", lambda b: b[:2] == b"\xff\x0a" or b[:8] == b"\0\0\0\x0cJXL "),
    ("a JPEG 2000 picture", lambda b: b[:4] == b"\xff\x4f\xff\x51" or b[:8] == b"\0\0\0\x0cjP  "),
    ("a Photoshop picture", lambda b: b[:4] == b"8BPS"),
    (
        "a camera's raw picture",
        lambda b: (
            b[:4] in (b"IIRO", b"IIRS", b"IIU\0")
            or b[:15] == b"FUJIFILMCCD-RAW"
            or (b[:4] == b"II*\0" and b[8:10] == b"CR")
            or b[4:12] == b"ftypcrx "
        ),
    ),
)
# These are TIFF files whose first picture is a thumbnail; only the name tells them apart.
_RAW_SUFFIXES = (".nef", ".nrw", ".arw", ".sr2", ".dng", ".pef", ".srw", ".3fr", ".iiq", ".erf")


def refusal(head: bytes, suffix: str) -> str | None:
    """Say why a file can't be annotated: "" where it can, None where it is no picture at all.

    Args:
        head: Its first ``HEAD_BYTES`` bytes.
        suffix: Of its name, lower case. A file of another kind is a refused photo where its name
            promises one.
    """
    for name, matches in _PICTURES:
        if matches(head):
            return f"not a photo but {name}; {ACCEPTED}"
    if is_photo(head, suffix):
        if suffix in _RAW_SUFFIXES:
            return f"not a photo but a camera's raw picture; {ACCEPTED}"
        return ""
    if suffix not in SUFFIXES:
        return None
    return name_format(head) if head.strip(b"\0") else "empty: it holds no bytes but padding"


def is_photo(head: bytes, suffix: str = "") -> bool:
    """Tell whether a file begins as an accepted photo does; it may still be broken."""
    kind = kind_of(head)
    if suffix in SUFFIXES:
        return kind is not None
    if kind == "BMP":  # Many a text begins with its two letters.
        return len(head) >= 18 and int.from_bytes(head[14:18], "little") in BMP_HEADERS
    return kind is not None and (kind != "JPEG" or head[2:3] == b"\xff")


def kind_of(head: bytes) -> Kind | None:
    """Return which of the accepted kinds a file begins as."""
    if head[:2] == b"\xff\xd8":
        return "JPEG"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:2] == b"BM":
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return "TIFF" if head[:4] in _TIFF else None


def name_format(raw: bytes) -> str:
    """Say what bytes are that are taken for no photo."""
    if raw[:2] == b"\xff\xd8":
        return explain_unread_jpeg(raw)
    signatures: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
        *_PICTURES,
        ("a PDF", lambda b: b[:5] == b"%PDF-"),
        ("a film", lambda b: b[4:8] == b"ftyp"),
        ("a PNG with a broken header", lambda b: b[:4] == b"\x89PNG"),
        ("a WebP with a broken header", lambda b: kind_of(b) == "WebP"),
        ("a TIFF with a broken header", lambda b: kind_of(b) == "TIFF"),
        ("a BMP with a broken header", lambda b: b[:2] == b"BM" and is_photo(b)),
        ("text", lambda b: len(b) > 1 and set(b[:64].rstrip(b"\0")) <= _TEXT),
        ("a BMP with a broken header", lambda b: b[:2] == b"BM"),
    )
    for name, matches in signatures:
        if matches(raw):
            return (
                f"not a photo but {name}; {ACCEPTED}"
                if "broken" not in name
                else f"{name}, truncated or corrupt"
            )
    return f"no known photo format; {ACCEPTED}"

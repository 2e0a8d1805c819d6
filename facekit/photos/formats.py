"""Tell what a file is from its first bytes, without Pillow, and name what is not read."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

Kind = Literal["JPEG", "PNG", "BMP", "WebP", "TIFF"]

ACCEPTED = "JPEG, PNG, BMP, WebP and TIFF are accepted"
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""How the name of a photo ends, in lower case: the one list of the kit."""
DRAWN_SUFFIXES = (".faces.jpg", ".faces.jpeg", ".faces.png", ".faces.webp")
"""How the names of the kit's own pictures of found faces end; they are not taken for photos."""
HEAD_BYTES = 32
"""How much of a file is looked at."""
EMPTY = "empty: it contains no bytes"
PADDING = "empty: it contains no bytes but padding"

# Tab, line ends, printable ASCII, and the other bytes of UTF-8.
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
# TIFF files whose first picture is a thumbnail; only the name tells them apart.
_RAW_SUFFIXES = (".nef", ".nrw", ".arw", ".sr2", ".dng", ".pef", ".srw", ".3fr", ".iiq", ".erf")


# Frame headers (ITU-T T.81, table B.1) of what is not read.
_JPEG_KINDS = {
    0xC3: "a lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE), "a hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "an arithmetic-coded JPEG"),
    0xCB: "a lossless arithmetic-coded JPEG",
    0xF7: "a JPEG-LS picture",
}
_START_OF_SCAN, _HIERARCHICAL = 0xDA, 0xDE
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, *_JPEG_KINDS} - {_HIERARCHICAL}


def refusal(head: bytes, suffix: str) -> str | None:
    """Say why a file is not read: "" where it is, None where it is not a picture at all.

    ``head`` is its first ``HEAD_BYTES`` bytes. A file of another kind is a refused photo where its
    lower-case ``suffix`` promises one.
    """
    for name, matches in _PICTURES:
        if matches(head):
            return f"not a photo but {name}; {ACCEPTED}"
    if not head and suffix in PHOTO_SUFFIXES:
        return EMPTY
    if is_photo(head, suffix):
        if suffix in _RAW_SUFFIXES:
            return f"not a photo but a camera's raw picture; {ACCEPTED}"
        return ""
    if suffix not in PHOTO_SUFFIXES:
        return None
    return name_format(head) if head.strip(b"\0") else PADDING


def refuse_file(path: Path) -> str | None:
    """Say why a file can't be annotated, as :func:`refusal` does; raises OSError if unreadable."""
    with path.open("rb", buffering=0) as file:
        return refusal(file.read(HEAD_BYTES) or b"", path.suffix.lower())


def is_photo(head: bytes, suffix: str = "") -> bool:
    """Tell whether a file begins as an accepted photo does; it may still be broken."""
    kind = kind_of(head)
    if suffix in PHOTO_SUFFIXES:
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
    """Name the format of bytes that can't be read as a photo."""
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
            if "broken" in name:
                return f"{name}, truncated or corrupt"
            return f"not a photo but {name}; {ACCEPTED}"
    return f"no known photo format; {ACCEPTED}"


def explain_unread_jpeg(raw: bytes, fault: str = "a JPEG with a broken header") -> str:
    """Say in the standard's terms why a JPEG, or its first bytes, is not read.

    ``fault`` is what is wrong with it where its kind is not the reason.
    """
    try:
        kind = _unread_kind(raw)
    except (IndexError, struct.error):
        kind = None
    if kind is None:
        return f"truncated or corrupt: {fault}"
    return f"{kind}, which can't be decoded: convert it to an 8-bit baseline or progressive JPEG"


def _unread_kind(raw: bytes) -> str | None:
    at = 2
    while raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _JPEG_FRAMES:
            precision, height = struct.unpack_from(">BH", raw, at + 4)
            if precision != 8 and marker not in (0xC3, 0xCB, 0xF7):
                return f"a {precision}-bit JPEG"
            if height == 0:
                return "a JPEG whose height is only given by a DNL marker"
        if marker in _JPEG_FRAMES or marker in (_START_OF_SCAN, _HIERARCHICAL):
            return _JPEG_KINDS.get(marker)
        at += 2 + struct.unpack_from(">H", raw, at + 2)[0]
    return None

"""Write ``docs/photos.md``: ``.venv/bin/python -m tests.photos.page`` in the clone's folder."""

from __future__ import annotations

from pathlib import Path

from facekit import limits
from facekit.errors import PhotoError
from facekit.photos.check import check_photo
from facekit.photos.formats import ACCEPTED, refusal
from tests.photos.kinds import photos

PAGE = Path(__file__).parents[2] / "docs" / "photos.md"
_OTHERS = {
    "GIF": b"GIF89a",
    "HEIC, AVIF": b"\0\0\0\x18ftypheic",
    "JPEG XL": b"\xff\x0a",
    "JPEG 2000": b"\0\0\0\x0cjP  ",
    "Photoshop": b"8BPS",
    "raw of Canon and others": b"II*\0\x10\0\0\0CR",
    "PDF": b"%PDF-1.7",
    "film": b"\0\0\0\x18ftypisom",
}
_HEAD = """# What is a photo

A photo is its pixels. Metadata of any kind and state leaves size and pixels as they are. Only the
orientation is taken from EXIF, or from XMP where EXIF has none; one that can't be read is upright.
Servers, drawings, labels and datasets turn photos alike (`facekit/photos/header.py`).

An ordinary JPEG goes to DALI as it is; where its end marker alone is missing, it is supplied.
Everything else is decoded before, to 8 bits, transparent pixels over white. A file is read as its
specification says, or refused in a sentence that names what of it is not read; the other photos
are answered.

This page is written by `.venv/bin/python -m tests.photos.page` from photos that the tests make and
read. `tests/photos/test_reference.py` holds them against what Pillow and libvips read.
"""
_TAIL = ", which can't be decoded: convert it to an 8-bit baseline or progressive JPEG"
_OF_JPEG = """Where a whole JPEG is refused, the message goes on: "which can't be decoded: convert
it to an 8-bit baseline or progressive JPEG". JPEGs that are arithmetic-coded, or lossless with
8 bits, are read where Pillow's libjpeg reads them, and refused by name elsewhere.
"""
_OF_TIFF = """All of them in strips or tiles, in planes or not, in either byte order, also BigTIFF.
Compression is LZW, Deflate, PackBits or none, with a predictor or none; any orientation.
"""
_NOTES = {"JPEG": _OF_JPEG, "TIFF": _OF_TIFF}
_SIZES = """## How large

| of | at most | because |
|---|---|---|
| a photo, encoded | {bytes} MiB | a JPEG of a 200-megapixel phone is 30 to 60 MB |
| a JPEG | {jpeg:,} pixels | 16320 x 12240, a phone's 200 megapixels |
| a progressive JPEG | {progressive:,} pixels | all coefficients lie in memory; 12032 x 9024 fits |
| any other photo | {other:,} pixels | it goes on decoded; 9248 x 6936 fits |
| a side | {side:,} pixels | codecs store sides in 16 bits |
| a JPEG | {scans} scans | a decoder goes over the whole picture for each |
| a request | {batch:,} pixels | a few photos at a time are decoded; 32 of 16 megapixels fit |
| of `fpenet_ensemble`, `photo_check` | {request:,} pixels | all are decoded to one tensor |
| a request, padded | {padded} MiB | each photo takes as much as the largest of its request |

On the embedded server, model `faces` and two cores, a JPEG of 200 megapixels and 63 MB took 2.3 s.
It took 0.43 GiB of private memory and 0.25 GiB of `/dev/shm` beyond the idle server's.
"""


def page() -> str:
    """Return the page's text."""
    kinds: dict[str, dict[str, str]] = {}
    for photo in photos():
        try:
            check_photo(photo.data)
            result = ""
        except PhotoError as error:
            result = str(error).removesuffix(": save it as JPEG").removesuffix(_TAIL)
        rows = kinds.setdefault(photo.kind, {})
        if rows.setdefault(photo.what, result) != result:
            raise ValueError(f"{photo.what}: {rows[photo.what]!r}, and {photo.name}: {result!r}")
    for name, head in _OTHERS.items():
        reason = refusal(head.ljust(32, bytes(1)), ".jpg")
        kinds.setdefault("Other files", {})[name] = reason.replace(f"; {ACCEPTED}", "")
    lines = [_HEAD, "## Kinds of files"]
    for kind, rows in kinds.items():
        read = [what.partition(": ") for what, reason in rows.items() if not reason]
        refused = [(what, reason) for what, reason in rows.items() if reason]
        lines += [f"\n### {kind}\n", *filter(None, [_NOTES.get(kind)])]
        if read:
            lines += ["| read | as |", "|---|---|"]
            lines += [f"| {what} | {how or 'it is'} |" for what, _, how in read]
        if read and refused:
            lines.append("")
        if refused:
            lines += ["| refused | because |", "|---|---|"]
            lines += [f"| {what} | {reason} |" for what, reason in refused]
    sizes = _SIZES.format(
        bytes=limits.MAX_PHOTO_BYTES >> 20, jpeg=limits.MAX_JPEG_PIXELS,
        progressive=limits.MAX_PROGRESSIVE_PIXELS, other=limits.MAX_PHOTO_PIXELS,
        side=limits.MAX_PHOTO_SIDE, scans=limits.MAX_SCANS, request=limits.MAX_REQUEST_PIXELS,
        batch=limits.MAX_BATCH_PIXELS, padded=limits.MAX_PADDED_BYTES >> 20,
    )  # fmt: skip
    return "\n".join([*lines, "", sizes])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""The limits of what the kit accepts, set here and nowhere else.

They are checked before a decoder sees a photo, so that one hostile or broken photo costs the server
a header parse and not its memory.
"""

from __future__ import annotations

from facekit.errors import PhotoError

MAX_PHOTO_BYTES = 64 * 1024 * 1024
"""Encoded size of one photo. A JPEG of a 200-megapixel phone is 30 to 60 MB."""

MAX_JPEG_PIXELS = 200_000_000
"""Width times height of one JPEG. Phones of 200 megapixels write 16320 x 12240 = 199.8 million."""

MAX_PROGRESSIVE_PIXELS = 110_000_000
"""Width times height of one progressive JPEG, whose decoder holds all coefficients in memory and
goes over all pixels once a scan. Phones of 108 megapixels write 12032 x 9024 = 108.6 million."""

MAX_SCANS = 100
"""Of one JPEG, each of which may bring some bytes and makes a decoder go over the whole picture.
Programs write up to some tens; libtiff has the same limit."""

MAX_PHOTO_PIXELS = 67_108_864
"""Width times height of any other photo, which is handed on decoded. It is that of a phone of 64
megapixels, 9248 x 6936 = 64.1 million, and a little more."""

MAX_PHOTO_SIDE = 32_767
"""Longest side of one photo in pixels; image codecs store sides in 16 bits."""

MAX_SAMPLE_BYTES = 8 * MAX_PHOTO_PIXELS
"""Bytes of one TIFF's samples as it is decoded: four of 16 bits a pixel."""

MAX_REQUEST_PIXELS = 200_000_000
"""Pixels of all photos of one request together where they are decoded to one tensor, in shared
memory."""

MAX_BATCH_PIXELS = 512_000_000
"""Pixels of all photos of one request together where a few photos at a time are decoded: 32 of a
phone's 16 megapixels."""

MAX_PADDED_BYTES = 256 * 1024 * 1024
"""Bytes of one request's photos in one tensor, each padded to the largest: encoded as they are
handed to the decoder, and decoded to gray where they stay one tensor."""

MAX_BOXES = 1024
"""Boxes that one photo may bring to landmark estimation; the detection grid has 1,196 cells."""

MAX_CROP_PIXELS = 500_000_000
"""Photo pixels under all face squares of one photo together: some seconds of one core."""


def check_size(width: int, height: int, kind: str = "") -> None:
    """Refuse a photo with too many pixels or too long a side.

    Args:
        width: In pixels.
        height: In pixels.
        kind: ``JPEG`` or ``progressive JPEG``, which have limits of their own; any other.

    Raises:
        PhotoError: Says the size and the limit.
    """
    most, others = {
        "JPEG": (MAX_JPEG_PIXELS, ""),
        "progressive JPEG": (
            MAX_PROGRESSIVE_PIXELS,
            f" for a progressive JPEG, {MAX_JPEG_PIXELS:,} for a baseline one",
        ),
    }.get(kind, (MAX_PHOTO_PIXELS, f", {MAX_JPEG_PIXELS:,} for a JPEG"))
    if width * height > most:
        raise PhotoError(
            f"{width} x {height} = {width * height:,} pixels; the limit is {most:,}{others}"
        )
    if max(width, height) > MAX_PHOTO_SIDE:
        raise PhotoError(f"{width} x {height} pixels; the longest side may be {MAX_PHOTO_SIDE:,}")


def check_scans(count: int) -> None:
    """Refuse a JPEG of too many scans.

    Raises:
        PhotoError: Says the limit.
    """
    if count > MAX_SCANS:
        raise PhotoError(f"a JPEG of more than {MAX_SCANS} scans: save it as a baseline JPEG")

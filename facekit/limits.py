"""The limits on what the kit accepts.

They are checked before a photo is decoded, so that a hostile or broken photo costs the server only
a header parse.
"""

from facekit.errors import PhotoError

MAX_TIMEOUT_S = 86_400
"""Timeout of a client's call, a day: gRPC takes one that overflows its clock for one that has
passed."""

MAX_PHOTO_BYTES = 64 * 1024 * 1024
"""Encoded size of one photo. A JPEG of a 200-megapixel phone is 30 to 60 MB."""

MAX_JPEG_PIXELS = 200_000_000
"""Width times height of one JPEG. Phones of 200 megapixels write 16320 x 12240 = 199.8 million."""

MAX_PROGRESSIVE_PIXELS = 110_000_000
"""Width times height of one progressive JPEG, whose decoder keeps all coefficients in memory and
processes all pixels in each scan. Phones of 108 megapixels write 12032 x 9024 = 108.6 million."""

MAX_SCANS = 100
"""Scans of one JPEG: a scan of a few bytes makes the decoder process the whole picture. Encoders
write some tens at most; libtiff has the same limit."""

MAX_PHOTO_PIXELS = 67_108_864
"""Width times height of any other photo, which is passed on decoded: a little more than that of a
phone of 64 megapixels, 9248 x 6936 = 64.1 million."""

MAX_PHOTO_SIDE = 32_767
"""Longest side of one photo in pixels; image codecs store sides in 16 bits."""

MAX_SAMPLE_BYTES = 8 * MAX_PHOTO_PIXELS
"""Bytes of one TIFF's decoded samples: four of 16 bits per pixel."""

MAX_REQUEST_PIXELS = 200_000_000
"""Pixels of all photos of one request where they are decoded to one tensor in shared memory."""

MAX_BATCH_PIXELS = 512_000_000
"""Pixels of all photos of one request where a few at a time are decoded: 32 of 16 megapixels."""

MAX_PADDED_BYTES = 256 * 1024 * 1024
"""Bytes of one request's photos in one tensor, each padded to the largest: encoded for the decoder,
and decoded to gray where the result is one tensor."""

MAX_BOXES = 1024
"""Boxes of one photo for landmark estimation; the detection grid has 1,196 cells."""

MAX_CROP_PIXELS = 500_000_000
"""Photo pixels in all face crops of one photo: some seconds of one core."""


def check_size(width: int, height: int, kind: str = "") -> None:
    """Raise PhotoError for a photo with too many pixels, or a side that is too long.

    ``kind`` is ``JPEG`` or ``progressive JPEG``, which have their own limits, or any other format.
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
    """Raise PhotoError for a JPEG with too many scans."""
    if count > MAX_SCANS:
        raise PhotoError(f"a JPEG of more than {MAX_SCANS} scans: save it as a baseline JPEG")

"""Every kind of photo is read as its specification has it, or refused by name: no third outcome.

Pillow and libvips read the same files. Where one of them differs from what a file was written to
hold, the reason stands here.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from facekit.errors import PhotoError
from facekit.photos.check import check_photo, decode_checked
from tests.photos.kinds import Photo, photos
from tests.photos.readers import Picture, by_libvips, by_pillow

MOST_DIFFERENCE = 2.0
READERS = {"Pillow": by_pillow, "libvips": by_libvips}
OTHERWISE = {
    ("libvips", "CMYK"): "it goes by way of an ink profile of its own; DALI and Pillow do not",
    ("libvips", "orientation in XMP alone"): "it reads EXIF alone",
    ("Pillow", "orientation in XMP alone"): "up to version 10.3 it reads EXIF alone in a JPEG",
    ("libvips", "metadata of any state"): "of the CMYK pictures among them, as of all others",
    ("Pillow", "gray with a transparent color"): "it takes a color of 16, 4 or 2 bits for 8",
    ("Pillow", "32-bit, alpha of 0 everywhere"): "programs without alpha leave its bytes 0",
    ("Pillow", "gray, 1 to 16 bits"): "it does not stretch 12 bits, in one byte order",
    ("Pillow", "CMYK"): "it misreads planes of 16 bits",
    ("Pillow", "RGB, 1 to 16 bits"): "it misreads planes of 16 bits",
    ("Pillow", "10 to 14 bits in 16"): "it passes over MaxSampleValue",
    ("libvips", "10 to 14 bits in 16"): "it passes over MaxSampleValue",
    ("libvips", "extra samples without a meaning"): "it takes any further sample for alpha",
    ("Pillow", "an unnamed fourth sample"): "it takes it for alpha, which hides all",
    ("libvips", "an unnamed fourth sample"): "it takes it for alpha, which hides all",
    ("Pillow", "a thumbnail beside the photo"): "it opens the first page",
    ("libvips", "a thumbnail beside the photo"): "it opens the first page",
}


def difference(found: Picture, expected: Picture) -> float:
    """Mean difference of the pixels; infinite between pictures of other sizes or turned ones."""
    if found.shape[:2] != expected.shape[:2]:
        return float("inf")
    both = (a[..., None] if a.ndim == 2 else a for a in (found, expected))
    return float(np.abs(np.subtract(*both)).mean())


def outcome(photo: Photo) -> str:
    try:
        found = np.asarray(decode_checked(check_photo(photo.data)), float)
    except PhotoError:
        return "refused"
    if photo.expected is None:
        return "different"
    return "equal" if difference(found, photo.expected) < MOST_DIFFERENCE else "different"


def test_300_photos_are_read_right_or_refused_by_name(
    record_property: pytest.RecordProperty,
) -> None:
    counts: Counter[str] = Counter()
    wrong = []
    for photo in photos():
        found = outcome(photo)
        counts[found] += 1
        if found != ("refused" if photo.expected is None else "equal"):
            wrong.append(f"{photo.kind}, {photo.what} ({photo.name}): {found}")
    for name, count in counts.items():
        record_property(name, count)
    print(dict(counts))  # noqa: T201
    assert wrong == []
    assert counts["equal"] >= 290 and counts["different"] == 0


def test_other_programs_read_the_same_or_it_is_said_why_not() -> None:
    agreed: Counter[str] = Counter()
    unsaid = set()
    for photo in photos():
        if photo.expected is None:
            continue
        for name, read in READERS.items():
            found = read(photo.data)
            if found is None:
                continue
            if difference(found, photo.expected) < MOST_DIFFERENCE:
                agreed[name] += 1
            elif not any(name == who and what in photo.what for who, what in OTHERWISE):
                unsaid.add((name, photo.what, photo.name))
    print(dict(agreed))  # noqa: T201
    assert unsaid == set()
    # Each must have been of use.
    assert min(agreed[name] for name in READERS) > 150

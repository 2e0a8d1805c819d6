"""Name a chip's file after its photo and its face, and like no other chip."""

from __future__ import annotations

import hashlib
import os
import re

_LONGEST_BYTES = 200
"""Of the photo's part of the name; file systems take 255 bytes in all."""
_SHOWN = 80
_ODD = re.compile(r"[^\w .+,()\[\]=@-]")
_NOT_ASCII = re.compile(r"[^A-Za-z0-9 .+-]")
_JOINT = "__"
_MARK = "~"


def chip_name(photo: str, number: int, suffix: str) -> str:
    """Return the file name of the chip of a photo's face, numbered from 1.

    Two photos never give the same name: one that could be mistaken for another's, that has
    characters a file system may refuse, or that is too long carries a digest of its whole path.

    >>> chip_name("a.jpg", 1, ".jpg"), chip_name("2011/at sea/b.png", 12, ".jpg")
    ('a.jpg.face1.jpg', '2011__at sea__b.png.face12.jpg')
    >>> chip_name("2011/a_/b?.jpg", 1, ".png")
    '2011__a___b_.jpg~6842dc8b2338.face1.png'
    """
    return f"{_flat(photo)}.face{number}{suffix}"


def _flat(photo: str) -> str:
    parts = photo.split("/")
    flat = _JOINT.join(parts)
    plain = (
        not _ODD.search(photo.replace("/", ""))
        # With these, another photo's parts could be joined to the same text.
        and not any(
            _JOINT in part or part[:1] in ("_", ".", "") or part[-1:] == "_" for part in parts
        )
        and len(os.fsencode(flat)) <= _LONGEST_BYTES
    )
    if plain:
        return flat
    digest = hashlib.sha256(photo.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{_NOT_ASCII.sub('_', flat)[-_SHOWN:].lstrip('._ ')}{_MARK}{digest}"

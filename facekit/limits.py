"""The limits of what the kit accepts, set here and nowhere else.

They are checked before a decoder sees a photo, so that one hostile or broken photo costs the server
a header parse and not its memory.
"""

from __future__ import annotations

MAX_PHOTO_BYTES = 32 * 1024 * 1024
"""Encoded size of one photo. A 50-megapixel phone JPEG is 10 to 25 MB."""

MAX_PHOTO_PIXELS = 64_000_000
"""Width times height of one photo. The largest common phone sensors write 50-megapixel files."""

MAX_PHOTO_SIDE = 32_767
"""Longest side of one photo in pixels; image codecs store sides in 16 bits."""

MAX_REQUEST_PIXELS = 192_000_000
"""Pixels of all photos of one request together: they lie decoded in shared memory at one time."""

MAX_BOXES = 1024
"""Boxes that one photo may bring to landmark estimation; the detection grid has 1,196 cells."""

"""What can still be seen of a photo that the kit refuses."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image

from facekit import limits
from facekit.client.photos import read_photo
from facekit.photos.blocks import count_scans

_END_OF_IMAGE = b"\xff\xd9"


def broken_picture(path: Path) -> Image.Image | None:
    """Return the picture, or the part of it that its file still holds; None if there is none.

    A file of a kind that the server does not take, such as a GIF, may well be a picture. One over
    the kit's limits is never decoded.
    """
    try:
        data = read_photo(path).tobytes()
        with warnings.catch_warnings():
            # Pillow warns of the very sizes that are refused next, and of metadata.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                limits.check_size(image.width, image.height, image.format or "")
                if data.startswith(b"\xff\xd8"):
                    limits.check_scans(count_scans(data))
                try:
                    picture: Image.Image = image.convert("RGB")
                except OSError:
                    # Cut off. An end-of-image marker lets a JPEG decoder give what it has.
                    with Image.open(io.BytesIO(data + _END_OF_IMAGE)) as rest:
                        picture = rest.convert("RGB")
                return picture
    # Pillow's decoders raise errors of many kinds; whichever it is, there is nothing to see.
    except Exception:
        return None

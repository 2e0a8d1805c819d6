"""Photos out of bodies: their bytes are exactly those that were sent."""

from __future__ import annotations

import asyncio
import random

import pytest

from facekit.gateway.photos import Photos, read_photos
from facekit.gateway.problems import ProblemError
from facekit.photos.formats import HEAD_BYTES

JPEG_HEAD = b"\xff\xd8\xff" + bytes(HEAD_BYTES)


def read(body: bytes, content_type: str, json_bytes: int = 10**6) -> Photos:
    return asyncio.run(read_photos(body, content_type, json_bytes))


@pytest.mark.parametrize("seed", range(20))
def test_form_gives_the_bytes_that_were_sent(seed: int) -> None:
    # Of the letters of the boundary, so that much looks like one for a while.
    chance = random.Random(seed)
    photos = []
    while len(photos) < 3:
        tail = bytes(chance.choices(b"\r\n-x", k=chance.choice((0, 1, 50, 5000, 200_000))))
        if b"\r\n--xx-" not in tail + b"\r":
            photos.append(JPEG_HEAD + tail)
    head = b'--xx-\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    body = b"".join(head + photo + b"\r\n" for photo in photos) + b"--xx---\r\n"
    assert read(body, 'multipart/form-data; boundary="xx-"') == Photos(photos, True)


def test_json_over_its_own_limit_is_refused() -> None:
    with pytest.raises(ProblemError, match="12 bytes of JSON are over the limit of 10") as caught:
        read(b'{"photo":""}', "application/json; charset=utf-8", 10)
    assert caught.value.status == 413

"""REST before the real server: every form of a body gives what the client finds."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from facekit import Client, Faces
from facekit.data import probe_photo
from facekit.data.portraits import hang, heads
from facekit.draw import draw_faces
from facekit.gateway.photos import MAX_PHOTOS
from facekit.selection import FaceLimits
from facekit.serving.embedded import EmbeddedServer
from tests.photo_files import encode, exif, oriented_jpeg, picture, stored

PHOTO = probe_photo()
TEXT = base64.b64encode(PHOTO).decode()
BOXES = [[130, 73, 220, 182], [100, 50, 250, 200]]


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def group() -> bytes:
    """A picture of several faces."""
    return encode(hang(heads()), "JPEG", quality=95)


def post(url: str, call: str = "faces", body: Any = PHOTO, **options: Any) -> requests.Response:
    return requests.post(f"{url}/v1/{call}", data=body, timeout=60, **options)


def found(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    value: dict[str, Any] = answer.json()
    return value


def form(*photos: bytes) -> dict[str, Any]:
    return {"files": [("photo", (f"{k}.jpg", each)) for k, each in enumerate(photos)]}


@pytest.mark.parametrize(
    "options",
    [
        {"body": PHOTO},
        {"body": PHOTO, "headers": {"Content-Type": "image/jpeg"}},
        {"body": PHOTO, "headers": {"Content-Type": "application/octet-stream"}},
        # What curl says by itself of --data-binary.
        {"body": PHOTO, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"body": None, **form(PHOTO)},
        {"body": None, "json": {"photo": TEXT}},
        {"body": None, "json": {"photo": f"data:image/jpeg;base64,{TEXT}"}},
        {"body": None, "json": {"photo": base64.encodebytes(PHOTO).decode()}},
        {"body": iter([PHOTO[:100], PHOTO[100:]])},
    ],
    ids=["bare", "image", "octets", "curl", "form", "json", "data url", "lines", "chunks"],
)
def test_each_form_of_a_body_gives_what_the_client_finds(
    url: str, client: Client, options: dict[str, Any]
) -> None:
    expected = client.detect(PHOTO)
    assert len(expected) == 1
    assert found(post(url, **options)) == {"model": "faces", **expected.to_dict()}


def test_several_photos_are_answered_in_order_and_one_error_leaves_the_others(
    url: str, client: Client, group: bytes
) -> None:
    broken = group[: len(group) // 2]
    photos = [PHOTO, broken, group, b"no photo", b"", encode(picture(), "GIF")]
    one, many = client.detect(PHOTO).to_dict(), client.detect(group).to_dict()

    for answer in (
        post(url, body=None, **form(*photos)),
        post(url, body=None, json=[base64.b64encode(each).decode() for each in photos]),
    ):
        results = found(answer)["results"]
        assert results[0] == {"model": "faces", **one}
        assert results[2] == {"model": "faces", **many}
        problems = {k: results[k]["error"] for k in (1, 3, 4, 5)}
        assert {k: each["status"] for k, each in problems.items()} == {
            1: 422,
            3: 415,
            4: 422,
            5: 415,
        }
        assert "no end-of-image marker" in problems[1]["detail"]
        assert problems[4]["detail"] == "empty: it contains no bytes"


def test_a_list_gives_a_list_and_broken_base64_in_it_its_own_error(url: str) -> None:
    answer = found(post(url, body=None, json={"photo": [TEXT, "?", "data:,x"]}))
    first, *others = answer["results"]
    assert len(first["faces"]) == 1
    assert [each["error"]["status"] for each in others] == [400, 400]
    assert len(found(post(url, body=None, json=[TEXT]))["results"]) == 1


def test_as_many_photos_as_are_allowed(url: str, client: Client) -> None:
    results = found(post(url, body=None, **form(*[PHOTO] * MAX_PHOTOS)))["results"]
    assert results == [{"model": "faces", **client.detect(PHOTO).to_dict()}] * MAX_PHOTOS
    answer = post(url, body=None, **form(*[PHOTO] * (MAX_PHOTOS + 1)))
    assert (answer.status_code, f"more than {MAX_PHOTOS} photos" in answer.text) == (422, True)


@pytest.mark.parametrize(
    ("query", "how"),
    [
        ({"model": "facenet_ensemble"}, {"model": "facenet_ensemble"}),
        ({"tiles": "auto"}, {"tiles": "auto"}),
        ({"rotations": "90,270"}, {"rotations": "90,270"}),
        ({"landmarks": 0, "tiles": 4}, {"model": "facenet_ensemble", "tiles": 4}),
    ],
)
def test_parameters_are_those_of_the_client(
    url: str, client: Client, group: bytes, query: dict[str, Any], how: dict[str, Any]
) -> None:
    model = query.get("model", "faces")
    expected = {"model": model, **client.detect(group, **how).to_dict()}
    assert found(post(url, body=group, params=query)) == expected


def test_without_landmarks_the_boxes_are_the_same(url: str, client: Client, group: bytes) -> None:
    answer = found(post(url, body=group, params={"landmarks": 0}))
    expected = client.detect(group).to_dict()["faces"]
    for name in ("box_xyxy", "score"):
        assert [each[name] for each in answer["faces"]] == [each[name] for each in expected]
    assert {len(each["points_xy"]) for each in answer["faces"]} == {0}


def test_limits_leave_out_faces(url: str, client: Client, group: bytes) -> None:
    every = client.detect(group)
    sides = (every.boxes_xyxy[:, 2:] - every.boxes_xyxy[:, :2]).min(axis=1)
    score, size = float(np.sort(every.scores)[1]), float(np.sort(sides)[1])
    expected = FaceLimits(score, size).keep(every)
    assert 0 < len(expected) < len(every)
    query = {"min_score": score, "min_size": size}
    answer = found(post(url, body=group, params=query))
    assert answer == {"model": "faces", **expected.to_dict()}


def test_masks(url: str, client: Client, group: bytes) -> None:
    expected = client.detect(group, model="facemask_ensemble").to_dict()
    assert found(post(url, "masks", group)) == {"model": "facemask_ensemble", **expected}
    assert {"mask", "no-mask"} >= {each["class_name"] for each in expected["faces"]} > set()


def test_landmarks_of_given_boxes_and_of_those_that_are_found(url: str, client: Client) -> None:
    points, scores = client.landmarks(PHOTO, BOXES)
    text = ";".join(",".join(map(str, box)) for box in BOXES)
    answer = found(post(url, "landmarks", params={"boxes": text}))

    expected = Faces(np.array(BOXES), np.ones(2), points, scores, (360, 300)).to_dict()["faces"]
    assert answer["model"] == "landmarks"
    assert answer["size_wh"] == [360, 300]
    for face, wanted in zip(answer["faces"], expected, strict=True):
        assert face == {k: v for k, v in wanted.items() if k not in ("score", "sharpness")}
    assert found(post(url, "landmarks")) == found(post(url))


@pytest.mark.parametrize(
    "photo",
    [
        oriented_jpeg(Image.open(io.BytesIO(PHOTO)), 6),
        encode(Image.open(io.BytesIO(PHOTO)).convert("RGBA"), "PNG"),
        encode(Image.open(io.BytesIO(PHOTO)).convert("CMYK"), "JPEG"),
        encode(stored(Image.open(io.BytesIO(PHOTO)), 8), "WEBP", exif=exif(8)),
        encode(Image.open(io.BytesIO(PHOTO)), "TIFF"),
    ],
    ids=["turned", "alpha", "cmyk", "webp", "tiff"],
)
def test_other_files(url: str, client: Client, photo: bytes) -> None:
    expected = client.detect(photo)
    assert (len(expected), expected.size_wh) == (1, (360, 300))
    assert found(post(url, body=photo)) == {"model": "faces", **expected.to_dict()}


def drawn(answer: requests.Response) -> Image.Image:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    return Image.open(io.BytesIO(answer.content))


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


@pytest.mark.parametrize("call", ["faces", "masks", "landmarks"])
def test_a_photo_with_its_faces_drawn(url: str, client: Client, call: str) -> None:
    photo = oriented_jpeg(Image.open(io.BytesIO(PHOTO)), 6)
    faces = client.detect(photo, model="facemask_ensemble" if call == "masks" else "faces")
    picture = drawn(post(url, call, photo, params={"draw": 1}))
    expected = draw_faces(photo, faces)
    assert picture.size == expected.size
    assert difference(picture, expected) < 1.5 < difference(picture, Image.open(io.BytesIO(PHOTO)))


def test_several_photos_are_not_drawn(url: str) -> None:
    answer = post(url, body=None, **form(PHOTO, PHOTO), params={"draw": 1})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "draw: one photo at a time, got 2"


def test_json_is_compact_and_unknown_to_caches(url: str) -> None:
    answer = post(url)
    assert answer.text == json.dumps(answer.json(), separators=(",", ":"))
    assert answer.headers["cache-control"] == "no-store"

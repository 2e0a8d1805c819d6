"""What REST refuses: each with its status, and an error that says what and where."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from facekit.data import probe_photo
from facekit.gateway.access import new_token
from facekit.limits import MAX_PHOTO_BYTES
from tests.fake_triton import FakeTriton, faces_answer, failing, slow
from tests.gateway.gateways import gateway
from tests.photo_files import encode, picture

PHOTO = probe_photo()
TEXT = base64.b64encode(PHOTO).decode()
OCTETS = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
HEIC = b"\0\0\0\x18ftypheic" + bytes(100)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeTriton]:
    with FakeTriton() as server:
        yield server


@pytest.fixture(scope="module")
def before(fake: FakeTriton) -> Iterator[str]:
    """The URL of a gateway before the fake server."""
    with gateway("--url", fake.url, "--timeout", "1") as address:
        yield address


@pytest.fixture
def answering(fake: FakeTriton) -> Iterator[FakeTriton]:
    """The fake server, whose answer a test may change."""
    usual = fake.answer
    yield fake
    fake.answer = usual


def problem(answer: requests.Response, status: int) -> str:
    """Check that an answer is a problem of this status, and return its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    value = answer.json()
    assert set(value) == {"type", "title", "status", "detail"}
    assert value["status"] == status
    return str(value["detail"])


def post(url: str, body: Any = PHOTO, call: str = "faces", **options: Any) -> requests.Response:
    return requests.post(f"{url}/v1/{call}", data=body, timeout=30, **options)


def part(disposition: str, content: bytes = PHOTO, *more: str) -> bytes:
    lines = [f"Content-Disposition: {disposition}"] * bool(disposition) + list(more)
    return "\r\n".join(["--x", *lines, "", ""]).encode() + content + b"\r\n"


NAMED = 'form-data; name="photo"'

# Body and headers, the status, and what the error says.
BODIES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "nothing": (b"", OCTETS, 400, "the body is empty: expected a photo"),
    "text": (b"these are words", OCTETS, 415, "not a photo but text; JPEG, PNG"),
    "text that begins as a BMP": (b"BMW is a car, this is text", OCTETS, 415, "but text; JPEG"),
    "JSON of another type": (b'{"photo": ""}', OCTETS, 415, "not a photo but text"),
    "zeros": (bytes(5000), OCTETS, 422, "no bytes but padding"),
    "gif": (encode(picture(), "GIF"), OCTETS, 415, "not a photo but a GIF; JPEG"),
    "heic": (HEIC, {"Content-Type": "image/heic"}, 415, "not a photo but an HEIC or AVIF picture"),
    "svg": (SVG, {"Content-Type": "image/svg+xml"}, 415, "not a photo but text"),
    "too long": (b"\xff\xd8\xff" + bytes(MAX_PHOTO_BYTES), OCTETS, 413, "the limit is 67,108,864"),
    "form without a boundary": (
        part(NAMED), {"Content-Type": "multipart/form-data"}, 400, "without a boundary"
    ),
    "form with another boundary": (
        b"--y\r\n\r\n--y--\r\n", FORM, 400, "the form: Expected boundary character"
    ),
    "form that is cut off": (part(NAMED), FORM, 400, "ends before its last boundary"),
    "form without a part": (b"--x--\r\n", FORM, 400, "the form has no part photo"),
    "part without a name": (
        part(NAMED) + part("form-data") + b"--x--", FORM, 400, "part 2 of the form has no name"
    ),
    "part without headers": (part("") + b"--x--", FORM, 400, "part 1 of the form has no name"),
    "part of another name": (
        part('form-data; name="file"') + b"--x--",
        FORM,
        422,
        "part 1 of the form is called 'file': expected photo",
    ),
    "part in base64": (
        part(NAMED, b"/9j/", "Content-Transfer-Encoding: base64") + b"--x--",
        FORM,
        400,
        "part 1 of the form: Content-Transfer-Encoding 'base64' is not read",
    ),
    "part of no bytes": (part(NAMED, b"") + b"--x--", FORM, 422, "empty: it contains no bytes"),
    "too many parts": (part(NAMED, b"a") * 33 + b"--x--", FORM, 422, "more than 32 photos"),
    "many headers of a part": (
        part(NAMED, b"", *["a: b"] * 1000) + b"--x--", FORM, 400, "the form: Maximum header count"
    ),
    "no JSON": (b"{", JSON, 400, "the body is not JSON: "),
    "JSON in Latin-1": (b'{"photo": "\xe4"}', JSON, 400, "the body is not JSON: "),
    "deep JSON": (b"[" * 100_000, JSON, 400, "the body is not JSON: "),
    "a JSON number": (b"5", JSON, 422, "JSON: expected {"),
    "JSON without a photo": (b"{}", JSON, 422, "JSON: photo is missing"),
    "JSON of another name": (b'{"image": ""}', JSON, 422, "JSON: 'image' is not known"),
    "JSON of an empty list": (b"[]", JSON, 422, "JSON: the list contains no photos"),
    "JSON of many numbers": (b"[1" + b",1" * 10**6 + b"]", JSON, 422, "more than 32 photos"),
    "photo that is a number": (b'{"photo": 5}', JSON, 422, "expected base64 text, got 5"),
    "photos one of which is a list": (
        json.dumps([TEXT, ["a"]]).encode(), JSON, 422, 'photo 2: expected base64 text, got ["a"]'
    ),
    "photo that is nothing": (b'{"photo": ""}', JSON, 422, "empty: it contains no bytes"),
    "rubbish in base64": (
        json.dumps({"photo": TEXT[:40] + "?" + TEXT[41:]}).encode(), JSON, 400, "JSON: not base64: "
    ),
    "base64 that is cut off": (
        json.dumps({"photo": TEXT[:41]}).encode(), JSON, 400, "JSON: not base64: "
    ),
    "another data URL": (b'{"photo": "data:image/png,x"}', JSON, 400, "not of base64"),
    "an address": (b'{"photo": "http://localhost/a.jpg"}', JSON, 400, "JSON: not base64"),
    "base64 of text": (b'{"photo": "d29yZHMgYW5k"}', JSON, 415, "not a photo but text"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_bodies(before: str, fake: FakeTriton, name: str) -> None:
    body, headers, status, words = BODIES[name]
    sent = len(fake.received)
    assert words in problem(post(before, body, headers=headers), status)
    assert len(fake.received) == sent


@pytest.mark.parametrize("name", ["jpeg", "png"])
def test_photo_that_is_cut_off(url: str, name: str) -> None:
    photo = encode(picture(), name)
    assert "truncated " in problem(post(url, photo[: len(photo) // 2]), 422)
    assert post(url).status_code == 200


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("scale=2", "scale: not a parameter of this call"),
        ("min_score=2", "min_score: Input should be less than or equal to 1, got '2'"),
        ("min_score=x", "min_score: Input should be a valid number"),
        ("min_score=nan", "min_score: Input should be a finite number"),
        ("min_score=", "min_score: "),
        ("min_size=-1", "min_size: Input should be greater than or equal to 0"),
        ("draw=2", "draw: "),
        ("draw=yes", "draw: "),
        ("model=facemask_ensemble", "model: Input should be 'faces' or 'facenet_ensemble'"),
        ("tiles=1", "tiles: expected off, auto or a number from 2 to 64, got '1'"),
        ("rotations=45", "rotations: expected off, auto, or some of 90, 180, 270"),
        ("boxes=1,2,3,4", "boxes: not a parameter of this call"),
    ],
)
def test_parameters_of_faces(before: str, query: str, words: str) -> None:
    assert words in problem(requests.post(f"{before}/v1/faces?{query}", PHOTO, timeout=30), 422)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ("", "boxes: expected left,top,right,bottom;..."),
        ("1,2,3", "boxes: expected left,top,right,bottom;..."),
        ("1,2,3,x", "boxes: expected left,top,right,bottom;..."),
        ("1,2,3,4;", "boxes: expected left,top,right,bottom;..."),
        ("10,10,5,20", "box 1 of 1 (10, 10, 5, 20) is empty or inverted"),
        ("nan,1,2,3", "box 1 of 1 (nan, 1, 2, 3) is not finite"),
        (";".join(["1,2,3,4"] * 1025), "1,025 boxes; the limit of one photo is 1,024"),
    ],
)
def test_boxes_of_landmarks(before: str, boxes: str, words: str) -> None:
    assert words in problem(post(before, call=f"landmarks?boxes={boxes}"), 422)


def test_box_outside_the_photo(url: str) -> None:
    answer = post(url, call="landmarks", params={"boxes": "1000,1000,1100,1100"})
    assert "outside" in problem(answer, 422)


def test_boxes_are_of_one_photo(before: str) -> None:
    files = [("photo", PHOTO)] * 2
    answer = post(before, None, "landmarks", params={"boxes": "1,2,3,4"}, files=files)
    assert problem(answer, 422) == "boxes are of one photo, got 2"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_other_methods(before: str, method: str) -> None:
    answer = requests.request(method, f"{before}/v1/faces", timeout=30)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert bool(answer.content) == (method != "HEAD")


def test_unknown_path(before: str) -> None:
    problem(requests.get(f"{before}/v1/nothing", timeout=30), 404)


@pytest.mark.parametrize(
    ("code", "text", "status", "words"),
    [
        (
            grpc.StatusCode.NOT_FOUND,
            "Request for unknown model: 'faces' is not found",
            404,
            "faces",
        ),
        (grpc.StatusCode.UNAVAILABLE, "busy", 503, "try again"),
        (grpc.StatusCode.INVALID_ARGUMENT, "photo 1 of 1: it is broken", 422, "it is broken"),
        (grpc.StatusCode.INTERNAL, "oops", 502, "oops"),
    ],
)
def test_errors_of_the_server(
    before: str, answering: FakeTriton, code: grpc.StatusCode, text: str, status: int, words: str
) -> None:
    answering.answer = failing(code, text)
    answer = post(before)
    assert words in problem(answer, status)
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_server_that_is_too_slow(before: str, answering: FakeTriton) -> None:
    answering.answer = slow(5)
    assert "within 1 s" in problem(post(before), 504)


def test_answer_that_breaks_the_contract(before: str, answering: FakeTriton) -> None:
    answering.answer = lambda *_: {"boxes": faces_answer()["boxes"]}
    assert "`scores` is missing" in problem(post(before), 502)


def test_no_server_is_there() -> None:
    with gateway("--url", "127.0.0.1:9") as address:
        answer = post(address)
        problem(answer, 503)
        assert int(answer.headers["Retry-After"]) >= 1
        state = requests.get(f"{address}/v1/status", timeout=30).json()
        assert state["servers"] == [{"url": "1", "ready": False, "triton": "", "models": []}]
        assert state["refused"] == {"server away": 1}


def test_caller_that_goes_away_ends_its_calls(before: str, answering: FakeTriton) -> None:
    ended = threading.Event()

    def wait(model: str, inputs: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        return slow(5)(model, inputs, context)

    answering.answer = wait
    host, port = before.removeprefix("http://").split(":")
    head = f"POST /v1/faces HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PHOTO)}\r\n\r\n"
    sent = len(answering.received)
    with socket.create_connection((host, int(port)), timeout=30) as caller:
        caller.sendall(head.encode() + PHOTO)
        end = time.monotonic() + 30
        while len(answering.received) == sent:
            assert time.monotonic() < end
            time.sleep(0.01)
    # The gateway's own limit is one second.
    assert ended.wait(0.9)


def test_photos_of_one_request_are_sent_a_few_at_a_time(before: str, answering: FakeTriton) -> None:
    answering.answer, answering.most_at_once = slow(0.1), 0
    answer = post(before, None, files=[("photo", PHOTO)] * 32)
    assert len(answer.json()["results"]) == 32
    assert 1 < answering.most_at_once <= 8


def test_tokens_and_rates(fake: FakeTriton, tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    token = new_token(path, "ann")
    options = ("--tokens", str(path), "--rate", "1", "--cors", "https://site.example")
    with gateway("--url", fake.url, *options) as address:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = post(address, headers={"Origin": "https://site.example", **headers})
            assert "Authorization: Bearer TOKEN" in problem(answer, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Access-Control-Allow-Origin"] == "https://site.example"
        other = post(address, headers={"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
        answers = [post(address, headers={"Authorization": f"Bearer {token}"}) for _ in range(5)]
        assert answers[0].status_code == 200
        refused = next(each for each in answers if each.status_code != 200)
        problem(refused, 429)
        assert int(refused.headers["Retry-After"]) >= 1
        assert requests.get(f"{address}/v1/status", timeout=30).status_code == 401
        description = requests.get(f"{address}/openapi.json", timeout=30).json()
        assert description["paths"]["/v1/faces"]["post"]["security"] == [{"token": []}]
        scheme = {"type": "http", "scheme": "bearer"}
        assert description["components"]["securitySchemes"] == {"token": scheme}

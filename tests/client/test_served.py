"""The clients against the real embedded server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import facekit
from facekit import (
    AsyncClient,
    BoxError,
    Client,
    FacekitError,
    Faces,
    ModelMissingError,
    PhotoError,
    ServerUnavailableError,
)
from facekit.cli import main
from facekit.client.calls import Call, detect_call
from facekit.data import probe_photo
from facekit.draw import open_upright
from facekit.serving.embedded import EmbeddedServer
from tests.photo_files import bad_photos

ROOT = Path(facekit.__file__).parents[1]
# The face of the probe photo: eyes, nose and mouth lie inside it.
FACE_XYXY = (125, 75, 228, 182)
LEFT_EYE_XY, RIGHT_EYE_XY = (197, 103), (152, 101)


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.grpc_url, timeout_s=60) as client:
        yield client


def overlap(a: np.ndarray, b: tuple[int, ...]) -> float:
    """Return the intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def test_detect_finds_the_face_of_the_probe_photo(client: Client) -> None:
    faces = client.detect(probe_photo())
    assert faces.size_wh == (360, 300)
    assert np.all(np.diff(faces.scores) <= 0)
    best = faces[0]
    assert overlap(best.box_xyxy, FACE_XYXY) > 0.5
    assert best.part("left_eye").mean(axis=0) == pytest.approx(LEFT_EYE_XY, abs=8)
    assert best.part("right_eye").mean(axis=0) == pytest.approx(RIGHT_EYE_XY, abs=8)
    assert abs(best.rotation_deg) < 12
    assert best.center_xy == pytest.approx((174.5, 102), abs=8)


def test_detect_photo_with_no_face_is_empty_with_the_same_point_count(client: Client) -> None:
    gray = np.full((120, 200), 127, np.uint8)
    faces = client.detect(gray)
    assert len(faces) == 0 and faces.size_wh == (200, 120)
    assert faces.points_xy.shape[1] == client.detect(probe_photo()).points_xy.shape[1]


def test_detect_bytes_path_and_pixels_give_the_same_faces(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(probe_photo())
    encoded = client.detect(probe_photo())
    assert client.detect(path) == encoded == client.detect(bytearray(probe_photo()))
    # Pillow and DALI round colors a little differently.
    pixels = client.detect(np.asarray(open_upright(probe_photo())))
    assert pixels.size_wh == encoded.size_wh
    assert np.allclose(pixels.boxes_xyxy[0], encoded.boxes_xyxy[0], atol=1.5)
    assert np.allclose(pixels.points_xy[0], encoded.points_xy[0], atol=1.5)


def test_detect_large_array_of_pixels_is_sent_losslessly(client: Client) -> None:
    photo = np.asarray(open_upright(probe_photo()))
    large = np.full((3600, 3600, 3), 127, np.uint8)  # Over the limit on bytes as a BMP.
    large[:300, :360] = photo
    assert client.detect(large).size_wh == (3600, 3600)


def test_landmarks_of_detected_boxes_are_the_detected_landmarks(client: Client) -> None:
    faces = client.detect(probe_photo())
    points, scores = client.landmarks(probe_photo(), faces.boxes_xyxy)
    assert np.allclose(points, faces.points_xy, atol=1e-2)
    assert np.allclose(scores, faces.point_scores, atol=1e-4)


@pytest.mark.parametrize("name", bad_photos())
def test_bad_photo_is_a_photo_error_and_the_next_photo_works(client: Client, name: str) -> None:
    photo, _ = bad_photos()[name]
    with pytest.raises(PhotoError):
        client.detect(photo)
    with pytest.raises(PhotoError):
        client.landmarks(photo, [[10, 10, 60, 60]])
    assert len(client.detect(probe_photo())) >= 1


def test_box_outside_the_photo_is_a_box_error(client: Client) -> None:
    with pytest.raises(BoxError, match=r"box 2 of 2"):
        client.landmarks(probe_photo(), [[10, 10, 60, 60], [900, 900, 990, 990]])


def test_unknown_model_is_a_model_missing_error(client: Client) -> None:
    call = detect_call(np.frombuffer(probe_photo(), np.uint8))
    with pytest.raises(ModelMissingError, match="does not serve the model 'nothing'"):
        client._run(Call("nothing", call.inputs, call.read))


def test_http_port_in_place_of_grpcs_is_guessed(server: EmbeddedServer) -> None:
    with (
        Client(server.http_url, timeout_s=10) as client,
        pytest.raises(ServerUnavailableError, match="is this the HTTP port"),
    ):
        client.detect(probe_photo())


def test_detect_many_gives_one_result_a_photo_in_order(client: Client) -> None:
    expected = client.detect(probe_photo())
    text = b"text and no photo"
    photos = [text if n % 10 == 3 else probe_photo() for n in range(40)]
    results = list(client.detect_many(photos, concurrency=8))
    assert len(results) == 40
    for number, result in enumerate(results):
        if number % 10 == 3:
            assert isinstance(result, PhotoError) and "not a photo but text" in str(result)
        else:
            assert isinstance(result, Faces)
            assert np.allclose(result.boxes_xyxy, expected.boxes_xyxy, atol=1e-2)


def test_async_client_gives_the_same_faces(server: EmbeddedServer, client: Client) -> None:
    async def work() -> list[Faces | FacekitError]:
        async with AsyncClient(server.grpc_url, timeout_s=60) as twin:
            assert await twin.server_ready()
            many = twin.detect_many([probe_photo(), b"", probe_photo()], concurrency=2)
            return [await twin.detect(probe_photo()), *[result async for result in many]]

    single, first, error, second = asyncio.run(work())
    expected = client.detect(probe_photo())
    for result in (single, first, second):
        assert isinstance(result, Faces)
        assert np.allclose(result.boxes_xyxy, expected.boxes_xyxy, atol=1e-2)
        assert np.allclose(result.points_xy, expected.points_xy, atol=1e-2)
    assert isinstance(error, PhotoError)


def test_command_line_detects_draws_and_writes(
    server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(probe_photo())
    argv = ["detect", str(photo), "--url", server.grpc_url, "--draw", str(tmp_path / "out")]
    assert main([*argv, "--json", str(tmp_path / "faces.json")]) == 0
    assert "360x300" in capsys.readouterr().out
    assert (tmp_path / "out" / "photo.faces.jpg").stat().st_size > 10_000
    [entry] = json.loads((tmp_path / "faces.json").read_text("utf-8"))["photos"]
    assert overlap(np.array(entry["faces"][0]["box_xyxy"]), FACE_XYXY) > 0.5


def test_command_line_without_a_server_starts_one_and_leaves_nothing(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(probe_photo())
    done = subprocess.run(
        [sys.executable, "-m", "facekit.cli", "detect", "photo.jpg", "missing.jpg", "--json", "-"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    good, bad = map(json.loads, done.stdout.splitlines())
    assert overlap(np.array(good["faces"][0]["box_xyxy"]), FACE_XYXY) > 0.5
    assert "No such file" in bad["error"]["message"]
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]

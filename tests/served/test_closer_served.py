"""Panoramas, mosaics and turned photos of faces, served: found in tiles and after turning."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from facekit import Client, Faces
from facekit.data.portraits import line_up
from facekit.photos.frames import network_frames
from facekit.serving.embedded import EmbeddedServer
from tests.photo_files import encode, picture
from tests.served.conftest import Call
from tests.triton import batch

# The middle of the face in the two portraits of `line_up`.
MIDDLES = np.array([(0.49, 0.35), (0.52, 0.56)])


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.grpc_url, timeout_s=60) as opened:
        yield opened


def wall(*shape: int) -> tuple[Image.Image, np.ndarray]:
    """Portraits beside each other, and for each x and y of the face's middle and its reach."""
    photo, squares = line_up(*shape)
    left, top, side = np.array(squares).T
    number = np.arange(len(squares))
    x, y = MIDDLES[number % 2].T
    x = np.where(number // 2 % 2, 1 - x, x)
    return photo, np.stack([left + x * side, top + y * side, 0.12 * side], axis=1)


def jpeg(photo: Image.Image) -> bytes:
    return encode(photo, "JPEG", quality=92)


def hits(found: Faces, faces: np.ndarray) -> int:
    """How many faces have a box whose middle is theirs."""
    middle = found.boxes_xyxy.reshape(-1, 2, 2).mean(axis=1)
    near = np.hypot(*(middle[:, None] - faces[None, :, :2]).transpose(2, 0, 1)) < faces[:, 2]
    return int(near.any(axis=0).sum())


@pytest.mark.parametrize(
    ("shape", "plain_most", "least"),
    [((12, 1, 300, 900), 12, 12), ((18, 1, 240), 12, 18), ((3, 8, 250), 22, 24),
     ((16, 12, 240), 185, 186)],
    ids=["panorama 4:1", "panorama 18:1", "upright strip", "mosaic of 192"],
)  # fmt: skip
def test_tiles_find_the_faces_of_a_photo_that_one_frame_can_t_show(
    client: Client, shape: tuple[int, ...], plain_most: int, least: int
) -> None:
    photo, faces = wall(*shape)
    data = jpeg(photo)
    plain = client.detect(data)
    assert hits(plain, faces) <= plain_most
    assert any("can't be seen at this size" in note for note in plain.notes)
    closer = client.detect(data, tiles="auto")
    assert hits(closer, faces) >= least
    assert len(closer) < 1.5 * len(faces)
    # Landmarks are inside the boxes of those faces.
    middle = closer.points_xy.mean(axis=1)
    inside = (middle > closer.boxes_xyxy[:, :2]) & (middle < closer.boxes_xyxy[:, 2:])
    assert inside.all(axis=1).mean() > 0.95
    boxes = client.detect(data, tiles="auto", model="facenet_ensemble")
    np.testing.assert_array_equal(boxes.boxes_xyxy, closer.boxes_xyxy)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turned_photo_gives_the_faces_of_the_upright_one_at_their_places(
    client: Client, rotation: int
) -> None:
    photo, faces = wall(4, 3, 300)
    turned = photo.rotate(-rotation, expand=True)
    width, height = photo.size
    x, y, reach = faces.T
    x, y = {90: (height - y, x), 180: (width - x, height - y), 270: (y, width - x)}[rotation]
    places = np.stack([x, y, reach], axis=1)
    assert hits(client.detect(jpeg(turned)), places) < 9
    for how in ("auto", rotation):
        found = client.detect(jpeg(turned), rotations=how)
        assert hits(found, places) == 12
        difference = (found.rotations_deg - rotation + 180) % 360 - 180
        assert np.median(np.abs(difference)) < 10


def test_an_upright_photo_with_large_faces_is_found_as_without(client: Client) -> None:
    photo, _ = wall(2, 1, 600)
    plain = client.detect(jpeg(photo))
    assert client.detect(jpeg(photo), tiles="auto", rotations="auto") == plain
    assert len(plain) >= 2


def test_whole_frame_is_the_one_that_dali_makes(call: Call) -> None:
    photo = picture((1300, 800)).convert("L")
    answer = call(
        "facenet_preprocess",
        {"photo": batch([encode(photo, "PPM")]), "orientation": np.ones((1, 1), np.int32)},
    )
    ours = network_frames(np.asarray(photo), np.array([[0, 0, 1300, 800]]), (1300, 800))
    np.testing.assert_allclose(ours, answer["input_1"], atol=1.51 / 255)


def ask(server: EmbeddedServer, data: bytes, **parameters: object) -> triton.InferResult:
    tensor = triton.InferInput("image", [1, len(data)], "UINT8")
    tensor.set_data_from_numpy(np.frombuffer(data, np.uint8)[None])
    with triton.InferenceServerClient(server.grpc_url) as opened:
        return opened.infer("faces", [tensor], parameters=parameters)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"tiles": "x"}, "tiles: expected off, auto or a number from 2 to 64, got 'x'"),
        ({"tiles": 1000}, "got '1000'"),
        ({"rotations": "90,45"}, "rotations: expected off, auto, or some of"),
    ],
)
def test_wrong_parameter_is_an_error_of_that_request(
    server: EmbeddedServer, parameters: dict[str, object], text: str
) -> None:
    data = jpeg(picture((800, 600)))
    with pytest.raises(InferenceServerException, match=text) as caught:
        ask(server, data, **parameters)
    assert "INVALID_ARGUMENT" in str(caught.value.status())
    assert ask(server, data, tiles=4).as_numpy("count").shape == (1, 1)


@pytest.mark.parametrize("size_wh", [(1, 30_000), (30_000, 2), (8000, 8000)])
def test_hostile_size_costs_a_bounded_number_of_tiles(
    server: EmbeddedServer, size_wh: tuple[int, int]
) -> None:
    stream = io.BytesIO()
    Image.new("L", size_wh, 128).save(stream, "JPEG")

    def frames() -> int:
        with triton.InferenceServerClient(server.grpc_url) as opened:
            (stats,) = opened.get_inference_statistics("facenet").model_stats
            return int(stats.inference_count)

    before = frames()
    answer = ask(server, stream.getvalue(), tiles=16, rotations="180")
    assert answer.as_numpy("count").tolist() == [[0]]
    assert frames() - before <= 2 + 2 * 16

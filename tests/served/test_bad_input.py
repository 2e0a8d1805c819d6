"""Bad input through the real server: a clear error for that request alone."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from PIL import Image
from tritonclient.utils import InferenceServerException

from facekit.data import probe_photo
from facekit.serving.embedded import EmbeddedServer
from tests.photo_files import bad_photos, encode, picture
from tests.served.conftest import Call
from tests.triton import batch, infer

BAD = bad_photos()
BOX = np.array([[20, 20, 120, 140]], np.int32)


def inputs_with(model: str, photo: bytes) -> dict[str, np.ndarray]:
    encoded = batch([photo])
    if model == "facenet_ensemble":
        return {"input_image_data": encoded}
    if model == "fpenet_ensemble":
        return {"raw_image_data": encoded, "true_boxes": BOX}
    if model == "landmarks":
        return {"image": encoded, "boxes": BOX[None].astype(np.float32)}
    return {"image": encoded}


@pytest.mark.parametrize("model", ["facenet_ensemble", "fpenet_ensemble", "faces", "landmarks"])
@pytest.mark.parametrize("name", BAD)
def test_bad_photo_is_refused_with_its_reason(call: Call, model: str, name: str) -> None:
    photo, message = BAD[name]
    with pytest.raises(InferenceServerException, match=message) as caught:
        call(model, inputs_with(model, photo))
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "photo 1 of 1: " in caught.value.message()
    assert call(model, inputs_with(model, probe_photo()))


def refused_requests(server: EmbeddedServer) -> int:
    with urllib.request.urlopen(server.metrics_url) as page:
        text = page.read().decode()
    counted = re.search(r'^facekit_request_failure{reason="INVALID_ARGUMENT"} (\d+)', text, re.M)
    return int(counted[1]) if counted else 0


def test_refused_photos_are_counted_on_the_metrics_page(call: Call, server: EmbeddedServer) -> None:
    before = refused_requests(server)
    for model in ("faces", "facenet_ensemble"):
        with pytest.raises(InferenceServerException):
            call(model, inputs_with(model, b"words"))
    assert refused_requests(server) == before + 2


def test_bad_photo_in_a_batch_is_named(call: Call) -> None:
    photos = [probe_photo(), BAD["gif"][0], probe_photo()]
    with pytest.raises(InferenceServerException, match="photo 2 of 3: not a photo but"):
        call("faces", {"image": batch(photos)})


def test_too_many_pixels_in_one_request(call: Call) -> None:
    large = encode(Image.new("L", (7000, 7000)), "JPEG", quality=30)
    text = "photo 11 of 11: with it the request holds more than 512,000,000 pixels: send the photos"
    with pytest.raises(InferenceServerException, match=text):
        call("facenet_ensemble", {"input_image_data": batch([large] * 11)})
    boxes = np.tile(np.array([[0, 0, 90, 90]], "i4"), (5, 1))
    with pytest.raises(InferenceServerException, match="photo 5 of 5: .* more than 200,000,000"):
        call("fpenet_ensemble", {"raw_image_data": batch([large] * 5), "true_boxes": boxes})


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (
            (120, 20, 20, 140),
            r"photo 1 of 1: box 1 of 1 \(120, 20, 20, 140\) is empty or inverted",
        ),
        ((9000, 0, 9100, 100), "lies outside the photo of"),
        ((-90, -90, -10, -10), "lies outside the photo of"),
        ((-2_000_000_000, -5, 2_000_000_000, 5), "is more than 8 times as large as the photo"),
    ],
)
def test_bad_box_is_refused(call: Call, boxes: tuple[int, ...], message: str) -> None:
    photo = batch([probe_photo()])
    with pytest.raises(InferenceServerException, match=message):
        call("fpenet_ensemble", {"raw_image_data": photo, "true_boxes": np.array([boxes], "i4")})
    with pytest.raises(InferenceServerException, match=message):
        call("landmarks", {"image": photo, "boxes": np.array([[boxes]], "f4")})


def test_nan_box_and_10_000_boxes_are_refused(call: Call) -> None:
    photo = batch([probe_photo()])
    boxes = np.tile(BOX.astype(np.float32), (1, 10_000, 1))
    with pytest.raises(InferenceServerException, match="10,000 boxes in `boxes`; the limit of one"):
        call("landmarks", {"image": photo, "boxes": boxes})
    with pytest.raises(InferenceServerException, match="box 2 of 2 .* is not finite"):
        boxes = np.array([[BOX[0], [0, 0, np.nan, 5]]], np.float32)
        call("landmarks", {"image": photo, "boxes": boxes})
    with pytest.raises(InferenceServerException, match="batch-size must be <= 32"):
        call(
            "fpenet_ensemble",
            {
                "raw_image_data": np.tile(photo[:, :10], (10_000, 1)),
                "true_boxes": np.tile(BOX, (10_000, 1)),
            },
        )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 50), np.float32), "data-type is 'FP32', but model 'faces' expects 'UINT8'"),
        (np.zeros((1, 2, 50), np.uint8), "unexpected shape for input 'image'"),
        (np.zeros((33, 50), np.uint8), "batch-size must be <= 32"),
    ],
)
def test_wrong_dtype_or_shape_is_refused(call: Call, array: np.ndarray, message: str) -> None:
    with pytest.raises(InferenceServerException, match=message):
        call("faces", {"image": array})


def test_postprocess_refuses_a_photo_without_size(call: Call) -> None:
    with pytest.raises(InferenceServerException, match="height and width start at 1"):
        call(
            "facenet_postprocess",
            {
                "output_bbox/BiasAdd": np.ones((1, 4, 26, 46), np.float32),
                "output_cov/Sigmoid": np.ones((1, 1, 26, 46), np.float32),
                "true_image_size": np.array([[0, 200, 3]]),
            },
        )


def test_dali_steps_isolate_what_only_a_decoder_can_tell(call: Call) -> None:
    # Handed to the step itself, past the photo check: the backend must survive it.
    one = {"orientation": np.array([[1]], np.int32)}
    for _ in range(3):
        with pytest.raises(InferenceServerException):
            call("facenet_preprocess", {"photo": batch([b"not a photo at all"]), **one})
        good = call("facenet_preprocess", {"photo": batch([probe_photo()]), **one})
        assert good["input_1"].shape == (1, 3, 416, 736)


def test_mixed_load_only_the_bad_requests_fail(server: EmbeddedServer) -> None:
    """1,000 requests, 16 at a time, one in ten bad: exactly those fail."""
    good = [
        (encode(picture((width, height)), file_format), (height, width))
        for width, height, file_format in [
            (200, 150, "PNG"),
            (400, 300, "JPEG"),
            (250, 360, "JPEG"),
        ]
    ]
    bad = [photo for photo, _ in BAD.values()]
    models = ["facenet_ensemble", "fpenet_ensemble", "faces", "landmarks"]
    client = grpcclient.InferenceServerClient(server.grpc_url)

    def ask(i: int) -> str | None:
        """Send one request; return its error, or None after checking its answer."""
        # Every model gets its turn of the bad photos, too.
        model = models[(i + i // 10) % 4]
        if i % 10 == 0:
            photo, size = bad[i // 10 % len(bad)], None
        else:
            photo, size = good[i % len(good)]
        try:
            answer = infer(client, grpcclient, model, inputs_with(model, photo))
        except InferenceServerException as e:
            assert e.status() == "StatusCode.INVALID_ARGUMENT", e
            return str(e)
        if model == "fpenet_ensemble":
            assert answer.as_numpy("keypoints").shape == (1, 68, 2)
        else:
            name = "true_image_size" if model == "facenet_ensemble" else "image_size"
            assert tuple(answer.as_numpy(name)[0, :2]) == size
        return None

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(1000)))
    client.close()
    messages = [message for _, message in BAD.values()]
    for i, error in enumerate(answers):
        if i % 10:
            assert error is None, f"good request {i} failed"
        else:
            assert error is not None, f"bad request {i} was accepted"
            assert re.search(messages[i // 10 % len(bad)], error)
    with urllib.request.urlopen(f"http://{server.http_url}/v2/health/ready") as answer:
        assert answer.status == 200


def test_one_large_photo_among_small_ones_is_not_padded_into_a_bomb(call: Call) -> None:
    large = encode(Image.new("RGB", (7000, 7000)), "PNG")
    photos = batch([large] + [encode(picture(), "JPEG")] * 15)
    with pytest.raises(InferenceServerException, match="padded to the largest of them they take"):
        call("facenet_ensemble", {"input_image_data": photos})


def test_empty_tensor_is_an_empty_photo(call: Call) -> None:
    with pytest.raises(InferenceServerException, match="photo 1 of 1: empty"):
        call("faces", {"image": np.empty((1, 0), np.uint8)})


def test_facenet_resized_blames_the_caller_for_a_photo_without_size(call: Call) -> None:
    inputs = {
        "input_1": np.zeros((1, 3, 416, 736), np.float32),
        "true_image_size": np.array([[0, 200, 3]]),
    }
    with pytest.raises(InferenceServerException, match="height and width start at 1") as caught:
        call("facenet_resized", inputs)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_http_error_is_json_with_the_reason(server: EmbeddedServer) -> None:
    body = {
        "inputs": [{"name": "image", "shape": [1, 4], "datatype": "UINT8", "data": [1, 2, 3, 4]}]
    }
    request = urllib.request.Request(
        f"http://{server.http_url}/v2/models/faces/infer", json.dumps(body).encode()
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as error:
        assert error.code == 400
        assert "no known photo format" in json.load(error)["error"]

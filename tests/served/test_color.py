"""The color setting, served: what ``facekit serve --color rgb`` starts."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from PIL import Image

from facekit.data import probe_photo
from facekit.serving.embedded import EmbeddedServer
from tests.photo_files import encode, picture
from tests.served.conftest import Call
from tests.shared import shared
from tests.triton import batch, infer


@pytest.fixture(scope="module")
def rgb() -> Iterator[grpcclient.InferenceServerClient]:
    with (
        shared(EmbeddedServer(color="rgb")) as server,
        grpcclient.InferenceServerClient(server.grpc_url) as client,
    ):
        yield client


def network_input(planes: Image.Image) -> np.ndarray:
    resized = planes.convert("RGB").resize((736, 416), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32).transpose(2, 0, 1) / 255


def test_gray_is_the_default_and_rgb_keeps_the_colors(
    call: Call, rgb: grpcclient.InferenceServerClient
) -> None:
    photo = {
        "photo": batch([encode(picture(), "JPEG", quality=95)]),
        "orientation": np.ones((1, 1), np.int32),
    }
    gray_planes = call("facenet_preprocess", photo)["input_1"][0]
    rgb_planes = infer(rgb, grpcclient, "facenet_preprocess", photo).as_numpy("input_1")[0]
    np.testing.assert_allclose(gray_planes, network_input(picture().convert("L")), atol=0.03)
    np.testing.assert_allclose(rgb_planes, network_input(picture()), atol=0.03)


@pytest.mark.parametrize(
    ("model", "tensor", "boxes"),
    [("facenet_ensemble", "input_image_data", "true_boxes"), ("faces", "image", "boxes")],
)
def test_both_colors_find_the_face(
    call: Call, rgb: grpcclient.InferenceServerClient, model: str, tensor: str, boxes: str
) -> None:
    photo = {tensor: batch([probe_photo()])}
    ours = call(model, photo)[boxes][0, 0]
    theirs = infer(rgb, grpcclient, model, photo).as_numpy(boxes)[0, 0]
    side = Image.open(io.BytesIO(probe_photo())).width
    np.testing.assert_allclose(ours, theirs, atol=0.05 * side)


def test_mask_network_is_fed_the_photo_s_colors_whatever_facenet_is_fed(
    call: Call, rgb: grpcclient.InferenceServerClient
) -> None:
    photo = {
        "photo": batch([encode(picture(), "JPEG", quality=95)]),
        "orientation": np.ones((1, 1), np.int32),
    }
    ours = call("facemask_preprocess", photo)["input_1"]
    assert np.abs(ours[0, 0] - ours[0, 2]).max() > 0.2
    for model in ("facemask_preprocess", "facenet_preprocess"):
        theirs = infer(rgb, grpcclient, model, photo).as_numpy("input_1")
        np.testing.assert_array_equal(ours, theirs, err_msg=model)

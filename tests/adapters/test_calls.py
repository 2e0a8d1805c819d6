"""The models that call other models: many requests at once, and whose fault an error is."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facekit.contract import MODELS
from facekit.data import probe_photo
from facekit.photos.check import check_photo
from tests.adapters.conftest import Request
from tests.photo_files import encode, picture
from tests.triton import batch

GOOD, BAD = batch([probe_photo(), encode(picture(), "PNG")]), batch([probe_photo(), b"GIF89a"])
PROBE_HW = check_photo(probe_photo()).size_hwc[:2]
BOXES = np.array([[[5, 5, 40, 50], [10, 20, 90, 80]]], np.float32)


@pytest.fixture
def models(pb_utils: SimpleNamespace) -> dict[str, Any]:
    """Stand-ins for the models that are called: two faces in every photo, their scores apart."""

    def preprocess(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert inputs["photo"].shape[0] == inputs["orientation"].shape[0] == 1
        return {
            "input_1": np.zeros((1, 3, 416, 736), np.float32),
            "gray": np.zeros((1, 400, 400), np.uint8),
        }

    def postprocess(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        height, width, _ = inputs["true_image_size"][0].tolist()
        if height < 1:
            raise pb_utils.TritonError("`true_image_size` starts at 1", "INVALID_ARG")
        return {
            "true_boxes": BOXES[:, : 1 if width == 200 else 2],
            "true_proba": np.array([[[0.9], [0.8]]], np.float32)[:, : 1 if width == 200 else 2],
            "true_image_size": inputs["true_image_size"],
            "true_count": np.array([[2]], np.int32),
        }

    def fpenet(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(inputs["input_face_images"])
        assert count <= 32
        return {
            "softargmax": np.full((count, 80, 2), 40, np.float32),
            "softargmax:1": np.full((count, 80), 0.5, np.float32),
        }

    def facenet(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            "output_bbox/BiasAdd": np.zeros((1, 4, 26, 46), np.float32),
            "output_cov/Sigmoid": np.zeros((1, 1, 26, 46), np.float32),
        }

    fakes = {
        "faces_detect": lambda inputs: {**preprocess(inputs), **postprocess(inputs)},
        "photo_gray": preprocess,
        "facenet": facenet,
        "facenet_postprocess": postprocess,
        "fpenet": fpenet,
    }
    pb_utils.InferenceRequest.MODELS.clear()
    pb_utils.InferenceRequest.MODELS.update(fakes)
    return pb_utils.InferenceRequest.MODELS


def execute(module: str, requests: list[dict[str, np.ndarray]], **parameters: str) -> list[Any]:
    model = importlib.import_module(f"facekit.adapters.{module}").TritonPythonModel()
    if hasattr(model, "initialize"):
        config = {"parameters": {key: {"string_value": text} for key, text in parameters.items()}}
        model.initialize({"model_config": json.dumps(config), "model_repository": ""})
    outputs = [tensor.name for tensor in MODELS[module].outputs]
    return asyncio.run(model.execute([Request(one, outputs) for one in requests]))


def test_faces_answers_each_request_and_a_poisoned_one_fails_alone(models: dict[str, Any]) -> None:
    good, bad, again = execute("faces", [{"image": GOOD}, {"image": BAD}, {"image": GOOD}])
    assert str(bad.error) == (
        "photo 2 of 2: not a photo but a GIF; JPEG, PNG, BMP, WebP and TIFF are accepted"
    )
    assert bad.error.code == "INVALID_ARG"
    for response in (good, again):
        assert response.error is None
        # The probe shows two faces here and the other photo one: padded with a zero row.
        assert response.tensors["count"].tolist() == [[2], [1]]
        assert response.tensors["keypoints"].shape == (2, 2, 80, 2)
        assert not response.tensors["keypoints"][1, 1].any()
        # Crop pixel 40 of 80 is the middle of the box.
        np.testing.assert_allclose(response.tensors["keypoints"][0, 1], [[50, 50]] * 80, atol=1e-4)


@functools.cache
def large_photo() -> np.ndarray:
    return batch([encode(picture((4032, 3024)), "JPEG")])


@pytest.mark.parametrize(
    ("side", "asked_again"),
    [(250, None), (150, b"\xff\xd8")],
    ids=["large faces", "faces for the photo itself"],
)
def test_faces_takes_landmarks_from_a_picture_that_is_large_enough(
    models: dict[str, Any], side: int, asked_again: bytes | None
) -> None:
    box = np.array([[[1000, 800, 1000 + side, 800 + side]]], np.float32)
    asked: dict[str, bytes] = {}

    def detect(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked["detect"] = inputs["photo"].tobytes()
        proba = np.array([[[0.9]]], np.float32)
        return {"gray": np.zeros((1, 1512, 2016), "u1"), "true_boxes": box, "true_proba": proba}

    def decode(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked["gray"] = inputs["photo"].tobytes()
        return {"gray": np.zeros((1, 3024, 4032), np.uint8)}

    models.update(faces_detect=detect, photo_gray=decode)
    (response,) = execute("faces", [{"image": large_photo()}], reduced_decode="gray")
    assert asked["detect"].startswith(b"P5\n2016 1512\n")
    assert asked.get("gray", b"").startswith(asked_again or b"")
    assert ("gray" in asked) == (asked_again is not None)
    # Crop pixel 40 of 80 is the middle of the box, in pixels of the photo.
    middle = [1000 + side / 2, 800 + side / 2]
    np.testing.assert_allclose(response.tensors["keypoints"][0, 0], [middle] * 80, atol=1e-2)
    assert response.tensors["image_size"].tolist() == [[3024, 4032, 3]]


def test_landmarks_of_large_faces_come_from_a_smaller_picture(models: dict[str, Any]) -> None:
    asked = []

    def decode(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked.append(inputs["photo"].tobytes()[:2])
        return {"gray": np.zeros((1, 756, 1008) if asked[-1] == b"P5" else (1, 3024, 4032), "u1")}

    models["photo_gray"] = decode
    boxes = np.array([[[1000, 800, 1500, 1300]]], np.float32)
    request = {"image": large_photo(), "boxes": boxes}
    for parameters in ({"reduced_decode": "gray"}, {}):
        (response,) = execute("landmarks", [request], **parameters)
        np.testing.assert_allclose(response.tensors["keypoints"][0, 0, 0], [1250, 1050], atol=1e-2)
    assert asked == [b"P5", b"\xff\xd8"]


def test_faces_without_a_face_asks_fpenet_once_for_its_points(models: dict[str, Any]) -> None:
    empty = {"true_boxes": np.empty((1, 0, 4), np.float32), "true_proba": np.empty((1, 0, 1), "f")}
    gray = {"gray": np.zeros((1, 400, 400), np.uint8)}
    models["faces_detect"] = lambda inputs: {**gray, **empty}
    (response,) = execute("faces", [{"image": GOOD}])
    assert response.tensors["boxes"].shape == (2, 0, 4)
    assert response.tensors["keypoints"].shape == (2, 0, 80, 2)


@pytest.mark.parametrize(
    ("text", "code", "told", "told_code"),
    [
        ("no such pixels", "INVALID_ARG", "photo 1 of 2: no such pixels", "INVALID_ARG"),
        (
            "Stub process 'fpenet_0_0' is not healthy.",
            "INTERNAL",
            "fpenet: its backend has died; try again",
            "UNAVAILABLE",
        ),
        ("out of memory", "INTERNAL", "fpenet: out of memory", "INTERNAL"),
    ],
)
def test_faces_says_whose_fault_an_error_is(
    models: dict[str, Any],
    pb_utils: SimpleNamespace,
    text: str,
    code: str,
    told: str,
    told_code: str,
) -> None:
    def fail(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise pb_utils.TritonError(text, code)

    models["fpenet"] = fail
    (response,) = execute("faces", [{"image": GOOD}])
    assert (str(response.error), response.error.code) == (told, told_code)


@pytest.mark.parametrize("failures", [2, 3])
def test_photo_that_failed_among_others_is_asked_for_again(
    models: dict[str, Any], pb_utils: SimpleNamespace, failures: int
) -> None:
    detect, asked = models["faces_detect"], []

    def fail_first(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked.append(inputs)
        if len(asked) <= failures:
            raise pb_utils.TritonError("a batch with a photo of somebody else failed", "INTERNAL")
        return detect(inputs)

    models["faces_detect"] = fail_first
    (response,) = execute("faces", [{"image": GOOD[:1]}])
    assert (response.error is None) == (failures == 2)
    assert len(asked) == 3
    # Merged with others it is padded to its own size, and not to theirs.
    assert [one["orientation"].tolist() for one in asked] == [[[1, *PROBE_HW]]] * 3


def test_photo_that_dali_can_not_decode_is_asked_for_once(
    models: dict[str, Any], pb_utils: SimpleNamespace
) -> None:
    asked = []

    def fail(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked.append(inputs)
        text = "in ensemble 'faces_detect', photo 1 of 1 in `photo` cannot be decoded: damaged"
        raise pb_utils.TritonError(text, "INTERNAL")

    models["faces_detect"] = fail
    (response,) = execute("faces", [{"image": GOOD[:1]}])
    assert str(response.error) == "photo 1 of 1: it cannot be decoded: damaged"
    assert response.error.code == "INVALID_ARG"
    assert len(asked) == 1


def test_landmarks_of_a_box_at_the_last_pixel_of_a_photo_that_is_reduced(
    models: dict[str, Any],
) -> None:
    models["photo_gray"] = lambda inputs: {"gray": np.zeros((1, 750, 1000), np.uint8)}
    image = batch([encode(picture((4001, 3001)), "JPEG")])
    boxes = np.array([[[4000.5, 2000, 4500, 2400]]], np.float32)
    (response,) = execute("landmarks", [{"image": image, "boxes": boxes}], reduced_decode="gray")
    assert response.error is None
    np.testing.assert_allclose(response.tensors["keypoints"][0, 0, 0], [4250.25, 2200], atol=0.1)


def test_landmarks_names_photo_and_box(models: dict[str, Any]) -> None:
    photo = GOOD[:1]
    inverted = BOXES[:, :, ::-1].copy()
    many = np.repeat(BOXES, 600, axis=1)
    good, bad, over, large = execute(
        "landmarks",
        [
            {"image": photo, "boxes": BOXES},
            {"image": photo, "boxes": inverted},
            {"image": photo, "boxes": many},
            {"image": photo, "boxes": np.repeat(BOXES, 20, axis=1)},
        ],
    )
    assert good.tensors["keypoints"].shape == (1, 2, 80, 2)
    assert large.tensors["keypoints"].shape == (1, 40, 80, 2)  # more than one FPENet batch
    assert str(bad.error).startswith("photo 1 of 1: box 1 of 2 (50, 40, 5, 5) is empty or inver")
    assert "1,200 boxes in `boxes`; the limit of one photo is 1,024" in str(over.error)
    assert bad.error.code == over.error.code == "INVALID_ARG"


def test_facenet_resized_hands_on_and_blames_the_caller(models: dict[str, Any]) -> None:
    network_input = np.zeros((1, 3, 416, 736), np.float32)
    good, bad = execute(
        "facenet_resized",
        [
            {"input_1": network_input, "true_image_size": np.array([[300, 400, 3]])},
            {"input_1": network_input, "true_image_size": np.array([[0, 400, 3]])},
        ],
    )
    assert good.tensors["true_boxes"].shape == (1, 2, 4)
    assert bad.error.code == "INVALID_ARG"

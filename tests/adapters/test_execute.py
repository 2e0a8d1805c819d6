"""R requests in one ``execute`` give R responses, and a poisoned one fails alone."""

from __future__ import annotations

import asyncio
import importlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekit.contract import MODELS
from facekit.data import probe_photo
from facekit.errors import ConfigError
from tests.adapters.conftest import Request
from tests.photo_files import encode, picture
from tests.triton import batch

GOOD_PHOTO = batch([probe_photo(), encode(picture(), "PNG")])
GRAY = np.zeros((1, 60, 80), np.uint8)
SIZE = np.array([[60, 80, 1]])
CASES: dict[str, tuple[str, dict[str, np.ndarray], dict[str, np.ndarray], str]] = {
    "photo_check": (
        "photo_check",
        {"image": GOOD_PHOTO},
        {"image": batch([probe_photo(), b"GIF89a and so on"])},
        "photo 2 of 2: not a photo but a GIF",
    ),
    "photo_reduce": (
        "photo_reduce",
        {"image": GOOD_PHOTO},
        {"image": batch([probe_photo(), b"GIF89a and so on"])},
        "photo 2 of 2: not a photo but a GIF",
    ),
    "facenet_postprocess": (
        "detection_postprocess",
        {
            "output_bbox/BiasAdd": np.ones((2, 4, 26, 46), np.float32),
            "output_cov/Sigmoid": np.ones((2, 1, 26, 46), np.float32),
            "true_image_size": np.repeat(SIZE, 2, axis=0),
        },
        {
            "output_bbox/BiasAdd": np.ones((1, 4, 26, 46), np.float32),
            "output_cov/Sigmoid": np.ones((1, 1, 26, 46), np.float32),
            "true_image_size": np.array([[-1, 80, 1]]),
        },
        "height and width start at 1",
    ),
    "facemask_postprocess": (
        "detection_postprocess",
        {
            "output_bbox/BiasAdd": np.ones((2, 8, 26, 46), np.float32),
            "output_cov/Sigmoid": np.ones((2, 2, 26, 46), np.float32),
            "true_image_size": np.repeat(SIZE, 2, axis=0),
        },
        {
            "output_bbox/BiasAdd": np.ones((1, 8, 26, 46), np.float32),
            "output_cov/Sigmoid": np.full((1, 2, 26, 46), np.nan, np.float32),
            "true_image_size": SIZE,
        },
        "`output_cov/Sigmoid` contains NaN or infinity",
    ),
    "fpenet_preprocess": (
        "face_crops",
        {"gray": GRAY, "true_image_size": SIZE, "true_boxes": np.array([[5, 5, 30, 40]], "i4")},
        {"gray": GRAY, "true_image_size": SIZE, "true_boxes": np.array([[5, 5, 3, 40]], "i4")},
        "photo 1 of 1: box 1 of 1 (5, 5, 3, 40) is empty or inverted",
    ),
    "fpenet_preprocess with a size beyond the picture": (
        "face_crops",
        {"gray": GRAY, "true_image_size": SIZE, "true_boxes": np.array([[5, 5, 30, 40]], "i4")},
        {"gray": GRAY, "true_image_size": SIZE * 2, "true_boxes": np.array([[5, 5, 9, 9]], "i4")},
        "`true_image_size` is 120 x 160, but `gray` is 60 x 80",
    ),
    "fpenet_postprocess": (
        "crop_points",
        {
            "conv_keypoints_m80": np.zeros((2, 68, 80, 80), np.float32),
            "softargmax": np.zeros((2, 68, 2), np.float32),
            "softargmax:1": np.zeros((2, 68), np.float32),
            "crop_xys": np.ones((2, 3), np.float32),
        },
        {},
        "KeyError: 'conv_keypoints_m80'",
    ),
}


def make_model(name: str, module: str, folder: Path | None = None, **parameters: str) -> Any:
    model = importlib.import_module(f"facekit.adapters.{module}").TritonPythonModel()
    if hasattr(model, "initialize"):
        folder = folder or Path(__file__).parents[2] / "model_repository" / name
        config = {
            "input": [{"name": t.name, "dims": t.dims} for t in MODELS[name].inputs],
            "output": [{"name": t.name, "dims": t.dims} for t in MODELS[name].outputs],
            "parameters": {key: {"string_value": text} for key, text in parameters.items()},
        }
        model.initialize({"model_config": json.dumps(config), "model_repository": str(folder)})
    return model


@pytest.mark.parametrize("case", CASES)
def test_execute_answers_each_request_and_a_poisoned_one_fails_alone(case: str) -> None:
    module, good, bad, message = CASES[case]
    name = case.split()[0]
    model = make_model(name, module)
    names = [tensor.name for tensor in MODELS[name].outputs]
    responses = model.execute([Request(one, names) for one in (good, bad, good, bad, good)])
    assert [r.error is not None for r in responses] == [False, True, False, True, False]
    assert message in str(responses[1].error)
    for response in (responses[0], responses[2], responses[4]):
        assert set(response.tensors) == {t.name for t in MODELS[name].outputs}
        for spec in MODELS[name].outputs:
            array = response.tensors[spec.name]
            assert len(array) == len(next(iter(good.values())))
            dims = zip(array.shape[1:], spec.dims, strict=True)
            assert all(b in (-1, a) for a, b in dims)
            kinds = {"FP32": "float32", "INT32": "int32", "INT64": "int64", "UINT8": "uint8"}
            assert array.dtype == kinds[spec.dtype]


def test_photo_reduce_decodes_large_jpegs_smaller_where_it_is_told_to() -> None:
    jpeg = encode(picture((4032, 3024)), "JPEG")
    request = {"image": batch([jpeg, probe_photo()])}
    names = ["reduced_photo", "reduced_color_photo", "true_image_size"]
    (plain,) = make_model("photo_reduce", "photo_reduce").execute([Request(request, names)])
    assert plain.tensors["reduced_photo"][0].tobytes() == jpeg
    model = make_model("photo_reduce", "photo_reduce", reduced_decode="gray")
    (reduced,) = model.execute([Request(request, names)])
    assert reduced.tensors["true_image_size"][0].tolist() == [3024, 4032, 3]
    gray, color = (reduced.tensors[name] for name in names[:2])
    assert gray[0].tobytes().startswith(b"P5\n2016 1512\n")
    assert color[0].tobytes().startswith(b"P6\n2016 1512\n")
    # A small one is left to DALI.
    assert gray[1].tobytes().rstrip(b"\0") == color[1].tobytes().rstrip(b"\0") == probe_photo()


def test_photo_reduce_decodes_what_is_too_large_for_dali_in_colors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size_wh = (2944, 1664)
    jpeg = encode(picture(size_wh), "JPEG")
    request = Request({"image": batch([jpeg])}, ["reduced_photo", "reduced_color_photo"])
    model = make_model("photo_reduce", "photo_reduce")
    for most, color_head in ((3 * 2944 * 1664, jpeg[:2]), (3 * 2944 * 1664 - 1, b"P6\n1472 832\n")):
        monkeypatch.setattr("facekit.photos.reduced.MAX_DECODED_BYTES", most)
        (response,) = model.execute([request])
        assert response.tensors["reduced_color_photo"][0].tobytes().startswith(color_head)
        assert response.tensors["reduced_photo"][0].tobytes() == jpeg


def claiming(size_wh: tuple[int, int]) -> bytes:
    """A small JPEG whose frame header claims another size."""
    data = bytearray(encode(picture(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", *size_wh[::-1])
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "output", "limit"),
    [
        ("photo_check", "photo", "200,000,000"),
        ("photo_reduce", "photo", "200,000,000"),
        ("photo_reduce", "reduced_photo", "512,000,000"),
        ("photo_reduce", "reduced_color_photo", "512,000,000"),
        ("faces", "boxes", "512,000,000"),
        ("landmarks", "keypoints", "512,000,000"),
    ],
)
def test_request_limit_is_that_of_the_model_and_is_named(
    name: str, output: str, limit: str
) -> None:
    # Each of 4000 x 4000: 32 of them are just allowed where a few at a time are decoded.
    most = int(limit.replace(",", "")) // 16_000_000
    photos = batch([claiming((4000, 4000))] * (most + 1))
    inputs = {"image": photos, "boxes": np.zeros((most + 1, 1, 4), np.int32)}
    answer = make_model(name, name).execute([Request(inputs, [output])])
    (response,) = asyncio.run(answer) if asyncio.iscoroutine(answer) else answer
    assert str(response.error) == (
        f"photo {most + 1} of {most + 1}: with it the request holds more than {limit} pixels: "
        "send the photos in several requests"
    )


def test_32_photos_of_a_phone_are_one_request() -> None:
    photos = batch([claiming((4000, 4000))] * 32)
    model = make_model("photo_reduce", "photo_reduce")
    (response,) = model.execute([Request({"image": photos}, ["reduced_photo"])])
    assert response.error is None and len(response.tensors["reduced_photo"]) == 32


def test_photo_reduce_refuses_another_color_at_the_load() -> None:
    with pytest.raises(ConfigError, match="reduced_decode: expected gray or rgb, got 'bgr'"):
        make_model("photo_reduce", "photo_reduce", reduced_decode="bgr")


def test_execute_labels_the_boxes_of_each_photo_and_no_row_past_them() -> None:
    cov = np.zeros((3, 2, 26, 46), np.float32)
    cov[0, 1, 5, 5], cov[0, 0, 20, 20], cov[1, 1, 5, 5] = 0.9, 0.8, 0.7
    request = {
        "output_bbox/BiasAdd": np.ones((3, 8, 26, 46), np.float32),
        "output_cov/Sigmoid": cov,
        "true_image_size": np.repeat(SIZE, 3, axis=0),
    }
    model = make_model("facemask_postprocess", "detection_postprocess", clustering_algorithm="NMS")
    (response,) = model.execute([Request(request)])
    assert response.tensors["true_count"].tolist() == [[2], [1], [0]]
    assert response.tensors["true_labels"].tolist() == [[1, 0], [1, -1], [-1, -1]]
    assert not response.tensors["true_boxes"][2].any()
    responses = model.execute(
        [Request(request, parameters={"threshold": each}) for each in ("0.75", "0.04", 0.7)]
    )
    assert [r.error is None for r in responses] == [True, False, True]
    assert responses[0].tensors["true_count"].tolist() == [[2], [0], [0]]


def test_execute_blames_the_caller_for_input_and_itself_for_the_rest() -> None:
    model = make_model("photo_check", "photo_check")
    responses = model.execute([Request({"image": batch([b"words"])}), Request({})])
    assert [r.error.code for r in responses] == ["INVALID_ARG", "INTERNAL"]


def test_execute_counts_each_refused_request_by_its_status(pb_utils: Any) -> None:
    model = make_model("photo_check", "photo_check")
    words = Request({"image": batch([b"words"])})
    model.execute([words, Request({"image": GOOD_PHOTO}), Request({})])
    model.execute([words])
    name = "facekit_request_failure"
    counted = pb_utils.MetricFamily.totals
    assert counted == {(name, "INVALID_ARGUMENT"): 2, (name, "INTERNAL"): 1}


def test_execute_answers_where_the_server_keeps_no_metrics(pb_utils: Any) -> None:
    class Disabled(pb_utils.MetricFamily):  # type: ignore[misc]
        def __init__(self, **_: Any) -> None:
            raise pb_utils.TritonModelException("metrics are disabled")

    pb_utils.MetricFamily = Disabled
    model = make_model("photo_check", "photo_check")
    (response,) = model.execute([Request({"image": batch([b"words"])})])
    assert response.error.code == "INVALID_ARG"


@pytest.mark.parametrize("labels", ["no-mask\nmask\n", "mask\nno_mask\n", "mask\n", ""])
def test_labels_other_than_the_clients_are_refused_at_the_load(tmp_path: Path, labels: str) -> None:
    folder = tmp_path / "facemask_postprocess"
    folder.mkdir()
    (folder / "labels.txt").write_text(labels)
    with pytest.raises(ConfigError) as caught:
        make_model("facemask_postprocess", "detection_postprocess", folder)
    words = f"label file {folder / 'labels.txt'}: expected mask, no-mask in this order"
    assert str(caught.value).startswith(words)

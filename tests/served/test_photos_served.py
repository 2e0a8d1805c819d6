"""Photos of every kind through the real server: formats, orientations, batches, protocols."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from PIL import Image, ImageFilter

from facekit.contract import MODELS, TensorSpec
from facekit.data import probe_photo
from facekit.landmarks.sharpness import face_sharpness
from facekit.serving.embedded import EmbeddedServer
from facekit.shared_pages import LEAST_BYTES, LEAST_FRAME_BYTES
from tests import photo_files
from tests.served.conftest import Call
from tests.triton import batch, infer

PROBE = Image.open(io.BytesIO(probe_photo())).convert("RGB")


def face_box(call: Call, photo: bytes) -> np.ndarray:
    """The best box of a photo that shows one face."""
    found = call("facenet_ensemble", {"input_image_data": batch([photo])})
    assert found["true_count"][0, 0] >= 1
    return found["true_boxes"][0, 0]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


@pytest.mark.parametrize("model", MODELS)
def test_served_metadata_is_the_contract(
    grpc: grpcclient.InferenceServerClient, model: str
) -> None:
    metadata, spec = grpc.get_model_metadata(model), MODELS[model]
    for served, ours in ((metadata.inputs, spec.inputs), (metadata.outputs, spec.outputs)):
        found = [TensorSpec(t.name, t.datatype, tuple(t.shape)[1:]) for t in served]
        if model == "fpenet":  # it alone states how many points its network gives
            found = [replace(t, dims=(-1, *t.dims[1:])) if t.dims[0] == 68 else t for t in found]
        assert found == list(ours)


FORMATS = {
    "png": ("RGB", "PNG", {}),
    "png palette": ("P", "PNG", {}),
    "png alpha": ("RGBA", "PNG", {}),
    "jpeg progressive": ("RGB", "JPEG", {"progressive": True, "quality": 95}),
    "jpeg gray": ("L", "JPEG", {"quality": 95}),
    "jpeg cmyk": ("CMYK", "JPEG", {"quality": 95}),
    "bmp": ("RGB", "BMP", {}),
    "webp": ("RGB", "WEBP", {"quality": 95}),
    "tiff": ("RGB", "TIFF", {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_face(call: Call, name: str) -> None:
    mode, file_format, options = FORMATS[name]
    photo = photo_files.encode(PROBE.convert(mode), file_format, **options)
    assert overlap(face_box(call, photo), face_box(call, probe_photo())) > 0.9


@pytest.mark.parametrize("name", photo_files.good_photos())
def test_every_format_gives_the_size_of_the_original(call: Call, name: str) -> None:
    data, channels = photo_files.good_photos()[name]
    found = call("facenet_ensemble", {"input_image_data": batch([data])}, ("true_image_size",))
    assert found["true_image_size"].tolist() == [[120, 200, channels]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_upright_boxes_and_points(call: Call, orientation: int) -> None:
    # Not square, so that a mix-up of width and height shows.
    upright = PROBE.crop((0, 0, PROBE.width, int(PROBE.height * 0.9)))
    plain = photo_files.encode(upright, "JPEG", quality=95)
    turned = photo_files.oriented_jpeg(upright, orientation)
    expected = call("faces", {"image": batch([plain])})
    found = call("faces", {"image": batch([turned])})
    assert found["image_size"].tolist() == [[upright.height, upright.width, 3]]
    assert overlap(found["boxes"][0, 0], expected["boxes"][0, 0]) > 0.9
    side = np.ptp(expected["boxes"][0, 0][[0, 2]])
    error = np.linalg.norm(found["keypoints"][0, 0] - expected["keypoints"][0, 0], axis=1)
    assert np.median(error) < 0.05 * side


def eight_photos() -> list[bytes]:
    """Eight photos of unequal size, format and length, some with a face and some without."""
    sizes = [(512, 512), (300, 400), (640, 360), (90, 60), (1024, 768), (200, 700), (333, 222)]
    photos = [
        photo_files.encode(PROBE.resize(size), "PNG" if i % 3 == 0 else "JPEG")
        for i, size in enumerate(sizes)
    ]
    return [*photos, photo_files.encode(photo_files.picture(), "WEBP")]


@pytest.mark.parametrize(
    ("model", "tensor"), [("facenet_ensemble", "input_image_data"), ("faces", "image")]
)
def test_batch_of_eight_equals_eight_photos_and_http_equals_grpc(
    call: Call, server: EmbeddedServer, model: str, tensor: str
) -> None:
    photos = eight_photos()
    together = call(model, {tensor: batch(photos)})
    count = "true_count" if model == "facenet_ensemble" else "count"
    for i, photo in enumerate(photos):
        alone = call(model, {tensor: batch([photo])})
        found = int(alone[count][0, 0])
        assert together[count][i, 0] == found
        for name, array in alone.items():
            if name in (count, "image_size", "true_image_size", "least_side"):
                np.testing.assert_array_equal(together[name][i], array[0])
                continue
            np.testing.assert_allclose(together[name][i, :found], array[0], atol=1e-3)
            assert not together[name][i, found:].any(), "rows past the count are zero"
    with httpclient.InferenceServerClient(server.http_url) as http:
        result = infer(http, httpclient, model, {tensor: batch(photos)})
        for name, array in together.items():
            np.testing.assert_allclose(result.as_numpy(name), array, atol=1e-4)


def inputs_of(model: str) -> dict[str, np.ndarray]:
    photo = batch([probe_photo()])
    box = np.array([[20, 20, 120, 140]])
    return {
        "facenet_ensemble": {"input_image_data": photo},
        "facenet_resized": {
            "input_1": np.zeros((1, 3, 416, 736), np.float32),
            "true_image_size": np.array([[100, 200, 3]]),
        },
        "fpenet_ensemble": {"raw_image_data": photo, "true_boxes": box.astype(np.int32)},
        "faces": {"image": photo},
        "landmarks": {"image": photo, "boxes": box[None].astype(np.float32)},
        "facenet_postprocess": {
            "output_bbox/BiasAdd": np.ones((1, 4, 26, 46), np.float32),
            "output_cov/Sigmoid": np.ones((1, 1, 26, 46), np.float32),
            "true_image_size": np.array([[100, 200, 3]]),
        },
    }[model]


@pytest.mark.parametrize(
    "model",
    [
        "facenet_ensemble",
        "facenet_resized",
        "fpenet_ensemble",
        "faces",
        "landmarks",
        "facenet_postprocess",
    ],
)
def test_any_subset_of_outputs_may_be_asked_for(call: Call, model: str) -> None:
    names = [t.name for t in MODELS[model].outputs]
    inputs = inputs_of(model)
    whole = call(model, inputs)
    assert set(whole) == set(names)
    for size in range(1, len(names)):
        for subset in combinations(names, size):
            part = call(model, inputs, subset)
            assert set(part) == set(subset)
            for name in subset:
                np.testing.assert_allclose(part[name], whole[name], atol=1e-4)


def test_steps_by_hand_equal_the_ensemble(call: Call) -> None:
    photo = batch([probe_photo()])
    checked = call("photo_check", {"image": photo})
    size = checked.pop("true_image_size")
    network_input = call("facenet_preprocess", checked)
    grids = call("facenet", network_input)
    by_hand = call("facenet_postprocess", {**grids, "true_image_size": size})
    resized = call("facenet_resized", {**network_input, "true_image_size": size})
    ensemble = call("facenet_ensemble", {"input_image_data": photo})
    for name, array in ensemble.items():
        np.testing.assert_allclose(by_hand[name], array, atol=1e-4)
        np.testing.assert_allclose(resized[name], array, atol=1e-4)


def test_large_batch_answers_each_photo_as_alone(call: Call) -> None:
    # Inputs of this size give their shared memory back before the models have read all of them.
    colors = [(value, 255 - value, 90) for value in (10, 90, 170, 250)]
    photos = [photo_files.encode(Image.new("RGB", (1800, 1300), color), "BMP") for color in colors]
    whole = [*photos, probe_photo()]
    assert batch(whole).nbytes > LEAST_BYTES
    together = call("faces", {"image": batch(whole)})
    alone = call("faces", {"image": batch(whole[4:])})
    assert together["count"].tolist() == [[0]] * 4 + alone["count"].tolist()
    checked = call("photo_check", {"image": batch([probe_photo()] * 9)})
    sizes = checked.pop("true_image_size")
    network_input = call("facenet_preprocess", checked)["input_1"].copy()
    network_input[1:8] = 0
    assert network_input.nbytes > LEAST_FRAME_BYTES
    found = call("facenet_resized", {"input_1": network_input, "true_image_size": sizes})
    alone = call("facenet_resized", {"input_1": network_input[:1], "true_image_size": sizes[:1]})
    count = int(alone["true_count"][0, 0])
    assert found["true_count"].tolist() == [[count], *[[0]] * 7, [count]]
    np.testing.assert_array_equal(found["true_boxes"][8], alone["true_boxes"][0])


def test_landmarks_of_own_boxes_equal_fpenet_ensemble_and_faces(call: Call) -> None:
    photo = batch([probe_photo()])
    faces = call("faces", {"image": photo})
    assert faces["count"][0, 0] >= 1
    own = call("landmarks", {"image": photo, "boxes": faces["boxes"]})
    np.testing.assert_allclose(own["keypoints"], faces["keypoints"], atol=1e-3)
    whole_pixels = np.rint(faces["boxes"][0]).astype(np.int32)
    for box in whole_pixels[:3]:
        one = call("fpenet_ensemble", {"raw_image_data": photo, "true_boxes": box[None]})
        side = (box[2:] - box[:2]).max()
        corner = (box[:2] + box[2:]) / 2 - side / 2
        np.testing.assert_allclose(
            one["keypoints"][0], one["softargmax"][0] * side / 80 + corner, atol=1e-2
        )
        again = call("landmarks", {"image": photo, "boxes": box[None, None].astype(np.float32)})
        np.testing.assert_allclose(again["keypoints"][0, 0], one["keypoints"][0], atol=1e-2)
        np.testing.assert_allclose(
            again["keypoint_scores"][0, 0], one["softargmax:1"][0], atol=1e-4
        )


def test_landmarks_of_no_boxes(call: Call) -> None:
    found = call("landmarks", {"image": batch([probe_photo()]), "boxes": np.empty((1, 0, 4), "f")})
    assert found["keypoints"].shape == (1, 0, 68, 2)


def test_photo_without_a_face_is_an_empty_result(call: Call) -> None:
    gray = photo_files.encode(Image.new("RGB", (640, 480), (128, 128, 128)), "JPEG")
    found = call("faces", {"image": batch([gray])})
    assert found["count"].tolist() == [[0]]
    assert found["boxes"].shape == (1, 0, 4)
    assert found["keypoints"].shape == (1, 0, 68, 2)
    boxes = call("facenet_ensemble", {"input_image_data": batch([gray])})["true_boxes"]
    assert boxes.shape == (1, 0, 4)


def test_sharpness_is_that_of_the_pixels_and_falls_with_blur(call: Call) -> None:
    blurred = [PROBE.filter(ImageFilter.GaussianBlur(blur)) for blur in (0, 1, 3)]
    photos = [photo_files.encode(image, "PNG") for image in blurred]
    found = call("faces", {"image": batch(photos)})
    assert (found["count"] >= 1).all()
    served = found["sharpness"][:, 0]
    own = [
        face_sharpness(np.asarray(image), boxes[:1])[0]
        for image, boxes in zip(blurred, found["boxes"], strict=True)
    ]
    np.testing.assert_allclose(served, own, atol=0.02)
    assert served[0] > served[1] > served[2] > 0

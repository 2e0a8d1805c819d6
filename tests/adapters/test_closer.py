"""``faces`` in tiles and turned, over a detector that sees what is large enough and upright."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label, regionprops

from facekit.contract import MODELS
from tests.adapters.conftest import Request
from tests.photo_files import encode
from tests.triton import batch

VISIBLE = 20
OUTPUTS = [tensor.name for tensor in MODELS["faces"].outputs]


def photo_of(columns: int, rows: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A gray photo of squares, each brighter at its top, and their boxes."""
    pixels = np.zeros((rows * side, columns * side), np.uint8)
    face = np.repeat([255, 160], side // 4)[:, None]
    boxes = []
    for row in range(rows):
        for column in range(columns):
            x, y = column * side + side // 4, row * side + side // 4
            pixels[y : y + len(face), x : x + len(face)] = face
            boxes.append([x, y, x + len(face), y + len(face)])
    return pixels, np.array(boxes)


def faces_in(frame: np.ndarray) -> np.ndarray:
    """Boxes in a frame (416, 736): of regions that are large, hardly squeezed, and upright."""
    found = []
    for region in regionprops(label(frame > 0.3)):
        y1, x1, y2, x2 = region.bbox
        inside = frame[y1:y2, x1:x2]
        upright = np.subtract(*(half.mean() for half in np.array_split(inside, 2))) > 0.15
        sides = (x2 - x1, y2 - y1)
        if upright and min(sides) >= VISIBLE and max(sides) < 2.5 * min(sides):
            found.append([x1, y1, x2, y2])
    return np.array(found, np.float32).reshape(-1, 4)


class Network:
    """Stand-ins for the models that ``faces`` calls; counts frames."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.frames, self.largest_call = pixels, 0, 0
        self._last = np.empty(0)

    def detect(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._last = np.asarray(Image.fromarray(self.pixels).resize((736, 416), 2))[None] / 255
        sizes = {"true_image_size": np.array([[*self.pixels.shape, 1]])}
        return {"gray": self.pixels[None], **self.postprocess(sizes)}

    def facenet(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._last = inputs["input_1"][:, 0]
        self.frames += len(self._last)
        self.largest_call = max(self.largest_call, len(self._last))
        grids = np.zeros((len(self._last), 1, 26, 46), np.float32)
        return {"output_bbox/BiasAdd": grids.repeat(4, axis=1), "output_cov/Sigmoid": grids}

    def postprocess(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = [faces_in(frame) for frame in self._last]
        boxes = np.zeros((len(found), max(map(len, found)), 4), np.float32)
        for row, one, size in zip(boxes, found, inputs["true_image_size"], strict=True):
            row[: len(one)] = one * np.tile([size[1] / 736, size[0] / 416], 2)
        scores = (boxes[:, :, 2:] > 0).any(axis=2, keepdims=True) * np.float32(0.95)
        counts = np.array([[len(one)] for one in found], np.int32)
        return {"true_boxes": boxes, "true_proba": scores, "true_count": counts}

    def fpenet(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        crops = inputs["input_face_images"]
        # Without a face it is asked for its number of points, by a blank crop.
        upright = crops[:, 0, 10, 40] > crops[:, 0, 70, 40] + 20
        assert upright.all() or not crops.any()
        points = np.tile(np.array([[40, 0], [40, 40]], np.float32), (len(crops), 1, 1))
        return {"softargmax": points, "softargmax:1": np.ones((len(crops), 2), np.float32)}


Find = Callable[..., tuple[dict[str, np.ndarray], Network]]


@pytest.fixture
def find(pb_utils: SimpleNamespace) -> Find:
    def run(
        pixels: np.ndarray, outputs: list[str] = OUTPUTS, **parameters: object
    ) -> tuple[dict[str, np.ndarray], Network]:
        network = Network(pixels)
        pb_utils.InferenceRequest.MODELS.clear()
        pb_utils.InferenceRequest.MODELS.update(
            faces_detect=network.detect, facenet=network.facenet, fpenet=network.fpenet,
            facenet_postprocess=network.postprocess,
        )  # fmt: skip
        model = importlib.import_module("facekit.adapters.faces").TritonPythonModel()
        model.initialize({"model_config": json.dumps({}), "model_repository": ""})
        image = batch([encode(Image.fromarray(pixels), "PNG")])
        (response,) = asyncio.run(model.execute([Request({"image": image}, outputs, parameters)]))
        assert response.error is None, response.error
        return response.tensors, network

    return run


def assert_found(tensors: dict[str, np.ndarray], boxes: np.ndarray, within: float) -> None:
    found = tensors["boxes"][0]
    assert len(found) == len(boxes) == tensors["count"][0, 0]
    for box in boxes:
        assert np.abs(found - box).max(axis=1).min() < within


CASES = {
    "panorama 6:1": ((24, 4), 160, 4),
    "panorama 12:1": ((12, 1), 300, 13),
    "tower": ((2, 12), 160, 16),
    "mosaic": ((16, 12), 200, 20),
}


@pytest.mark.parametrize("case", CASES)
def test_auto_finds_the_faces_that_one_frame_does_not_show(find: Find, case: str) -> None:
    counts, side, frames = CASES[case]
    pixels, boxes = photo_of(*counts, side)
    tensors, network = find(pixels)
    assert tensors["count"][0, 0] < len(boxes) / 2
    assert network.frames == 0

    tensors, network = find(pixels, tiles="auto")
    assert_found(tensors, boxes, within=0.05 * side)
    assert network.frames <= frames
    assert network.largest_call <= 8
    assert tensors["least_side"][0, 0] <= side / 2
    # Points are where the face's top and middle are.
    points = tensors["keypoints"][0].mean(axis=1)
    middle = tensors["boxes"][0].reshape(-1, 2, 2).mean(axis=1)
    assert np.abs(points[:, 0] - middle[:, 0]).max() < 0.05 * side


def test_auto_looks_no_closer_where_all_faces_are_large(find: Find) -> None:
    pixels, boxes = photo_of(4, 2, 480)
    plain, _ = find(pixels)
    tensors, network = find(pixels, tiles="auto", rotations="auto")
    assert network.frames == 0
    assert_found(tensors, boxes, within=10)
    for name, array in plain.items():
        np.testing.assert_array_equal(tensors[name], array)


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("how", ["auto", "explicit"])
def test_turned_photo_gives_boxes_and_points_of_the_photo_as_it_stands(
    find: Find, rotation: int, how: str
) -> None:
    pixels, _ = photo_of(4, 3, 300)
    # Turned clockwise, as the faces lie then.
    turned = np.ascontiguousarray(np.rot90(pixels, -rotation // 90))
    plain, _ = find(turned)
    assert plain["count"][0, 0] == 0
    tensors, network = find(turned, rotations="auto" if how == "auto" else rotation)
    assert network.frames == (3 if how == "auto" else 1)
    assert tensors["count"][0, 0] == 12
    for (x1, y1, x2, y2), points in zip(tensors["boxes"][0], tensors["keypoints"][0], strict=True):
        inside = turned[round(y1) + 4 : round(y2) - 4, round(x1) + 4 : round(x2) - 4]
        assert inside.min() > 100
        top, middle = points
        # The line from the middle of the face to its top: up, turned clockwise.
        angle = np.degrees(np.arctan2(top[0] - middle[0], middle[1] - top[1])) % 360
        assert angle == pytest.approx(rotation, abs=1)
        assert np.abs(middle - ((x1 + x2) / 2, (y1 + y2) / 2)).max() < 1


def test_turned_panorama_needs_both(find: Find) -> None:
    pixels, boxes = photo_of(12, 2, 200)
    turned = np.ascontiguousarray(np.rot90(pixels))
    for how in ({"tiles": "auto"}, {"rotations": "auto"}):
        assert find(turned, **how)[0]["count"][0, 0] < len(boxes)
    tensors, _ = find(turned, tiles=16, rotations="90,270")
    assert tensors["count"][0, 0] == len(boxes)


def test_a_number_of_tiles_is_its_bound(find: Find) -> None:
    pixels, boxes = photo_of(16, 12, 200)
    for most in (2, 9, 64):
        tensors, network = find(pixels, tiles=most)
        assert 0 < network.frames <= most
    assert_found(tensors, boxes, within=10)


@pytest.mark.parametrize("size_wh", [(1, 30_000), (30_000, 1), (3000, 3000)])
def test_photo_of_odd_size_costs_a_bounded_number_of_frames(
    find: Find, size_wh: tuple[int, int]
) -> None:
    pixels = np.zeros(size_wh[::-1], np.uint8)
    tensors, network = find(pixels, tiles="auto", rotations="auto")
    assert tensors["count"][0, 0] == 0
    assert network.frames <= 3 + 4 + 16


def test_without_landmarks_none_are_estimated(find: Find) -> None:
    pixels, boxes = photo_of(4, 3, 300)
    tensors, _ = find(pixels, ["boxes", "count"], tiles=4)
    assert set(tensors) == {"boxes", "count"}
    assert_found(tensors, boxes, within=10)

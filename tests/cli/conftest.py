"""A server that finds two faces in every photo, and a photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from facekit.data import probe_photo
from tests.fake_triton import FakeTriton, faces_answer, masks_answer


def answer(
    model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
) -> dict[str, np.ndarray]:
    """Two faces of the probe photo; text is refused."""
    (photo,) = inputs.values()
    if bytes(photo[0, :2]) not in (b"\xff\xd8", b"BM"):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "photo 1 of 1: not a photo but text")
    boxes = np.array([[[130, 74, 224, 180], [10, 10, 40, 50]]], np.float32)
    if model == "facemask_ensemble":
        size = np.array([[300, 360, 3]], np.int64)
        return {**masks_answer(2), "true_boxes": boxes, "true_image_size": size}
    outputs = faces_answer(2)
    outputs["boxes"] = boxes
    outputs["keypoints"] = outputs["keypoints"] % 100 + 100
    outputs["image_size"] = np.array([[300, 360, 3]], np.int64)
    return outputs


@pytest.fixture
def url() -> Iterator[str]:
    with FakeTriton(answer) as fake:
        yield fake.url


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "photo.jpg"
    path.parent.mkdir()
    path.write_bytes(probe_photo())
    return path

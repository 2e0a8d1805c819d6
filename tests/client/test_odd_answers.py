"""Answers that break the contract."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from facekit import Client, ResponseError
from tests.fake_triton import FakeTriton, faces_answer, masks_answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": None}, "faces: `boxes` is missing from the answer"),
        ({"count": np.array([[3]], np.int32)}, "`count` is 3, but `boxes` has 2"),
        ({"count": np.array([[-1]], np.int32)}, "`count` is -1"),
        ({"count": np.array([[2]], np.int64)}, "`count`: expected INT32, got INT64"),
        ({"boxes": np.zeros((1, 2, 5), np.float32)}, r"`boxes`: expected shape \(1, -1, 4\)"),
        ({"boxes": np.zeros((2, 2, 4), np.float32)}, r"got \(2, 2, 4\)"),
        ({"boxes": np.zeros((2, 4), np.float32)}, r"got \(2, 4\)"),
        (
            {"boxes": np.full((1, 2, 4), np.nan, np.float32)},
            "`boxes`: contains values",
        ),
        ({"scores": np.zeros((1, 1), np.float32)}, "`count` is 2, but `scores` has 1"),
        ({"keypoint_scores": np.zeros((1, 2, 67), np.float32)}, "`keypoint_scores`: expected"),
        ({"image_size": np.array([[-5, 4, 3]], np.int64)}, "size_wh"),
        ({"sharpness": np.zeros((1, 1), np.float32)}, "`count` is 2, but `sharpness` has 1"),
        ({"sharpness": np.zeros((1, 2), np.int32)}, "`sharpness`: expected FP32, got INT32"),
    ],
)
def test_detect_answer_that_breaks_the_contract_is_refused(
    fake: FakeTriton, client: Client, change: dict[str, np.ndarray | None], message: str
) -> None:
    answer = {**faces_answer(2), **change}
    fake.answer = lambda *_: {name: value for name, value in answer.items() if value is not None}
    with pytest.raises(ResponseError, match=message):
        client.detect(b"photo")


def test_a_server_of_an_earlier_version_tells_no_sharpness(
    fake: FakeTriton, client: Client
) -> None:
    answer = faces_answer(2)
    fake.answer = lambda *_: answer
    assert client.detect(b"photo").sharpness.tolist() == [0.375, 0.375]
    del answer["sharpness"]
    found = client.detect(b"photo")
    assert len(found) == 2 and np.isnan(found.sharpness).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"true_labels": None}, "facemask_ensemble: `true_labels` is missing from the answer"),
        ({"true_labels": np.array([[1, 2]], np.int32)}, "labels: expected numbers below 2"),
        ({"true_labels": np.array([[1, -1]], np.int32)}, "labels: expected numbers below 2"),
        ({"true_labels": np.array([[1]], np.int32)}, "`true_count` is 2, but `true_labels` has 1"),
        (
            {"true_proba": np.zeros((1, 1, 1), np.float32)},
            "`true_count` is 2, but `true_proba` has 1",
        ),
        ({"true_labels": np.zeros((1, 2), np.float32)}, "expected INT32, got FP32"),
        ({"true_count": np.array([[3]], np.int32)}, "`true_count` is 3, but `true_boxes` has 2"),
    ],
)
def test_detect_labels_that_break_the_contract_are_refused(
    fake: FakeTriton, client: Client, change: dict[str, np.ndarray | None], message: str
) -> None:
    answer = {**masks_answer(2), **change}
    fake.answer = lambda *_: {name: value for name, value in answer.items() if value is not None}
    with pytest.raises(ResponseError, match=message):
        client.detect(b"photo", model="facemask_ensemble")


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "message"),
    [
        ("BYTES", [1, 2], b"ab", "`scores`: expected FP32, got BYTES"),
        ("NONSENSE", [1, 2], b"12345678", "`scores`: expected FP32, got NONSENSE"),
        ("", [], b"", "`scores`: expected FP32, got $"),
        ("FP32", [1, 2], b"ab", "`scores`: its bytes do not fit its shape"),
        ("FP32", [1, 2], b"", "`scores`: its bytes do not fit its shape"),
        ("FP32", [1, 3], b"12345678", "`scores`: its bytes do not fit its shape"),
        ("FP32", [1, 1 << 62], b"12345678", "`scores`: its bytes do not fit its shape"),
        ("FP32", [1, -1], b"12345678", r"`scores`: expected shape \(1, -1\), got \(1, -1\)"),
        ("FP32", [2], b"12345678", r"`scores`: expected shape \(1, -1\), got \(2,\)"),
    ],
)
def test_detect_answer_whose_bytes_are_odd_is_refused(
    datatype: str, shape: list[int], content: bytes, message: str
) -> None:
    class OddTriton(FakeTriton):
        def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
            response = super().ModelInfer(request, context)
            index = [output.name for output in response.outputs].index("scores")
            response.outputs[index].datatype = datatype
            response.outputs[index].shape[:] = shape
            response.raw_output_contents[index] = content
            return response

    with OddTriton() as odd, Client(odd.url, timeout_s=10) as client:
        with pytest.raises(ResponseError, match=message):
            client.detect(b"photo")
        [result] = client.detect_many([b"photo"])
        assert isinstance(result, ResponseError)

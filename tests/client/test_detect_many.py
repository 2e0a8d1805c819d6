"""Many photos at once: their order, their errors, and how many are under way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from facekit import Client, ConfigError, Faces, InputError, PhotoError
from tests.fake_triton import FakeTriton, faces_answer, masks_answer


def test_detect_many_asks_the_model_named(fake: FakeTriton, client: Client) -> None:
    fake.answer = lambda *_: masks_answer(1)
    first, second = client.detect_many([b"photo", "missing.jpg"], model="facemask_ensemble")
    assert isinstance(first, Faces) and first.labels.tolist() == [1]
    assert isinstance(second, PhotoError)


def test_detect_many_of_nothing_yields_nothing(fake: FakeTriton, client: Client) -> None:
    assert list(client.detect_many([])) == []


def test_detect_many_keeps_order_and_gives_one_error_for_one_photo(
    fake: FakeTriton, client: Client, tmp_path: Path
) -> None:
    def answer(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        number = int(inputs["image"][0, 0])
        time.sleep(0.03 * (number % 3))  # Answers come out of order.
        if number == 7:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "photo 1 of 1: text")
        return faces_answer(number)

    fake.answer = answer
    photos = [bytes([n]) for n in range(1, 12)]
    mixed = [*photos, b"", tmp_path / "missing.jpg", None]
    results = list(client.detect_many(mixed, concurrency=3))  # type: ignore[arg-type]
    assert len(results) == len(mixed)
    for number, result in enumerate(results[:11], 1):
        if number == 7:
            assert isinstance(result, PhotoError) and "text" in str(result)
        else:
            assert isinstance(result, Faces) and len(result) == number
    assert all(isinstance(result, InputError) for result in results[11:])
    assert "missing.jpg" in str(results[12])
    assert 2 <= fake.most_at_once <= 3


def test_detect_many_takes_photos_as_they_are_needed(fake: FakeTriton, client: Client) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"photo"

    results = client.detect_many(endless(), concurrency=2)
    assert taken == 0
    for number in range(1, 6):
        assert isinstance(next(results), Faces)
        assert taken <= number + 4
    results.close()  # type: ignore[attr-defined]
    assert isinstance(client.detect(b"photo"), Faces)


def test_detect_many_passes_on_an_error_of_the_collection_itself(client: Client) -> None:
    def broken() -> Iterator[bytes]:
        yield b"photo"
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(client.detect_many(broken(), concurrency=1))


@pytest.mark.parametrize("concurrency", [0, -1])
def test_detect_many_refuses_a_concurrency_below_one_at_once(
    client: Client, concurrency: int
) -> None:
    with pytest.raises(ConfigError, match="concurrency: expected at least 1"):
        client.detect_many([], concurrency=concurrency)

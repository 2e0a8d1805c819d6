from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest

from facekit import (
    AsyncClient,
    BoxError,
    Client,
    ConfigError,
    DeadlineError,
    Faces,
    ModelMissingError,
    PhotoError,
    ServerError,
    ServerUnavailableError,
)
from tests.fake_triton import FakeTriton, faces_answer, failing, masks_answer, slow

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_twin_has_the_blocking_clients_methods_and_parameters() -> None:
    def signatures(cls: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(cls).items()
            if callable(member) and (not name.startswith("_") or name == "__init__")
        }

    assert signatures(AsyncClient) == signatures(Client)


def test_detect_and_landmarks_equal_the_blocking_clients(fake: FakeTriton, client: Client) -> None:
    async def work() -> tuple[Faces, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        async with AsyncClient(fake.url) as twin:
            assert await twin.server_ready()
            boxes = [[0, 0, 9, 9], [1, 1, 5, 5]]
            return (
                await twin.detect(b"photo"),
                await twin.landmarks(b"photo", boxes),
                await twin.landmarks(b"photo", []),
            )

    faces, (points, scores), (no_points, _) = run(work())
    assert faces == client.detect(b"photo")
    assert points.shape == (2, 68, 2) and scores.shape == (2, 68)
    assert no_points.shape == (0, 68, 2)


def test_detect_of_the_mask_detector_equals_the_blocking_clients(
    fake: FakeTriton, client: Client
) -> None:
    fake.answer = lambda *_: masks_answer(2, rows=3)

    async def work() -> tuple[Faces, list[Any]]:
        async with AsyncClient(fake.url) as twin:
            many = twin.detect_many([b"photo"], model="facemask_ensemble")
            with pytest.raises(ConfigError, match="model: expected one of"):
                await twin.detect(b"photo", model="fpenet")
            one = await twin.detect(b"photo", model="facemask_ensemble")
            return one, [faces async for faces in many]

    faces, many = run(work())
    assert [faces] == many == [client.detect(b"photo", model="facemask_ensemble")]
    assert faces.labels.tolist() == [1, 0]


def test_errors_are_the_same_tree(fake: FakeTriton) -> None:
    async def work() -> None:
        async with AsyncClient(fake.url, timeout_s=0.3) as twin:
            fake.answer = slow(30)
            with pytest.raises(DeadlineError, match=r"within 0\.3 s"):
                await twin.detect(b"photo")
            fake.answer = failing(grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'faces'")
            with pytest.raises(ModelMissingError):
                await twin.detect(b"photo")
            with pytest.raises(PhotoError, match="empty"):
                await twin.detect(b"")
            with pytest.raises(BoxError):
                await twin.landmarks(b"photo", [[1, 1, 0, 0]])
        with pytest.raises(ServerError, match="has been closed"):
            await twin.detect(b"photo")
        assert not await twin.server_ready()

    run(work())


def test_detect_with_no_server_says_try_again() -> None:
    with FakeTriton() as gone:
        pass

    async def work() -> None:
        async with AsyncClient(gone.url, timeout_s=5) as twin:
            assert not await twin.server_ready()
            with pytest.raises(ServerUnavailableError, match="try again"):
                await twin.detect(b"photo")

    run(work())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_detect_many_keeps_order_and_limits_what_is_in_flight(
    fake: FakeTriton, asynchronous: bool
) -> None:
    fake.answer = lambda model, inputs, context: faces_answer(int(inputs["image"][0, 0]))
    photos = [bytes([n % 5 + 1]) for n in range(20)]
    photos[6] = b""

    async def stream() -> AsyncIterator[bytes]:
        for photo in photos:
            await asyncio.sleep(0)
            yield photo

    async def work() -> list[object]:
        async with AsyncClient(fake.url) as twin:
            source = stream() if asynchronous else photos
            return [result async for result in twin.detect_many(source, concurrency=3)]

    results = run(work())
    assert len(results) == 20
    assert isinstance(results.pop(6), PhotoError)
    assert [len(result) for result in results if isinstance(result, Faces)] == [
        photo[0] for photo in photos if photo
    ]
    assert fake.most_at_once <= 3


def test_detect_many_left_in_the_middle_cancels_the_rest(fake: FakeTriton) -> None:
    async def work() -> None:
        async with AsyncClient(fake.url) as twin:
            before = asyncio.all_tasks()
            results = twin.detect_many([b"photo"] * 1000, concurrency=2)
            async for _ in results:
                break
            await results.aclose()  # type: ignore[attr-defined]
            assert asyncio.all_tasks() == before

    run(work())
    assert len(fake.received) <= 6


def test_detect_many_refuses_a_concurrency_below_one_at_once() -> None:
    with pytest.raises(ConfigError, match="concurrency"):
        AsyncClient().detect_many([], concurrency=0)


def test_close_ends_calls_of_other_tasks_with_an_error_of_the_kit(fake: FakeTriton) -> None:
    fake.answer = slow(30)

    async def work() -> None:
        twin = AsyncClient(fake.url)
        call = asyncio.create_task(twin.detect(b"photo"))
        many = twin.detect_many([b"photo"])
        first = asyncio.create_task(anext(many))
        while len(fake.received) < 2:
            await asyncio.sleep(0.01)
        await twin.close()
        with pytest.raises(ServerError, match="has been closed"):
            await call
        assert isinstance(await first, ServerError)

    run(work())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 can't tell the two apart")
def test_call_that_is_cancelled_before_the_client_is_closed_stays_cancelled(
    fake: FakeTriton,
) -> None:
    fake.answer = slow(30)

    async def work() -> None:
        twin = AsyncClient(fake.url)
        call = asyncio.create_task(twin.detect(b"photo"))
        while not fake.received:
            await asyncio.sleep(0.01)
        call.cancel()
        await twin.close()
        with pytest.raises(asyncio.CancelledError):
            await call

    run(work())


def test_cancelled_call_stays_a_cancellation(fake: FakeTriton) -> None:
    fake.answer = slow(30)

    async def work() -> None:
        async with AsyncClient(fake.url) as twin:
            task = asyncio.create_task(twin.detect(b"photo"))
            while not fake.received:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(work())

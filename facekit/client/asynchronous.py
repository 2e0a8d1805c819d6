"""The asyncio client: the calls of the blocking one as coroutines."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.client.calls import (
    Call,
    check_boxes,
    check_concurrency,
    check_model,
    detect_call,
    landmarks_call,
    no_landmarks,
)
from facekit.client.connection import Connected
from facekit.client.photos import PhotoLike, read_photo
from facekit.errors import FacekitError, ServerError
from facekit.faces import Faces

Result = TypeVar("Result")


class AsyncClient(Connected):
    """A connection to a server for one event loop; arguments and errors as for ``Client``."""

    async def detect(
        self,
        photo: PhotoLike,
        *,
        model: str = "faces",
        tiles: str | int | None = None,
        rotations: str | int | None = None,
        threshold: float | None = None,
    ) -> Faces:
        """Find all faces of one photo, as :meth:`Client.detect` does."""
        parameters = check_model(model, tiles, rotations, threshold)
        return await self._run(detect_call(await _read(photo), model, parameters))

    async def landmarks(
        self, photo: PhotoLike, boxes_xyxy: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Find the landmarks of faces whose boxes are known, as :meth:`Client.landmarks` does."""
        boxes = check_boxes(boxes_xyxy)
        if len(boxes) == 0:
            return no_landmarks()
        return await self._run(landmarks_call(await _read(photo), boxes))

    def detect_many(
        self,
        photos: Iterable[PhotoLike] | AsyncIterable[PhotoLike],
        concurrency: int = 4,
        *,
        model: str = "faces",
        tiles: str | int | None = None,
        rotations: str | int | None = None,
        threshold: float | None = None,
    ) -> AsyncIterator[Faces | FacekitError]:
        """Find the faces of many photos and yield the results in order.

        As :meth:`Client.detect_many`; ``photos`` may be an asynchronous iterable too.

        Raises:
            ConfigError: ``concurrency`` is less than 1, or see :meth:`Client.detect`.
        """
        check_model(model, tiles, rotations, threshold)
        check_concurrency(concurrency)
        how = {
            "model": model,
            "tiles": tiles,
            "rotations": rotations,
            "threshold": threshold,
        }
        return self._detect_many(photos, concurrency, how)

    async def server_ready(self) -> bool:
        """Return Triton's own ready flag, as :meth:`Client.server_ready` does."""
        if self._closed:
            return False
        try:
            triton = await self._open()
            return bool(await triton.is_server_ready(client_timeout=self._connection.timeout_s))
        except (InferenceServerException, ServerError):
            return False
        except asyncio.CancelledError:
            if self._closed and not _task_is_cancelled():
                return False
            raise

    async def check_ready(self) -> None:
        """Check that the server is ready, as :meth:`Client.check_ready` does."""
        if not self._closed:
            await self._open()
        if not await self.server_ready():
            raise self._connection.not_ready()

    async def close(self) -> None:
        """Close the connection; calls in flight in other tasks end with a ServerError."""
        self._closed = True
        if self._triton is not None:
            await self._triton.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _detect_many(
        self,
        photos: Iterable[PhotoLike] | AsyncIterable[PhotoLike],
        concurrency: int,
        how: dict[str, Any],
    ) -> AsyncIterator[Faces | FacekitError]:
        slots = asyncio.Semaphore(concurrency)
        waiting: deque[asyncio.Task[Faces | FacekitError]] = deque()
        try:
            async for photo in _each(photos):
                waiting.append(asyncio.create_task(self._detect_or_error(photo, slots, how)))
                if len(waiting) >= 2 * concurrency:
                    yield await waiting[0]
                    waiting.popleft()
            while waiting:
                yield await waiting[0]
                waiting.popleft()
        finally:
            # The caller may stop early: calls in flight are cancelled.
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _detect_or_error(
        self, photo: PhotoLike, slots: asyncio.Semaphore, how: dict[str, Any]
    ) -> Faces | FacekitError:
        async with slots:
            try:
                return await self.detect(photo, **how)
            except FacekitError as error:
                return error

    async def _open(self) -> InferenceServerClient:
        if self._triton is None:
            arguments = await asyncio.to_thread(self._connection.arguments)
            # Another task may have been faster.
            self._triton = self._triton or self._connection.opened(InferenceServerClient, arguments)
        return self._triton

    async def _run(self, call: Call[Result]) -> Result:
        if self._closed:
            raise ServerError("this client has been closed")
        timeout_s = self._connection.timeout_s
        try:
            triton = await self._open()
            answer = await triton.infer(
                call.model,
                call.inputs,
                outputs=call.outputs,
                client_timeout=timeout_s,
                parameters=call.parameters,
            )
        except InferenceServerException as error:
            raise self._translated(error, call.model) from error
        except grpc.aio.UsageError as error:
            raise ServerError(f"this client has been closed: {error}") from error
        except asyncio.CancelledError:
            # gRPC cancels its calls when another task closes the client.
            if self._closed and not _task_is_cancelled():
                raise ServerError("this client has been closed") from None
            raise
        return call.read(answer)


async def _read(photo: PhotoLike) -> npt.NDArray[np.uint8]:
    # Bytes are taken as they are, which is faster than a thread; all else may take its time.
    return (
        read_photo(photo)
        if isinstance(photo, bytes)
        else await asyncio.to_thread(read_photo, photo)
    )


def _task_is_cancelled() -> bool:
    """Whether someone cancelled the running task itself; Python 3.10 can't tell."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is not None and cancelling() > 0


async def _each(
    photos: Iterable[PhotoLike] | AsyncIterable[PhotoLike],
) -> AsyncIterator[PhotoLike]:
    if isinstance(photos, AsyncIterable):
        async for photo in photos:
            yield photo
    else:
        for photo in photos:
            yield photo

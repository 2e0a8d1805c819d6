"""Reads the body of a request, within limits on bytes, time and memory."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from starlette.requests import Request

from facekit.gateway.problems import ProblemError
from facekit.gateway.settings import GatewayLimits

_WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""Of zlib, by the name of the encoding in HTTP: ``deflate`` there is zlib's format."""
# What is decompressed before its memory counts: at most a thousand times as much.
_STEP_BYTES = 64 * 1024


class Bodies:
    """The bodies of all requests of a gateway, which share its memory."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._limits = limits
        self._held_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read a whole body, decompressed; its memory counts until the block ends.

        Raises ProblemError: 400 for a wrong length or broken compression, 408 for one that comes
        too slowly, 413 for one that is too long, 415 for an unknown encoding, 503 while the bodies
        of others fill the memory.
        """
        taken = _Taken(self)
        try:
            data = await self._collect(request, taken)
            encoding = request.headers.get("content-encoding", "identity").strip().lower()
            if encoding != "identity":
                data = await self._decompressed(data, encoding, taken)
            yield data
        finally:
            self._held_bytes -= taken.bytes

    async def _collect(self, request: Request, taken: "_Taken") -> bytes:
        limits = self._limits
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limits.body_bytes:
            raise _too_long(f"{int(length):,} bytes", limits.body_bytes)
        parts: list[bytes] = []
        started = anyio.current_time()
        more = True
        with anyio.move_on_after(limits.idle_timeout_s) as waiting:
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ProblemError(400, "the connection ended within the body", reason="gone")
                parts.append(message.get("body", b""))
                more = message.get("more_body", False)
                taken.add(len(parts[-1]))
                if taken.bytes > limits.body_bytes:
                    raise _too_long("it", limits.body_bytes)
                now = anyio.current_time()
                waiting.deadline = now + limits.idle_timeout_s
                if more and now - started > limits.idle_timeout_s:
                    rate = taken.bytes / (now - started)
                    if rate < limits.slowest_bytes_per_s:
                        raise _too_slow(f"{rate:,.0f} bytes/s")
        if waiting.cancelled_caught:
            raise _too_slow(f"nothing came for {limits.idle_timeout_s:g} s")
        return b"".join(parts)

    async def _decompressed(self, data: bytes, encoding: str, taken: "_Taken") -> bytes:
        if encoding not in _WINDOW_BITS:
            known = ", ".join(_WINDOW_BITS)
            raise ProblemError(
                415,
                f"Content-Encoding: expected {known} or none, got {encoding[:40]!r}",
                headers={"Accept-Encoding": known},
            )
        decoder = zlib.decompressobj(_WINDOW_BITS[encoding])
        most = self._limits.body_bytes
        parts: list[bytes] = []
        at = whole = 0
        while at < len(data) and not decoder.eof:
            step = memoryview(data)[at : at + _STEP_BYTES]
            at += len(step)
            try:
                parts.append(await asyncio.to_thread(decoder.decompress, step, most + 1 - whole))
            except zlib.error as error:
                raise ProblemError(400, f"the body is not {encoding}: {error}") from None
            taken.add(len(parts[-1]))
            whole += len(parts[-1])
            if whole > most:
                raise _too_long("decompressed it", most)
        if not decoder.eof or decoder.unused_data or at < len(data):
            raise ProblemError(400, f"the body is not one whole {encoding} stream")
        return b"".join(parts)

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Count the bytes of an answer as those of bodies, until the block ends.

        Raises ProblemError (503) if all together are too large.
        """
        self.hold(count)
        try:
            yield
        finally:
            self._held_bytes -= count

    def hold(self, count: int) -> None:
        """Count bytes that are held; raises ProblemError if all bodies together are too large."""
        if self._held_bytes + count > self._limits.bodies_bytes:
            raise ProblemError(
                503, "the requests under way fill the memory; try again", reason="memory"
            )
        self._held_bytes += count


class _Taken:
    """What one request holds of the memory of all."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.bytes = 0

    def add(self, count: int) -> None:
        self._bodies.hold(count)
        self.bytes += count


def _too_long(what: str, most: int) -> ProblemError:
    return ProblemError(413, f"the body: {what} is over the limit of {most:,} bytes", reason="size")


def _too_slow(what: str) -> ProblemError:
    return ProblemError(408, f"the body came too slowly: {what}", reason="slow")

"""The server's memory before, during and after many requests."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facekit.bench.processes import Memory, memory
from facekit.bench.wire import Sender
from facekit.errors import ServerError

SAMPLES = 20
"""Measurements along the way."""

SETTLED = SAMPLES // 2
"""The sample that growth counts from: by then pools and caches have the size that they need."""

CONCURRENCY = 4

_BAD_EVERY = 20


@dataclass(frozen=True)
class MemorySample:
    """Memory of the server's processes after so many requests, in MiB (see ``Memory``)."""

    requests: int
    rss_mib: float
    pss_mib: float


@dataclass(frozen=True)
class SoakResult:
    """What the server's memory did under load.

    Attributes:
        at_start: Before the bench's first measurement.
        samples: From the soak's first request to its last.
        requests: Requests that were answered.
        refused: Of these, the broken photos among them, which the server refused.
        start_mib: PSS before the soak's first request.
        end_mib: PSS after its last.
        peak_mib: The largest PSS among the samples.
        growth_mib_per_1000: Slope of the straight line through the PSS of the second half, MiB in
            1,000 requests.
    """

    at_start: Memory
    samples: tuple[MemorySample, ...]
    requests: int
    refused: int
    start_mib: float
    end_mib: float
    peak_mib: float
    growth_mib_per_1000: float


def soak(
    sender: Sender,
    pid: int,
    at_start: Memory,
    good: Sequence[bytes],
    bad: bytes,
    *,
    requests: int,
    advance: Callable[[], None],
) -> SoakResult:
    """Send requests in turns, one in twenty of them broken, and watch the server's memory.

    Args:
        sender: The connection.
        pid: The server's process.
        at_start: Its memory when it was new, to be reported.
        good: Requests that succeed.
        bad: One that the server refuses.
        requests: How many to send.
        advance: Called at every sample.

    Raises:
        ServerError: A good request failed, or the bad one did not.
    """
    turns = (
        bad if k % _BAD_EVERY == _BAD_EVERY - 1 else data
        for k, data in enumerate(itertools.cycle(good))
    )
    lock = threading.Lock()
    refused = 0
    problems: list[ServerError] = []

    def work(count: int) -> None:
        nonlocal refused
        for _ in range(count):
            with lock:
                data = next(turns)
            try:
                sender.send(data)
            except ServerError as e:
                if data is not bad:
                    problems.append(e)
                    return
                with lock:
                    refused += 1

    samples = [_sample(pid, 0)]
    sent = 0
    for k in range(1, SAMPLES + 1):
        part = requests * k // SAMPLES - sent
        shares = [len(range(i, part, CONCURRENCY)) for i in range(CONCURRENCY)]
        threads = [threading.Thread(target=work, args=(share,)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]
        sent += part
        samples.append(_sample(pid, sent))
        advance()
    if refused != sent // _BAD_EVERY:
        raise ServerError(f"{sent // _BAD_EVERY} broken photos were sent, and {refused} refused")
    pss = [sample.pss_mib for sample in samples]
    at = [sample.requests / 1000 for sample in samples]
    return SoakResult(
        at_start=at_start,
        samples=tuple(samples),
        requests=sent,
        refused=refused,
        start_mib=pss[0],
        end_mib=pss[-1],
        peak_mib=max(pss),
        growth_mib_per_1000=float(np.polyfit(at[SETTLED:], pss[SETTLED:], 1)[0]),
    )


def _sample(pid: int, requests: int) -> MemorySample:
    now = memory(pid)
    return MemorySample(requests, now.rss_mib, now.pss_mib)

"""Throughput and latency of workers that repeat one job: the server's and the bound's alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

_JOIN_TIMEOUT_S = 120.0
_PAUSE_S = 0.01
"""After an error, so that a server that refuses at once is not drowned in requests."""


@dataclass(frozen=True)
class Rate:
    """What workers did within one window of time.

    Attributes:
        per_second: Jobs a second; a job that the window cuts counts with its part inside.
        p50_ms: Median time of a job.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        jobs: Jobs that ended inside the window.
        errors: Jobs that failed, which count as no work.
        first_error: What the first of them said.
        cpu_ms: Processor time a job of the processes that were watched, milliseconds.
        own_cpu_ms: Processor time a job of this process.
    """

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    jobs: int
    errors: int
    cpu_ms: float
    own_cpu_ms: float
    first_error: str = ""


def measure(
    workers: Sequence[Callable[[], None]],
    *,
    seconds: float,
    warm_up_s: float | None = None,
    cpu_s: Callable[[], float] = lambda: 0.0,
) -> Rate:
    """Let every worker repeat its job, each in a thread of its own, and watch for a while.

    Args:
        workers: Each does one job a call, and raises when it failed.
        seconds: Length of the window that counts.
        warm_up_s: Time before it, with all workers busy already; a fifth of ``seconds`` when
            left out.
        cpu_s: Processor time used so far by whoever else takes part, seconds.

    Raises:
        Exception: The first error of a worker, when no job at all succeeded.
    """
    stop = threading.Event()
    spans: list[list[tuple[float, float]]] = [[] for _ in workers]
    errors = [0] * len(workers)
    first: list[Exception] = []

    def repeat(k: int, job: Callable[[], None], done: list[tuple[float, float]]) -> None:
        clock = time.perf_counter
        while not stop.is_set():
            start = clock()
            try:
                job()
            except Exception as e:  # counted; the first is reported
                errors[k] += 1
                if not first:
                    first.append(e)
                stop.wait(_PAUSE_S)
                continue
            done.append((start, clock()))

    threads = [
        threading.Thread(target=repeat, args=(k, job, done), daemon=True)
        for k, (job, done) in enumerate(zip(workers, spans, strict=True))
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 5 if warm_up_s is None else warm_up_s)
    opened, cpu, own_cpu = time.perf_counter(), cpu_s(), time.process_time()
    time.sleep(seconds)
    closed, cpu, own_cpu = time.perf_counter(), cpu_s() - cpu, time.process_time() - own_cpu
    # Jobs under way end after the window, with the other workers as busy as before.
    stop.set()
    for thread in threads:
        thread.join(_JOIN_TIMEOUT_S)
    jobs = np.array([span for done in spans for span in done]).reshape(-1, 2)
    if not len(jobs) and first:
        raise first[0]
    rate = _rate(jobs, (opened, closed), sum(errors), cpu, own_cpu)
    return replace(rate, first_error=str(first[0])) if first else rate


def _rate(
    jobs: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    window: tuple[float, float],
    errors: int,
    cpu_s: float,
    own_cpu_s: float,
) -> Rate:
    start, end = jobs.T
    inside = np.minimum(end, window[1]) - np.maximum(start, window[0])
    work = float((np.maximum(inside, 0.0) / np.maximum(end - start, 1e-9)).sum())
    ended = (end > window[0]) & (end <= window[1])
    # With jobs longer than the window none may have ended inside: take those that overlap it.
    chosen = ended if ended.any() else inside > 0
    times = (end - start)[chosen] * 1e3
    p50, p95, p99 = np.percentile(times, (50, 95, 99)) if len(times) else (np.nan,) * 3
    share = 1e3 / max(work, 1e-9)
    return Rate(
        per_second=work / (window[1] - window[0]),
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        jobs=int(ended.sum()),
        errors=errors,
        cpu_ms=cpu_s * share,
        own_cpu_ms=own_cpu_s * share,
    )

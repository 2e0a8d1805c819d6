"""Throughput and latency of workers that repeat one job, and two implementations in turns."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from facekit.errors import ServerError

PAIRS = 5
"""How often two implementations are measured in turns."""

_JOIN_TIMEOUT_S = 120.0
_PAUSE_S = 0.01
"""After an error, so that a server that refuses at once is not flooded with requests."""


class Turn(NamedTuple):
    """One measurement of one side: jobs a second, and milliseconds of processor time a job."""

    per_second: float
    cpu_ms: float


@dataclass(frozen=True)
class Rate:
    """What workers did within one window of time.

    A job that the window cuts counts with its part inside, and failed ones do not count as work.
    ``p50_ms`` to ``p99_ms`` are percentiles of a job's time, ``cpu_ms`` is the processor time a job
    of the processes that were watched, ``own_cpu_ms`` that of this process.
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

    def turn(self, what: str) -> Turn:
        """Return the rate for ``in_turns``; raises ServerError if a job, as ``what``, failed."""
        if self.errors:
            raise ServerError(f"{what}: {self.errors} failed, the first with: {self.first_error}")
        return Turn(self.per_second, self.cpu_ms + self.own_cpu_ms)


@dataclass(frozen=True)
class Turns:
    """Two implementations measured in turns, so that the machine's drift cancels.

    ``ours`` and ``theirs`` are median jobs a second, ``ratio`` is the median of the pairs' ratios,
    ours over theirs, and ``our_cpu_ms`` the median processor time a job, milliseconds.
    """

    ours: float
    theirs: float
    ratio: float
    ratios: tuple[float, ...]
    our_cpu_ms: float
    their_cpu_ms: float


def in_turns(
    ours: Callable[[], Turn],
    theirs: Callable[[], Turn],
    *,
    pairs: int = PAIRS,
    at_least_s: float = 0.0,
    advance: Callable[[], None] = lambda: None,
) -> Turns:
    """Measure two implementations in turns, ``pairs`` times each or for ``at_least_s`` seconds.

    ``ours`` and ``theirs`` measure once; ``advance`` is called after every measurement.
    """
    end = time.perf_counter() + at_least_s
    found: list[tuple[Turn, Turn]] = []
    while len(found) < pairs or time.perf_counter() < end:
        one = ours()
        advance()
        other = theirs()
        advance()
        found.append((one, other))
    (our_rate, our_cpu), (their_rate, their_cpu) = np.median(found, axis=0).tolist()
    ratios = tuple(one.per_second / other.per_second for one, other in found)
    return Turns(our_rate, their_rate, float(np.median(ratios)), ratios, our_cpu, their_cpu)


def timed(run: Callable[[], int], cpu_s: Callable[[], float] = time.process_time) -> Turn:
    """Time one run, which returns how many jobs it did; ``cpu_s`` tells the processor time used."""
    start, cpu = time.perf_counter(), cpu_s()
    jobs = run()
    return Turn(jobs / (time.perf_counter() - start), (cpu_s() - cpu) * 1e3 / jobs)


def measure(
    workers: Sequence[Callable[[], None]],
    *,
    seconds: float,
    warm_up_s: float | None = None,
    cpu_s: Callable[[], float] = lambda: 0.0,
) -> Rate:
    """Let every worker repeat its job in a thread of its own, and count for ``seconds``.

    Args:
        workers: Each does one job a call, and raises when it failed.
        seconds: Length of the window that counts.
        warm_up_s: Time before it, with all workers busy; by default a fifth of ``seconds``.
        cpu_s: Returns the processor time used so far by other processes that take part, seconds.

    Raises:
        Exception: The first error of a worker, when no job at all succeeded.
    """
    stop = threading.Event()
    spans: list[list[tuple[float, float]]] = [[] for _ in workers]
    errors = [0] * len(workers)
    first: list[Exception] = []

    def repeat(k: int, job: Callable[[], None]) -> None:
        clock = time.perf_counter
        while not stop.is_set():
            start = clock()
            try:
                job()
            except Exception as error:  # counted; the first is reported
                errors[k] += 1
                if not first:
                    first.append(error)
                stop.wait(_PAUSE_S)
                continue
            spans[k].append((start, clock()))

    threads = [
        threading.Thread(target=repeat, args=(k, job), daemon=True) for k, job in enumerate(workers)
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
    rate = rate_of(jobs, (opened, closed), sum(errors), cpu, own_cpu)
    return replace(rate, first_error=str(first[0])) if first else rate


def rate_of(
    jobs: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    window: tuple[float, float],
    errors: int,
    cpu_s: float,
    own_cpu_s: float,
) -> Rate:
    """Return the rate of jobs (N, 2), start and end in seconds, within a window of time."""
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

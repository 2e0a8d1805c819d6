"""Rates from spans of time, and workers that fail."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.rates import Turn, in_turns, measure, rate_of
from facekit.errors import ServerError


def test_rate_jobs_cut_by_the_window_count_in_part() -> None:
    # Half of the first job, all of the second, a quarter of the third lie in the window.
    jobs = np.array([[9.0, 11.0], [11.0, 12.0], [19.0, 23.0], [30.0, 31.0]])
    rate = rate_of(jobs, (10.0, 20.0), errors=2, cpu_s=0.7, own_cpu_s=0.35)
    assert rate.per_second == pytest.approx(0.175)
    assert (rate.jobs, rate.errors) == (2, 2)
    assert rate.p50_ms == pytest.approx(1500)
    assert rate.cpu_ms == pytest.approx(400)
    assert rate.own_cpu_ms == pytest.approx(200)


def test_rate_one_job_longer_than_the_window() -> None:
    rate = rate_of(np.array([[0.0, 20.0]]), (5.0, 10.0), errors=0, cpu_s=0.0, own_cpu_s=0.0)
    assert rate.per_second == pytest.approx(1 / 20)
    assert rate.p99_ms == pytest.approx(20_000)


def test_measure_runs_every_worker_and_counts_failures() -> None:
    done = [0, 0]
    turn = itertools.count()

    def good() -> None:
        done[0] += 1

    def flaky() -> None:
        done[1] += 1
        if next(turn) % 2:
            raise RuntimeError("every other one")

    rate = measure([good, flaky], seconds=0.05, warm_up_s=0.0)
    assert min(done) > 0
    assert rate.errors == done[1] // 2
    assert rate.first_error == "every other one"
    assert rate.per_second > 0


def test_measure_does_not_spin_on_errors() -> None:
    calls = itertools.count()

    def refused() -> None:
        if next(calls):
            raise RuntimeError("refused")

    rate = measure([refused], seconds=0.2, warm_up_s=0.0)
    assert 1 <= rate.errors <= 25


def test_measure_raises_when_nothing_succeeds() -> None:
    def broken() -> None:
        raise RuntimeError("no such model")

    with pytest.raises(RuntimeError, match="no such model"):
        measure([broken], seconds=0.01, warm_up_s=0.0)


def test_turns_are_medians_of_pairs() -> None:
    ours, theirs = iter([(8.0, 1.0), (30.0, 3.0), (20.0, 2.0)]), iter([(4.0, 5.0)] * 3)
    advanced: list[int] = []

    turns = in_turns(
        lambda: Turn(*next(ours)),
        lambda: Turn(*next(theirs)),
        pairs=3,
        advance=lambda: advanced.append(1),
    )

    assert (turns.ours, turns.theirs, turns.ratios) == (20.0, 4.0, (2.0, 7.5, 5.0))
    assert (turns.ratio, turns.our_cpu_ms, turns.their_cpu_ms) == (5.0, 2.0, 5.0)
    assert len(advanced) == 6


def test_rate_with_failures_is_not_compared() -> None:
    rate = rate_of(np.array([[0.0, 1.0]]), (0.0, 1.0), errors=3, cpu_s=0.0, own_cpu_s=0.0)
    with pytest.raises(ServerError, match="faces: 3 failed, the first with: out of memory"):
        replace(rate, first_error="out of memory").turn("faces")

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from facekit.parallel import in_order


def test_results_come_in_order_and_items_are_taken_as_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda number: number * 2, items(), ahead=3)
        assert next(results) == 0 and taken == [0, 1, 2]
        assert list(results) == list(range(2, 20, 2))


def test_work_that_has_not_begun_is_cancelled_when_the_caller_stops() -> None:
    go, begun = threading.Event(), []

    def work(number: int) -> int:
        begun.append(number)
        if number:
            go.wait(10)
        return number

    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, work, range(9), ahead=5)
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
        go.set()
    assert len(begun) <= 2


def test_an_error_reaches_the_caller_in_its_turn() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda number: 1 // number, (1, 0), ahead=9)
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)

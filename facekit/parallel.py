"""Work of several threads whose results are wanted in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield ``work(item)`` of all items in their order, several under way at a time.

    Items are taken as they are needed, so an endless or a huge collection does not fill the memory.
    Work that has not begun is cancelled when the caller stops in the middle.

    Args:
        pool: Does the work; the caller shuts it down.
        work: Called in the pool.
        items: Iterated in the caller's thread.
        ahead: How many results may be under way or wait at one time.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as pool:
    ...     list(in_order(pool, abs, range(-3, 1), ahead=4))
    [3, 2, 1, 0]
    """
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()

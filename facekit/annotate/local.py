"""Find the faces of many photos with threads of this process."""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from facekit.annotate.options import Options
from facekit.annotate.photo import Detector, PendingPhoto, annotate_photo
from facekit.annotate.servers import Say, ServerPool
from facekit.annotations.record import PhotoRecord
from facekit.client.photos import PhotoLike
from facekit.faces import Faces

Finder = Callable[[Iterator[PendingPhoto]], Generator[PhotoRecord, None, None]]
"""Yields one record for each pending photo, in any order; takes photos only as they are needed.

When its generator is closed it ends its work.
"""

_CONCURRENCY = 8
_MOST_BYTES = 256 * 1024 * 1024
"""Of photos that are read or sent at one time; a single one may be larger."""


@contextmanager
def local_finder(folder: Path, options: Options, say: Say | None = None) -> Iterator[Finder]:
    """Give a finder that asks the servers of ``options``, or an embedded one.

    Raises ServerUnavailableError if none of the servers is ready after ``server_wait_s``, and
    SetupError if the embedded server can't start on this machine.
    """
    urls, why_ended = options.urls, None
    concurrency = options.concurrency or _CONCURRENCY * max(1, len(urls))
    with ExitStack() as stack:
        if not urls:
            from facekit.serving import EmbeddedServer
            from facekit.serving.repository import check_default_repository

            check_default_repository()
            server = stack.enter_context(EmbeddedServer())
            if say is not None:
                for note in server.notes:
                    say(note)
            urls, why_ended = (server.grpc_url,), server.exit_reason
        pool = ServerPool(
            urls,
            timeout_s=options.timeout_s,
            tls_certificate=options.tls_certificate,
            wait_s=options.server_wait_s,
            say=say,
            why_ended=why_ended,
        )
        stack.enter_context(pool)
        pool.connect(options.server_wait_s if options.urls else 0.0)

        def find(pending: Iterator[PendingPhoto]) -> Generator[PhotoRecord, None, None]:
            return find_faces(
                pending,
                pool,
                folder,
                concurrency=concurrency,
                hash_content=options.hash_content,
                **options.how,
            )

        yield find


def find_faces(
    pending: Iterator[PendingPhoto],
    detector: Detector,
    folder: Path,
    *,
    concurrency: int,
    hash_content: bool = False,
    **how: Any,
) -> Generator[PhotoRecord, None, None]:
    """Find the faces of many photos, several at a time, reading some more ahead.

    ``pending`` are taken as they are needed, ``concurrency`` requests in flight; for the others and
    errors see :func:`annotate_photo`. Yields a record a photo, in the order in which they are done.
    """
    window = concurrency + 2 + concurrency // 2
    slots = _Slots(detector, concurrency)
    done: SimpleQueue[tuple[int, PhotoRecord | BaseException]] = SimpleQueue()

    def work(photo: PendingPhoto) -> None:
        try:
            record = annotate_photo(slots, folder, photo, hash_content=hash_content, **how)
            done.put((photo.stamp.size, record))
        except BaseException as error:
            done.put((photo.stamp.size, error))

    pool = ThreadPoolExecutor(window, thread_name_prefix="annotate")
    photos, count, size = iter(pending), 0, 0
    try:
        following = next(photos, None)
        while following is not None or count:
            while following is not None and _fits(count, size, following, window):
                pool.submit(work, following)
                count, size = count + 1, size + following.stamp.size
                following = next(photos, None)
            length, result = done.get()
            count, size = count - 1, size - length
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        # Whoever stops in the middle closes the connections too, which ends what is under way.
        pool.shutdown(wait=False, cancel_futures=True)


def _fits(count: int, size: int, photo: PendingPhoto, window: int) -> bool:
    return count == 0 or (count < window and size + photo.stamp.size <= _MOST_BYTES)


class _Slots:
    """Lets through so many requests at one time; more photos are read and wait."""

    def __init__(self, detector: Detector, count: int) -> None:
        self._detector = detector
        self._slots = threading.Semaphore(count)

    def detect(self, photo: PhotoLike, **how: Any) -> Faces:
        with self._slots:
            return self._detector.detect(photo, **how)

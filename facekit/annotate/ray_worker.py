"""The work of a Ray worker: one record for each photo of a shard."""

import functools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.annotate.local import find_faces
from facekit.annotate.options import Options
from facekit.annotate.photo import PendingPhoto
from facekit.annotate.servers import ServerPool
from facekit.annotations.record import FileStamp
from facekit.errors import FacekitError, ServerUnavailableError

RECORD = "record"
"""Kind of a row that has a record; any other row's kind is the class of an error."""

# A wrong address is reported soon; the pool waits for servers that go away during a run.
_FIRST_ANSWER_S = 15.0
_CONCURRENCY = 4
"""Calls in flight in each worker process."""


@dataclass(frozen=True)
class Task:
    """What a worker is told, besides the photos; the folder has one path on every machine.

    The certificate is in ``certificate_pem``: its file is on the driver's machine alone.
    """

    folder: str
    options: Options
    certificate_pem: bytes | None = None


def shard_row(photos: list[PendingPhoto]) -> dict[str, Any]:
    """Return a shard as a row of a Ray dataset."""
    return {
        "photo": [each.photo for each in photos],
        "rank": [each.rank for each in photos],
        "size": [each.stamp.size for each in photos],
        "mtime_ns": [each.stamp.mtime_ns for each in photos],
        "sha256": [each.stamp.sha256 for each in photos],
    }


def annotate_shard(shard: dict[str, Any], task: Task) -> list[dict[str, str]]:
    """Find the faces of a shard's photos, a row of :func:`shard_row`.

    Returns rows of ``kind``, ``text`` and ``node``. Of the kind ``RECORD`` the text is a record as
    JSON; an error that the whole run must stop for comes last, its class and its words, because Ray
    would wrap a raised one in pages of its own.
    """
    import ray

    node = ray.util.get_node_ip_address()
    rows = []
    try:
        for text in _records(shard, task):
            rows.append({"kind": RECORD, "text": text, "node": node})
    except FacekitError as error:
        rows.append({"kind": type(error).__name__, "text": str(error), "node": node})
    return rows


def _records(shard: dict[str, Any], task: Task) -> Iterator[str]:
    columns = (shard[name] for name in ("rank", "photo", "size", "mtime_ns", "sha256"))
    pending = (
        PendingPhoto(int(rank), str(photo), FileStamp(int(size), int(mtime_ns), str(sha256)))
        for rank, photo, size, mtime_ns, sha256 in zip(*columns, strict=True)
    )
    records = find_faces(
        pending,
        _connect(task),
        Path(task.folder),
        concurrency=task.options.concurrency or _CONCURRENCY,
        hash_content=task.options.hash_content,
        **task.options.how,
    )
    for record in records:
        yield record.to_json()


@functools.lru_cache(maxsize=1)
def _connect(task: Task) -> ServerPool:
    """Return the connections of this process, which serves shard after shard."""
    certificate = None
    if task.certificate_pem is not None:
        with tempfile.NamedTemporaryFile(prefix="facekit-", suffix=".pem", delete=False) as file:
            file.write(task.certificate_pem)
        certificate = Path(file.name)
    deadline = time.monotonic() + min(_FIRST_ANSWER_S, task.options.server_wait_s)
    while True:
        pool = ServerPool(
            task.options.urls,
            timeout_s=task.options.timeout_s,
            tls_certificate=certificate,
            wait_s=task.options.server_wait_s,
        )
        try:
            pool.connect()
            return pool
        except ServerUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)

"""What runs where the command was started: shards out, records in."""

from __future__ import annotations

import functools
import itertools
import os
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from facekit.annotate.local import Finder
from facekit.annotate.options import Options
from facekit.annotate.photo import PendingPhoto, ServersAwayError
from facekit.annotations.journal import GONE
from facekit.annotations.record import PhotoRecord
from facekit.cluster.session import connect
from facekit.cluster.worker import RECORD, Task, annotate_shard, shard_row
from facekit.errors import (
    ConfigError,
    FacekitError,
    ModelMissingError,
    ServerUnavailableError,
    SetupError,
)

SHARD_PHOTOS = 32
"""Photos that a worker takes at a time, and that are done again when it dies."""
_WINDOW_PHOTOS = 1024 * SHARD_PHOTOS
"""Photos that Ray is told of at a time: memory stays flat however many there are."""
_SHARDS_PER_CPU = 4
"""Small folders get smaller shards, so that every worker has some and none is long the last."""
_CONCURRENCY = 4
_RETRIES = 1
"""Of a shard whose worker or machine has died; after that its photos are tried one by one."""

_ERRORS: dict[str, type[FacekitError]] = {
    kind.__name__: kind
    for kind in (ConfigError, ModelMissingError, ServersAwayError, ServerUnavailableError)
}


@contextmanager
def ray_finder(
    folder: Path, options: Options, say: Callable[[str], None] | None = None
) -> Iterator[Finder]:
    """Give a finder that works on the machines of a Ray cluster.

    Args:
        folder: The photo folder, which every machine sees at the same path, or a list of objects.
        options: Of the run; ``ray`` is the cluster's address and ``urls`` the servers as its
            machines reach them.
        say: Takes a line about the cluster.

    Raises:
        ConfigError: There is no server's address.
        SetupError: Ray is not installed, or no such cluster answers.
    """
    if not options.urls:
        raise ConfigError(
            "--ray needs --url: its workers call servers that they can all reach, and the embedded "
            "server is reached from this machine only"
        )
    certificate = options.tls_certificate
    task = Task(
        folder=str(folder.resolve()),
        urls=tuple(options.urls),
        model=options.model,
        concurrency=options.concurrency or _CONCURRENCY,
        timeout_s=options.timeout_s,
        wait_s=options.server_wait_s,
        certificate_pem=None if certificate is None else Path(certificate).read_bytes(),
        hash_content=options.hash_content,
    )
    with connect(str(options.ray)) as cluster:
        if say is not None:
            say(f"Ray: {cluster.describe()}")

        def find(pending: Iterator[PendingPhoto]) -> Generator[PhotoRecord, None, None]:
            while window := list(itertools.islice(pending, _WINDOW_PHOTOS)):
                yield from _find(window, task, cluster.cpus)

        yield find


def _find(window: list[PendingPhoto], task: Task, cpus: int) -> Iterator[PhotoRecord]:
    from ray import exceptions

    deaths = (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,
    )
    size = max(1, min(SHARD_PHOTOS, len(window) // (_SHARDS_PER_CPU * cpus)))
    missing = {each.photo: each for each in window}
    # Where workers keep dying, first the shards that can be done, then photo by photo.
    for photos, skip in ((size, False), (size, True), (1, True)):
        if not missing:
            return
        try:
            for row in _rows(list(missing.values()), photos, task, skip=skip):
                record = _record(row, task)
                # A shard that was done twice, because a machine died with its results on it.
                if missing.pop(record.photo, None):
                    yield record
        except deaths:
            continue
        except exceptions.RayError as error:
            raise SetupError(_explained(error)) from error
    for each in missing.values():
        reason = "each worker of the Ray cluster that took it has died; the next run tries it again"
        yield PhotoRecord(each.photo, each.stamp, error=reason, lasting=False)


def _rows(
    photos: list[PendingPhoto], size: int, task: Task, *, skip: bool
) -> Iterator[dict[str, str]]:
    """Yield what workers say of photos; with ``skip`` a shard that can't be done does not raise."""
    import ray.data

    shards = [shard_row(photos[start : start + size]) for start in range(0, len(photos), size)]
    dataset = ray.data.from_items(shards, override_num_blocks=len(shards))
    with warnings.catch_warnings():
        # Ray 2.64 will have another way to say how often a shard is tried: by default for ever.
        warnings.simplefilter("ignore")
        dataset = dataset.flat_map(
            functools.partial(annotate_shard, task=task), max_retries=_RETRIES
        )
    dataset.context.max_errored_blocks = -1 if skip else 0
    yield from dataset.iter_rows()


def _record(row: dict[str, str], task: Task) -> PhotoRecord:
    """Return what a worker has found.

    Raises:
        FacekitError: It could not work at all.
    """
    if row["kind"] != RECORD:
        kind = _ERRORS.get(row["kind"], SetupError)
        raise kind(f"worker {row['node']}: {row['text']}")
    record = PhotoRecord.from_json(row["text"])
    if record.error == GONE and "://" not in record.photo:
        path = Path(task.folder, record.photo)
        if os.path.lexists(path):
            raise SetupError(
                f"worker {row['node']} does not see {path}, and this machine does: every machine "
                f"of the Ray cluster needs the folder {task.folder} at this path"
            )
    return record


def _explained(error: Exception) -> str:
    """Return the cause that stands below Ray's own words, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else repr(error)
    if "ModuleNotFoundError" in last:
        return f"a machine of the Ray cluster lacks what a worker needs: {last}"
    return f"Ray could not go on, and the same command tries again: {last}"

"""A run over the machines of a Ray cluster: ``facekit annotate --ray ADDRESS``.

The driver, where the command was started, lists the photos, cuts them into shards and keeps the
record; Ray Data hands the shards to its workers, which read the photos themselves and ask the
servers. What a worker sends back is one record a photo, as in a run on one machine, so both end
with the same files. If a worker dies, its shard is tried a second time, and then each of its photos
by itself; if the driver dies, the same command goes on.
"""

import functools
import importlib.util
import itertools
import logging
import os
import socket
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import facekit
from facekit.annotate.local import Finder
from facekit.annotate.options import Options
from facekit.annotate.photo import PendingPhoto, ServersAwayError
from facekit.annotate.ray_worker import RECORD, Task, annotate_shard, shard_row
from facekit.annotations.record import GONE, PhotoRecord
from facekit.errors import (
    ConfigError,
    FacekitError,
    ModelMissingError,
    ServerUnavailableError,
    SetupError,
    install_hint,
)
from facekit.text import count

SHARD_PHOTOS = 32
"""Photos that a worker takes at a time, and that are done again when it dies."""
_WINDOW_PHOTOS = 1024 * SHARD_PHOTOS
"""Photos that Ray gets at a time: memory stays flat however many there are."""
_SHARDS_PER_CPU = 4
"""Small folders get smaller shards, so that the workers finish at about the same time."""
_RETRIES = 1
"""Of a shard whose worker or machine has died; after that its photos are tried one by one."""

_KNOCK_S = 10.0

_ERRORS: dict[str, type[FacekitError]] = {
    kind.__name__: kind
    for kind in (ConfigError, ModelMissingError, ServersAwayError, ServerUnavailableError)
}


@contextmanager
def ray_finder(
    folder: Path, options: Options, say: Callable[[str], None] | None = None
) -> Iterator[Finder]:
    """Give a finder that works on the machines of a Ray cluster.

    Every machine sees the folder, or list of objects, at the same path; ``options.urls`` are the
    servers as the machines reach them. ``say`` takes a line about the cluster. Raises ConfigError
    without a server's address, and SetupError as :func:`connect` does.
    """
    if not options.urls:
        raise ConfigError(
            "--ray needs --url: its workers call servers that they can all reach, and the embedded "
            "server is reached from this machine only"
        )
    certificate = options.tls_certificate
    task = Task(
        folder=str(folder.resolve()),
        # A store's address may contain a password, which is no business of a worker.
        options=replace(options, tls_certificate=None, store=None, dataset=None),
        certificate_pem=None if certificate is None else Path(certificate).read_bytes(),
    )
    with connect(str(options.ray)) as (machines, cpus):
        if say is not None:
            say(f"Ray: {count(machines, 'machine')} at {options.ray}, {cpus} CPUs")

        def find(pending: Iterator[PendingPhoto]) -> Generator[PhotoRecord, None, None]:
            while window := list(itertools.islice(pending, _WINDOW_PHOTOS)):
                yield from _find(window, task, cpus)

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
    """Yield the workers' rows; with ``skip`` a shard that fails does not raise."""
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
    """Return what a worker has found; raises FacekitError if it could not work at all."""
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
    """Return the last line of Ray's message, which is the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else repr(error)
    if "ModuleNotFoundError" in last:
        return f"a machine of the Ray cluster lacks what a worker needs: {last}"
    return f"Ray could not go on, and the same command tries again: {last}"


@contextmanager
def connect(address: str) -> Iterator[tuple[int, int]]:
    """Join a cluster for as long as the context lasts; one that is joined already stays so.

    ``address`` is ``host:port``, ``auto`` for the cluster that runs on this machine, or ``local``
    for one that lasts as long as the context. The workers get this very version of facekit; NumPy,
    tritonclient and pyarrow they need to have. Yields the numbers of machines and of processors, 1
    at least. Raises SetupError if Ray is not installed, or no such cluster answers.
    """
    if importlib.util.find_spec("ray") is None:
        raise SetupError(f"Ray is not installed: {install_hint('ray')}")
    # Read by Ray as it is imported, or by the processes that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.data

    joined = ray.is_initialized()
    if not joined:
        _join(address)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # What goes wrong is raised as well, with a message of one line.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        alive = [node for node in ray.nodes() if node["Alive"]]
        yield len(alive), max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if not joined:
            ray.shutdown()


def _join(address: str) -> None:
    import ray

    _knock(address)
    package = str(Path(facekit.__file__).parent)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            # Only counts for a cluster that starts here, whose pages nobody would open.
            include_dashboard=False if address == "local" else None,
            runtime_env={"py_modules": [package], "excludes": ["__pycache__"]},
        )
    except Exception as error:
        # Ray raises ConnectionError, RuntimeError, ValueError and its own, each with many lines.
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise SetupError(f"no Ray cluster could be joined at {address}: {reason}") from error
    # Messages about machines and workers that died would go to standard output.
    ray._private.worker._worker_logs_enabled = False


def _knock(address: str) -> None:
    """Check that the port answers: Ray itself would try for minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except OSError as error:
        reason = error.strerror or error
        raise SetupError(f"no Ray cluster could be joined at {address}: {reason}") from error

"""The connection to a Ray cluster, without Ray's own lines among the command's."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import facekit
from facekit.errors import SetupError, install_hint

_KNOCK_S = 10.0


@dataclass(frozen=True)
class Cluster:
    """A cluster as it was at the start.

    Attributes:
        address: As the user gave it.
        nodes: How many machines it has.
        cpus: How many processors Ray counts on them, 1 at least.
    """

    address: str
    nodes: int
    cpus: int

    def describe(self) -> str:
        """Return it in a few words."""
        machines = "1 machine" if self.nodes == 1 else f"{self.nodes} machines"
        return f"{machines} at {self.address}, {self.cpus} CPUs"


@contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """Join a cluster for as long as the context lasts; one that is joined already stays so.

    The workers get this very version of facekit; NumPy, tritonclient and pyarrow they need to have.

    Args:
        address: ``host:port``, ``auto`` for the cluster that runs on this
            machine, ``local`` for one that lasts as long as the context.

    Raises:
        SetupError: Ray is not installed, or no such cluster answers.
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
        # What goes wrong is raised as well, and told in one line.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        alive = [node for node in ray.nodes() if node["Alive"]]
        yield Cluster(address, len(alive), max(1, int(ray.cluster_resources().get("CPU", 1))))
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
            # Only looked at for a cluster that starts here; nobody would look at its pages.
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
    """See that somebody listens: Ray itself would try for minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except OSError as error:
        reason = error.strerror or error
        raise SetupError(f"no Ray cluster could be joined at {address}: {reason}") from error

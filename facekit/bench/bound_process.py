"""The bound in a process of its own, started with the server's environment.

How glibc gives memory back and how many threads NumPy's libraries start is decided by variables
that a process reads once, at its start: without them the bound would be slower than the same code
is in the server.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from facekit.bench.bound import BoundWorker, turns
from facekit.bench.measure import Rate, measure
from facekit.bench.photos import PhotoSet
from facekit.bench.server import Settings
from facekit.errors import FacekitError, ServerError

METHODS = {"facenet_ensemble": "detect", "faces": "faces"}
"""The worker's method that does what a model does."""

_CODE_FOLDER = Path(__file__).resolve().parents[2]
_END_TIMEOUT_S = 10.0


class BoundProcess:
    """Workers in one child process, each single-threaded.

    Args:
        server_pid: The server, whose environment the child gets.
        repository: The model repository.
        settings: The server's.
        photo_sets: The photos to work on.
        workers: How many.

    Raises:
        ConfigError: A model's file is missing or does not load.
        ServerError: The server or the child is gone.
    """

    def __init__(
        self,
        server_pid: int,
        repository: Path,
        settings: Settings,
        photo_sets: Sequence[PhotoSet],
        workers: int,
    ) -> None:
        environment = _environment(server_pid)
        environment["PYTHONPATH"] = os.pathsep.join([str(_CODE_FOLDER), *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches this process, which ends the child
        )
        try:
            self._ask("start", repository, settings, tuple(photo_sets), workers)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def boxes(self, model: str, photo_set: int, photo: int) -> npt.NDArray[np.float32]:
        """Return the boxes that the bound finds, float32 (N, 4) in photo pixels."""
        found: npt.NDArray[np.float32] = self._ask("boxes", model, photo_set, photo)
        return found

    def rate(self, model: str, photo_set: int, seconds: float) -> Rate:
        """Measure all workers doing what ``model`` does on the photos of a set."""
        rate: Rate = self._ask("rate", model, photo_set, seconds)
        return rate

    def variable(self, name: str) -> str | None:
        """Return an environment variable of the child."""
        value: str | None = self._ask("variable", name)
        return value

    def _ask(self, *question: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            pickle.dump(question, self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (OSError, EOFError) as e:
            raise ServerError("the bound's process ended unexpectedly") from e
        if isinstance(answer, Exception):
            raise answer
        return answer


def _environment(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with.

    Raises:
        ServerError: The process is gone, or another user's.
    """
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError as e:
        raise ServerError(f"the server's process {pid} can't be read: {e.strerror}") from e
    entries = (os.fsdecode(entry).partition("=") for entry in data.split(b"\0") if entry)
    return {name: value for name, _, value in entries}


class _Child:
    """What the child answers."""

    def start(
        self, repository: Path, settings: Settings, sets: tuple[PhotoSet, ...], workers: int
    ) -> None:
        self._sets = sets
        self._workers = [BoundWorker(repository, settings) for _ in range(workers)]

    def boxes(self, model: str, photo_set: int, photo: int) -> Any:
        result = getattr(self._workers[0], METHODS[model])(self._sets[photo_set].photos[photo])
        return (result[0] if model == "faces" else result).boxes_xyxy

    def rate(self, model: str, photo_set: int, seconds: float) -> Rate:
        photos = self._sets[photo_set].photos
        jobs = [turns(getattr(worker, METHODS[model]), photos) for worker in self._workers]
        return measure(jobs, seconds=seconds)

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)


def _serve(questions: BinaryIO, answers: BinaryIO) -> None:
    child = _Child()
    while True:
        try:
            name, *arguments = pickle.load(questions)
        except EOFError:
            return
        try:
            answer = getattr(child, name)(*arguments)
        except FacekitError as e:
            answer = e
        except Exception as e:  # any library's; it may not travel as it is
            answer = ServerError(f"the bound failed: {type(e).__name__}: {e}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    # What libraries print must not get among the answers.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _serve(sys.stdin.buffer, channel)

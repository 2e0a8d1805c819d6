"""The bound: the server's work done in one process with no server.

The same files are run with the same settings by the same classes that serve them: photo check,
decode and resize (DALI), network (ONNX Runtime), clustering, crops. What is left out is Triton:
gRPC, scheduling, and tensors on their way between processes. Every worker has its own pipelines and
sessions, each single-threaded, so that as many workers as cores keep the machine busy.

The workers live in a process with the environment of the server. How glibc gives memory back and
how many threads NumPy's libraries start is decided by variables that a process reads once, at its
start: without them the bound would be slower than the same code is in the server.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.configuration import Settings
from benchmarks.load import GRIDS, Array
from benchmarks.rates import Turn, measure
from facekit.backends.dali.pipeline import DaliPipeline
from facekit.backends.model_config import ModelConfig
from facekit.backends.onnxruntime.session import OnnxSession
from facekit.contract import MAX_BATCH_SIZE, MODELS
from facekit.detection.postprocess import Detections, detect
from facekit.errors import FacekitError, ServerError
from facekit.landmarks.crops import crop_squares, cut_crops, to_photo
from facekit.photos.check import CheckedPhoto, check_photo
from facekit.photos.reduced import reduce, reduction_for_faces, reduction_for_network
from facekit.pipelines.serialize import file_name

Photo = npt.NDArray[np.uint8]

_METHODS = {"facenet_ensemble": "detect", "faces": "faces"}
"""The worker's method that does what a model does."""
_POINTS = ("softargmax", "softargmax:1")


@contextlib.contextmanager
def bound_process(
    server_pid: int, repository: Path, settings: Settings, workers: int
) -> Iterator[Callable[..., Any]]:
    """Start a child with single-threaded workers; yields what calls ``find_boxes`` or ``turn``.

    Raises ConfigError if a model's file is missing or does not load, and ServerError if the server
    or the child is gone.
    """
    # Not a fork: the child must read the environment at its own start.
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)

    def ask(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return pool.submit(function, *arguments).result()
        except FacekitError:
            raise
        except Exception as error:  # any library's, or the child is gone
            raise ServerError(f"the bound failed: {type(error).__name__}: {error}") from error

    try:
        with _environment_of(server_pid):
            ask(_start, repository, settings, workers)
        yield ask
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _environment_of(pid: int) -> Iterator[None]:
    """Give this process the environment that another one was started with."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError as error:
        raise ServerError(f"the server's process {pid} can't be read: {error.strerror}") from error
    entries = (os.fsdecode(entry).partition("=") for entry in data.split(b"\0") if entry)
    own = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update({name: value for name, _, value in entries})
        yield
    finally:
        os.environ.clear()
        os.environ.update(own)


_workers: list[BoundWorker] = []
"""In the child."""


def _begin() -> None:
    os.dup2(2, 1)  # what libraries print must not get among the figures on standard output
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and that the child
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # The pool's own pipe stays open in a child whose parent was killed.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _start(repository: Path, settings: Settings, workers: int) -> None:
    _workers[:] = [BoundWorker(repository, settings) for _ in range(workers)]


def find_boxes(model: str, photo: Photo) -> npt.NDArray[np.float32]:
    """Return the boxes that the bound finds, float32 (N, 4) in photo pixels."""
    result = getattr(_workers[0], _METHODS[model])(photo)
    boxes: npt.NDArray[np.float32] = (result[0] if model == "faces" else result).boxes_xyxy
    return boxes


def turn(model: str, photos: Sequence[Photo], seconds: float) -> Turn:
    """Measure all workers doing what ``model`` does on photos."""

    def job(worker: BoundWorker) -> Callable[[], None]:
        turns, method = itertools.cycle(photos), getattr(worker, _METHODS[model])

        def work() -> None:
            method(next(turns))

        return work

    return measure([job(worker) for worker in _workers], seconds=seconds).turn("the bound")


class BoundWorker:
    """One single-threaded worker: detection, or detection and landmarks, of one photo a call."""

    def __init__(self, repository: Path, settings: Settings) -> None:
        self._parameters, self._color = settings.parameters, settings.color
        self._reduces = settings.reduces
        self._facenet_preprocess = _dali(repository, "facenet_preprocess", settings.color)
        self._faces_preprocess = _dali(repository, "faces_preprocess", settings.color)
        self._photo_gray = _dali(repository, "photo_gray", None)
        self._facenet = _onnx(repository, "facenet")
        self._fpenet = _onnx(repository, "fpenet", settings.points)

    def detect(self, photo: Photo) -> Detections:
        """Do what ``facenet_ensemble`` does."""
        checked = check_photo(photo)
        data = reduce(checked, self._scale(checked), self._color)
        (network_input,) = _run_dali(self._facenet_preprocess, data, checked.orientation)
        return self._find(network_input, checked)

    def faces(self, photo: Photo) -> tuple[Detections, Array, Array]:
        """Return the faces, their points float32 (N, K, 2) in photo pixels, and points' scores."""
        checked = check_photo(photo)
        scale = self._scale(checked)
        data = reduce(checked, scale, self._color)
        network_input, gray = _run_dali(self._faces_preprocess, data, checked.orientation)
        found = self._find(network_input, checked)
        if scale > 1 and (finer := reduction_for_faces(checked, found.boxes_xyxy)) < scale:
            scale, data = finer, reduce(checked, finer, "gray")
            (gray,) = _run_dali(self._photo_gray, data, checked.orientation)
        height, width, _ = checked.size_hwc
        squares = crop_squares(found.boxes_xyxy, size_wh=(width, height))
        crops = cut_crops(gray[0], squares / np.float32(scale))
        parts = [
            _run_onnx(self._fpenet, "input_face_images", crops[i : i + MAX_BATCH_SIZE], _POINTS)
            for i in range(0, len(crops), MAX_BATCH_SIZE)
        ]
        if not parts:
            return found, np.empty((0, 0, 2), np.float32), np.empty((0, 0), np.float32)
        points, peaks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return found, to_photo(points, squares), peaks

    def _scale(self, checked: CheckedPhoto) -> int:
        return reduction_for_network(checked) if self._reduces else 1

    def _find(self, network_input: Array, checked: CheckedPhoto) -> Detections:
        bbox, cov = _run_onnx(self._facenet, "input_1", network_input, GRIDS)
        height, width, _ = checked.size_hwc
        return detect(bbox[0], cov[0], size_wh=(width, height), parameters=self._parameters)


def _dali(repository: Path, model: str, color: str | None) -> DaliPipeline:
    name = file_name(color, "cpu")
    return DaliPipeline(_config(repository, model, name, {"num_threads": "1"}))


def _onnx(repository: Path, model: str, points: int = -1) -> OnnxSession:
    threads = {"intra_op_thread_count": "1", "inter_op_thread_count": "1"}
    config = _config(repository, model, "model.onnx", threads)
    # The contract leaves the number of points open; a network and its configuration do not.
    outputs = tuple(
        replace(spec, dims=(points, *spec.dims[1:])) if spec.dims[0] == -1 else spec
        for spec in config.outputs
    )
    return OnnxSession(replace(config, outputs=outputs))


def _config(repository: Path, model: str, file: str, parameters: dict[str, str]) -> ModelConfig:
    spec = MODELS[model]
    path = repository / model / "1" / file
    return ModelConfig(model, MAX_BATCH_SIZE, spec.inputs, spec.outputs, path, parameters)


def _run_dali(pipeline: DaliPipeline, data: Photo, orientation: int) -> list[Array]:
    inputs: dict[str, Array] = {
        "photo": data[None],
        "orientation": np.array([[orientation]], np.int32),
    }
    (result,) = pipeline.run([inputs])
    if isinstance(result, FacekitError):
        raise result
    return result


def _run_onnx(session: OnnxSession, name: str, batch: Array, outputs: Sequence[str]) -> list[Array]:
    (result,) = session.run([{name: batch}], [outputs])
    if isinstance(result, FacekitError):
        raise ServerError(str(result)) from result
    return [result[output] for output in outputs]

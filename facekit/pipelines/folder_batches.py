"""Decode photos in batches: of one shape each, so that they stack, or ragged ones in order.

::

    with PhotoBatches(sorted(folder.iterdir()), 32, grouped=True) as batches:
        for batch in batches:
            batch.images  # uint8 (N, H, W, 3), all photos of one batch are of one shape
        batches.failures  # the photos that can't be used

Grouping sorts the photos by their shape upright, which their headers tell; nothing is decoded for
it. Every photo passes ``facekit.photos.check`` before DALI sees it, so that a broken one is named
and left out, and the batch goes on without it. The pixels are those that the server decodes.
"""

import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from nvidia.dali import pipeline_def

from facekit import limits
from facekit.client.photos import PhotoLike, read_photo
from facekit.closing import Closing
from facekit.errors import ConfigError, PhotoError
from facekit.parallel import in_order
from facekit.photos.check import CheckedPhoto, check_photo
from facekit.photos.header import read_photo_header
from facekit.pipelines.definitions import DEVICES, Node, decode, inputs, upright

Pixels = npt.NDArray[np.uint8]
Shape = tuple[int, int]
Result = TypeVar("Result")

_READ_AHEAD = 2
"""Batches that are read and checked while another is decoded."""


@dataclass(frozen=True)
class PhotoBatch:
    """Some photos, decoded and upright, with their places in the sequence that was given.

    The images, uint8, are one array (N, H, W, C) of a grouped batch, else a list of (H, W, C); C is
    3, or 1 for gray.
    """

    indices: list[int]
    images: Pixels | list[Pixels]


class PhotoBatches(Closing):
    """Batches of photos; each ``iter`` begins anew.

    Args:
        photos: Paths, or whatever ``Client.detect`` takes.
        batch_size: Photos of a batch; the last one of a shape, or of all, may have fewer.
        grouped: Whether each batch holds photos of one shape.
        gray: Whether to decode to gray.
        device: ``cpu``, or ``gpu`` to decode on the first CUDA device.
        threads: That read and decode; 0 for as many as there are processors.

    Attributes:
        failures: What could not be used so far in this ``iter``, and why, by its place.

    Raises:
        ConfigError: An option is out of its range.
    """

    def __init__(
        self,
        photos: Sequence[PhotoLike],
        batch_size: int,
        *,
        grouped: bool,
        gray: bool = False,
        device: str = "cpu",
        threads: int = 0,
    ) -> None:
        if device not in DEVICES:
            raise ConfigError(f"device: expected {' or '.join(DEVICES)}, got {device}")
        if batch_size < 1:
            raise ConfigError(f"batch_size: expected 1 or more, got {batch_size}")
        self.failures: dict[int, PhotoError] = {}
        self._photos, self._size, self._grouped = photos, batch_size, grouped
        threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(threads)
        self._decoder = functools.partial(
            _decoder,
            device,
            "gray" if gray else None,
            batch_size=batch_size,
            num_threads=threads,
            device_id=None if device == "cpu" else 0,
        )
        self._build()

    def __iter__(self) -> Iterator[PhotoBatch]:
        """Yield the batches; photos are read and checked ahead of the decoder."""
        self.failures = {}
        batches = list(self._batches())
        photos = (self._photos[k] for indices in batches for k in indices)
        ahead = (_READ_AHEAD + 1) * self._size
        checked = in_order(self._pool, functools.partial(_attempt, _checked), photos, ahead)
        for indices in batches:
            yield from self._decoded([(k, next(checked)) for k in indices])

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _build(self) -> None:
        self._pipeline: Any = self._decoder()
        self._pipeline.build()

    def _batches(self) -> Iterator[list[int]]:
        whole = [list(range(len(self._photos)))]
        for group in self._groups() if self._grouped else whole:
            for start in range(0, len(group), self._size):
                yield group[start : start + self._size]

    def _groups(self) -> Iterator[list[int]]:
        groups: dict[Shape, list[int]] = {}
        shapes = self._pool.map(functools.partial(_attempt, photo_shape), self._photos)
        for k, shape in enumerate(shapes):
            if isinstance(shape, PhotoError):
                self.failures[k] = shape
            else:
                groups.setdefault(shape, []).append(k)
        yield from groups.values()

    def _decoded(self, photos: list[tuple[int, CheckedPhoto | PhotoError]]) -> Iterator[PhotoBatch]:
        usable: list[tuple[int, CheckedPhoto]] = []
        for k, photo in photos:
            if isinstance(photo, PhotoError):
                self.failures[k] = photo
            elif self._grouped and usable and photo.size_hwc[:2] != usable[0][1].size_hwc[:2]:
                self.failures[k] = PhotoError("changed while it was read")
            else:
                usable.append((k, photo))
        if not usable:
            return
        try:
            yield self._run(usable)
        except RuntimeError as error:
            # A photo that passed the check and that DALI refuses all the same spoils its whole
            # batch, and the pipeline with it: the others are decoded one by one.
            self._build()
            if len(usable) == 1:
                self.failures[usable[0][0]] = PhotoError(f"DALI cannot decode it: {error}")
                return
            for one in usable:
                yield from self._decoded([one])

    def _run(self, usable: list[tuple[int, CheckedPhoto]]) -> PhotoBatch:
        self._pipeline.feed_input("photo", [photo.data for _, photo in usable])
        orientations = [np.array([photo.orientation], np.int32) for _, photo in usable]
        self._pipeline.feed_input("orientation", orientations)
        (output,) = self._pipeline.run()
        pixels, indices = output.as_cpu(), [k for k, _ in usable]
        views = [pixels.at(k) for k in range(len(indices))]
        # Copies: DALI writes the next batch over this one.
        images = np.stack(views) if self._grouped else [np.array(view) for view in views]
        return PhotoBatch(indices, images)


def photo_shape(photo: PhotoLike) -> Shape:
    """Return the height and width of a photo upright, from its header alone.

    Raises PhotoError if it can't be read, has no header of a photo, or is over a limit.
    """
    try:
        if isinstance(photo, str | os.PathLike):
            if not Path(photo).is_file():
                read_photo(photo)  # says what it is; a pipe that is opened might never answer
            with Path(photo).open("rb") as stream:
                header = read_photo_header(stream)
        else:
            header = read_photo_header(io.BytesIO(read_photo(photo).tobytes()))
        limits.check_size(*header.stored_wh, header.kind)
        return header.upright_wh[::-1]
    except (OSError, ValueError):
        # Its bytes tell better what is wrong with it.
        checked = _checked(photo)
        return checked.size_hwc[:2]


def _attempt(work: Callable[[PhotoLike], Result], photo: PhotoLike) -> Result | PhotoError:
    """Return the result of some work on a photo, or why it can't be used."""
    try:
        return work(photo)
    except PhotoError as error:
        return error


def _checked(photo: PhotoLike) -> CheckedPhoto:
    try:
        return check_photo(read_photo(photo))
    except PhotoError as error:
        if isinstance(photo, str | os.PathLike) and str(photo) not in str(error):
            raise PhotoError(f"{Path(photo)}: {error}") from error
        raise


@pipeline_def(enable_conditionals=True, prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
def _decoder(device: str, color: str | None) -> Node:
    photo, orientation = inputs()
    return upright(decode(photo, device, color), orientation)

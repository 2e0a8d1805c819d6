"""The load that a bench puts on one server: what is sent, and how fast that goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from facekit.bench.grids import Grid
from facekit.bench.measure import Rate, measure
from facekit.bench.options import Options
from facekit.bench.photos import PhotoSet
from facekit.bench.processes import tree
from facekit.bench.results import Comparison
from facekit.bench.seed import find_boxes
from facekit.bench.wire import Job, Sender, request
from facekit.errors import PhotoError, ServerError
from facekit.serving.processes import cpu_seconds

PAIRS = 5
"""How often two ways are measured in turns."""

INPUTS = {
    "facenet_ensemble": "input_image_data",
    "faces": "image",
    "facemask_ensemble": "input_image_data",
}
"""The models that take a photo alone, and the name of that input."""
_GRIDS = ("output_bbox/BiasAdd", "output_cov/Sigmoid")


class Load:
    """Sends requests to one server and measures them.

    Args:
        url: ``host:port`` of its gRPC endpoint.
        pid: Its process, when it runs on this machine; without it no processor time is told.
        options: What to measure.

    Attributes:
        sender: The connection.
        processes: The server's, as far as they are known.
    """

    def __init__(self, url: str, pid: int | None, options: Options) -> None:
        self._options = options
        self.sender = Sender(url)
        self.processes = tree(pid) if pid is not None else []

    def compare(
        self,
        names: tuple[str, str],
        photo_set: PhotoSet,
        found: Sequence[int],
        concurrency: tuple[int, int],
        one: Callable[[float], Rate],
        other: Callable[[float], Rate],
        advance: Callable[[], None],
    ) -> Comparison:
        """Measure two ways in turns: the machine's drift cancels.

        Args:
            names: Of both.
            photo_set: What both work on.
            found: How many faces the server finds in each photo.
            concurrency: Requests at a time of each.
            one: The first way: seconds to rate.
            other: The second.
            advance: Called after every measurement.

        Raises:
            ServerError: A job failed; a rate without it would not mean anything.
        """
        seconds = self._options.seconds / 2
        ours: list[Rate] = []
        theirs: list[Rate] = []
        for _ in range(PAIRS):
            for way, rates in ((one, ours), (other, theirs)):
                rates.append(way(seconds))
                if rates[-1].errors:
                    failed = f"{rates[-1].errors} failed, the first with: {rates[-1].first_error}"
                    raise ServerError(f"{names[0]} beside {names[1]}: {failed}")
                advance()
        ratios = [a.per_second / b.per_second for a, b in zip(ours, theirs, strict=True)]
        return Comparison(
            *names,
            photos=photo_set.name,
            faces=photo_set.faces,
            found=tuple(found),
            concurrency=concurrency[0],
            their_concurrency=concurrency[1],
            ours=float(np.median([rate.per_second for rate in ours])),
            theirs=float(np.median([rate.per_second for rate in theirs])),
            ratio=float(np.median(ratios)),
            ratios=tuple(ratios),
            our_cpu_ms=float(np.median([rate.cpu_ms + rate.own_cpu_ms for rate in ours])),
            their_cpu_ms=float(np.median([rate.cpu_ms + rate.own_cpu_ms for rate in theirs])),
        )

    def fastest(self, jobs: Sequence[Job], tried: Sequence[int]) -> int:
        """Return the concurrency of the highest throughput, by a short look at each."""
        seconds = self._options.seconds / 3
        rates = {c: self.rate(jobs, c, seconds).per_second for c in tried}
        return max(rates, key=lambda c: rates[c])

    def rate(self, jobs: Sequence[Job], concurrency: int, seconds: float) -> Rate:
        """Measure jobs with so many at a time."""
        workers = self.sender.workers(jobs, concurrency)
        return measure(workers, seconds=seconds, cpu_s=lambda: cpu_seconds(self.processes))

    def jobs(self, model: str, photo_set: PhotoSet) -> list[Job]:
        """Return what a model of ``MODELS`` is sent for each photo.

        Raises:
            PhotoError: The server finds no face in any of them.
        """
        if model in INPUTS:
            name = INPUTS[model]
            return [[request(model, {name: photo[None]}, ())] for photo in photo_set.photos]
        jobs: list[Job] = []
        for photo in photo_set.photos:
            boxes = find_boxes(self.sender, photo)
            if len(boxes):
                inputs: dict[str, Any] = {"raw_image_data": photo[None], "true_boxes": boxes[:1]}
                jobs.append([request(model, inputs, ())])
        if not jobs:
            raise PhotoError(f"{photo_set.name}: no face found, so {model} has nothing to do")
        return jobs

    def grids(self, photo: Any) -> tuple[Grid, Grid]:
        """Return the detector's two grids for a photo, boxes and coverage."""
        checked = self.sender.ask("photo_check", {"image": photo[None]})
        network_input = self.sender.ask("facenet_preprocess", checked)
        grids = self.sender.ask("facenet", network_input)
        return grids[_GRIDS[0]][0], grids[_GRIDS[1]][0]

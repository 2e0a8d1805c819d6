"""One bench run: every measurement against one server, one after another."""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from facekit.bench import machine
from facekit.bench.batching import BATCH_SIZE, compare_batching
from facekit.bench.bound_process import BoundProcess
from facekit.bench.grids import face_grids
from facekit.bench.load import INPUTS, PAIRS, Load
from facekit.bench.measure import Rate, measure
from facekit.bench.memory import SAMPLES, soak
from facekit.bench.options import LONG_SECTIONS, SECTIONS, Options
from facekit.bench.photos import mosaics
from facekit.bench.postprocess import UnequalError, compare
from facekit.bench.processes import memory
from facekit.bench.results import SEED_LOOP, SEED_PARALLEL, Results, Throughput
from facekit.bench.seed import find_boxes, seed_job
from facekit.bench.server import ServerInfo
from facekit.bench.wire import Job, Sender, request
from facekit.serving.processes import cpu_seconds

MODELS = ("facenet_ensemble", "fpenet_ensemble", "faces", "facemask_ensemble")
"""What is sent requests, as far as it is served."""

FRAME_FACES = 10
_FRAMES = 20
ANNOTATE_PAIRS = 3
"""Fewer: a run over a folder is long enough to be steady."""
_BATCHES = 3
_BOUND = ("facenet_ensemble", "faces")
_SEED_CONCURRENCY = (1, 2, 4)
_TOLERANCE_PX = 1e-2


class Bench:
    """Measures one server.

    Args:
        url: ``host:port`` of its gRPC endpoint.
        pid: Its process, when it runs on this machine; without it nothing is told of its
            processor time and memory.
        options: What to measure.
    """

    def __init__(self, url: str, pid: int | None, options: Options) -> None:
        self._url, self._options = url, options
        self._pid = pid
        self._load = Load(url, pid, options)
        self._info = ServerInfo(url)
        self._models = [name for name in MODELS if self._info.serves(name)]
        self._at_start = memory(pid) if pid is not None else None
        self.results = Results(self._describe(url))

    def close(self) -> None:
        """Close the connections."""
        self._load.sender.close()
        self._info.close()

    def steps(self) -> int:
        """Return how often ``run`` will call ``advance``."""
        options, pairs = self._options, 2 * PAIRS
        counts = {
            "throughput": len(self._models) * len(options.concurrency),
            "bound": len(_BOUND) * len(options.photo_sets) * pairs if self._pid is not None else 0,
            "beside": len(options.photo_sets) * pairs if options.beside is not None else 0,
            "seed": 2 * len(options.photo_sets) * pairs,
            "postprocess": 2,
            "batching": pairs,
            "annotate": 4 * ANNOTATE_PAIRS,
            "folder_memory": 2,
            "memory": SAMPLES if self._pid is not None else 0,
        }
        return sum(counts[section] for section in options.only)

    def run(self, advance: Callable[[], None]) -> Results:
        """Measure everything.

        Args:
            advance: Called after every measurement.

        Raises:
            ServerError: A request that should succeed failed.
            PhotoError: The server finds no face in any photo of a set.
            ConfigError: The bound's model files do not load.
            UnequalError: Kit and scikit-learn, or server and bound, find different faces.
        """
        # As in the server's processes: NumPy's own threads would only get in each other's way.
        with threadpool_limits(1):
            for section in (*SECTIONS, *LONG_SECTIONS):
                if section in self._options.only:
                    getattr(self, f"_measure_{section}")(advance)
        return self.results

    def _describe(self, url: str) -> dict[str, Any]:
        options = self._options
        return {
            "machine": machine.describe_machine(),
            "packages": machine.package_versions(),
            "server": {"url": url, "version": self._info.version(), **self._info.instances()},
            "model files": machine.file_hashes(options.repository),
            "photos": {
                photo_set.name: {
                    "photos": len(photo_set.photos),
                    "mean KiB": round(photo_set.mean_bytes() / 1024),
                    "faces found": [
                        len(find_boxes(self._load.sender, p)) for p in photo_set.photos
                    ],
                }
                for photo_set in options.photo_sets
            },
            "run": {
                "seconds": options.seconds,
                "concurrency": list(options.concurrency),
                "soak": options.soak,
                "sections": list(options.only),
            },
        }

    def _measure_throughput(self, advance: Callable[[], None]) -> None:
        for model in self._models:
            jobs, best = self._load.jobs(model, self._options.photo_sets[0]), 0.0
            for concurrency in self._options.concurrency:
                before = self._info.counters()
                rate = self._load.rate(jobs, concurrency, self._options.seconds)
                if rate.per_second > best:
                    best = rate.per_second
                    self.results.stages[model] = self._info.stages_since(before)
                self.results.throughput.append(Throughput(model, concurrency, rate))
                advance()

    def _measure_bound(self, advance: Callable[[], None]) -> None:
        if self._pid is None:
            why = "the server's process is unknown: it may run on another machine than the bound"
            self.results.skipped["bound"] = why
            return
        options, settings, count = self._options, self._info.settings(), machine.cores()
        bound = BoundProcess(self._pid, options.repository, settings, options.photo_sets, count)
        with contextlib.closing(bound):
            for k, model in itertools.product(range(len(options.photo_sets)), _BOUND):
                photo_set = options.photo_sets[k]
                jobs = self._load.jobs(model, photo_set)
                found = self._check_bound(bound, model, k)
                concurrency = self._best_concurrency(model, jobs)
                comparison = self._load.compare(
                    (model, f"the same work in {count} threads of one process"),
                    photo_set,
                    found,
                    (concurrency, count),
                    functools.partial(self._load.rate, jobs, concurrency),
                    functools.partial(bound.rate, model, k),
                    advance,
                )
                self.results.bound.append(comparison)

    def _check_bound(self, bound: BoundProcess, model: str, set_index: int) -> list[int]:
        """Return how many faces are in each photo of a set, the same for server and bound.

        Raises:
            UnequalError: Their boxes differ, so that their times can't be compared.
        """
        boxes, found = "boxes" if model == "faces" else "true_boxes", []
        count = "count" if model == "faces" else "true_count"
        for k, photo in enumerate(self._options.photo_sets[set_index].photos):
            answer = self._load.sender.ask(model, {INPUTS[model]: photo[None]})
            ours = answer[boxes][0, : int(answer[count][0, 0])]
            theirs = bound.boxes(model, set_index, k)
            if ours.shape != theirs.shape or np.abs(ours - theirs).max(initial=0) > _TOLERANCE_PX:
                raise UnequalError(f"{model}: server and bound find different boxes in photo {k}")
            found.append(len(ours))
        return found

    def _measure_beside(self, advance: Callable[[], None]) -> None:
        other = self._options.beside
        if other is None:
            return
        with contextlib.closing(Sender(other)) as sender:
            for photo_set in self._options.photo_sets:
                jobs = self._load.jobs("faces", photo_set)
                found = [len(find_boxes(self._load.sender, photo)) for photo in photo_set.photos]
                if found != [len(find_boxes(sender, photo)) for photo in photo_set.photos]:
                    raise UnequalError(f"this server and {other} find different faces")
                concurrency = self._best_concurrency("faces", jobs)
                comparison = self._load.compare(
                    ("faces", f"faces of {other}"),
                    photo_set,
                    found,
                    (concurrency, concurrency),
                    functools.partial(self._load.rate, jobs, concurrency),
                    functools.partial(_rate_of, sender.workers(jobs, concurrency)),
                    advance,
                )
                self.results.beside.append(comparison)

    def _measure_seed(self, advance: Callable[[], None]) -> None:
        for photo_set in self._options.photo_sets:
            ways = (
                self._load.jobs("faces", photo_set),
                [seed_job(self._load.sender, photo) for photo in photo_set.photos],
            )
            known = self.results.best("faces")
            tried = {*_SEED_CONCURRENCY, *([known.concurrency] if known is not None else [])}
            # The seed's notebook is one loop that waits for every answer. Beside it, its calls with
            # as many under way as serves them best, looked for among the same as for `faces`.
            ours, parallel = (self._load.fastest(jobs, sorted(tried)) for jobs in ways)
            for against, theirs in ((SEED_LOOP, 1), (SEED_PARALLEL, parallel)):
                comparison = self._load.compare(
                    ("faces", against),
                    photo_set,
                    [len(job) - 1 for job in ways[1]],
                    (ours, theirs),
                    functools.partial(self._load.rate, ways[0], ours),
                    functools.partial(self._load.rate, ways[1], theirs),
                    advance,
                )
                self.results.seed.append(comparison)

    def _measure_postprocess(self, advance: Callable[[], None]) -> None:
        rng, chosen = np.random.default_rng(0), self._info.settings().parameters[0]
        photos = mosaics((1280, 720), FRAME_FACES).photos
        frames = {
            f"frames of the network, {FRAME_FACES} faces": [self._load.grids(p) for p in photos],
            f"made-up frames, {FRAME_FACES} faces": [
                face_grids(rng, FRAME_FACES) for _ in range(_FRAMES)
            ],
        }
        for name, grids in frames.items():
            result = compare(grids, name, seconds=self._options.seconds, chosen=chosen)
            self.results.postprocess.append(result)
            advance()

    def _measure_batching(self, advance: Callable[[], None]) -> None:
        photos = [photo for photo_set in self._options.photo_sets for photo in photo_set.photos]
        # As many as fill batches, in an order that mixes the sizes as a folder does.
        several = -(-_BATCHES * BATCH_SIZE // len(photos))
        mixed = np.random.default_rng(0).permutation(len(photos) * several) % len(photos)
        self.results.batching = compare_batching(
            [photos[k] for k in mixed],
            seconds=self._options.seconds / 2,
            pairs=PAIRS,
            advance=advance,
        )

    def _measure_annotate(self, advance: Callable[[], None]) -> None:
        from facekit.bench.workflow import compare_workflows, write_folder

        photos, count = self._options.photo_sets[0], self._options.annotated
        concurrency = self._best_concurrency("faces", self._load.jobs("faces", photos))
        with tempfile.TemporaryDirectory() as name:
            folder, scratch = Path(name, "photos"), Path(name, "out")
            folder.mkdir()
            scratch.mkdir()
            self.results.annotate = compare_workflows(
                self._url,
                write_folder(folder, photos, count),
                scratch,
                concurrency,
                advance,
                lambda: cpu_seconds(self._load.processes),
                ANNOTATE_PAIRS,
            )

    def _measure_folder_memory(self, advance: Callable[[], None]) -> None:
        from facekit.bench.workflow_memory import folder_memory

        with tempfile.TemporaryDirectory() as name:
            self.results.folder_memory = folder_memory(self._url, Path(name), advance)

    def _measure_memory(self, advance: Callable[[], None]) -> None:
        if self._pid is None or self._at_start is None:
            self.results.skipped["memory"] = "the server's process is unknown"
            return
        sets = self._options.photo_sets
        by_model = [
            [job[0] for s in sets for job in self._load.jobs(model, s)] for model in self._models
        ]
        good = [data for group in itertools.zip_longest(*by_model) for data in group if data]
        photo = sets[0].photos[0]
        bad = request("faces", {"image": photo[None, : len(photo) // 2]}, ())
        self.results.memory = soak(
            self._load.sender,
            self._pid,
            self._at_start,
            good,
            bad,
            requests=self._options.soak,
            advance=advance,
        )

    def _best_concurrency(self, model: str, jobs: Sequence[Job]) -> int:
        """Return the concurrency of the highest throughput, by a short look if need be."""
        known = self.results.best(model)
        if known is not None:
            return known.concurrency
        return self._load.fastest(jobs, self._options.concurrency)


def _rate_of(workers: Sequence[Callable[[], None]], seconds: float) -> Rate:
    return measure(workers, seconds=seconds)

"""One run: every measurement of one server, one after another."""

import argparse
import contextlib
import functools
import itertools
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import bound, configuration, results
from benchmarks.batching import BATCH_SIZE, compare_batching
from benchmarks.bound import Photo, bound_process
from benchmarks.configuration import ServerInfo
from benchmarks.load import INPUTS, Job, Sender, request
from benchmarks.memory import FOLDERS, SAMPLES, folder_memory, memory, soak, tree
from benchmarks.photos import PhotoSet, mosaics, own_photos
from benchmarks.plot import write_plot
from benchmarks.postprocess import UnequalError, compare, face_grids
from benchmarks.rates import PAIRS, Turn, in_turns
from benchmarks.results import SEED_LOOP, SEED_PARALLEL, Row, best
from benchmarks.workflow import compare_workflows, seed_job
from facekit.cli import check_output
from facekit.cli.bench import LONG_SECTIONS, SECTIONS
from facekit.errors import writing
from facekit.files import write_whole
from facekit.outputs import begins_as, is_our_picture
from facekit.progress import ProgressBar
from facekit.serving.embedded import EmbeddedServer
from facekit.serving.processes import cpu_seconds
from facekit.serving.repository import default_model_repository
from facekit.text import show

MODELS = ("facenet_ensemble", "fpenet_ensemble", "faces", "facemask_ensemble")
"""What is sent requests, as far as it is served."""
FRAME_FACES = 10
ANNOTATED = 300
"""Photos in the folder that ``annotate`` is measured on."""
ANNOTATE_PAIRS = 3
"""Fewer: a run over a folder is long enough to be steady."""

_FRAMES = 20
_BATCHES = 3
_BOUND = ("facenet_ensemble", "faces")
_SEED_CONCURRENCY = (1, 2, 4)
_TOLERANCE_PX = 1e-2
_BEGINNING = re.compile(rb'\{\n "format": \d+,\n "configuration": \{')
"""Of the file of ``--json``."""


class Bench:
    """Measures one server.

    ``pid`` is its process when it runs on this machine; without it its processor time and memory
    stay unknown. The throughput section uses the first set of photos alone; ``args`` are the
    options of ``facekit bench``.
    """

    def __init__(
        self, url: str, pid: int | None, photo_sets: Sequence[PhotoSet], args: argparse.Namespace
    ) -> None:
        self._url, self._pid, self._args, self._photo_sets = url, pid, args, photo_sets
        self._advance: Callable[[], None] = lambda: None
        processes = tree(pid) if pid is not None else []
        self._server_cpu_s = functools.partial(cpu_seconds, processes)
        self._sender, self._info = Sender(url, self._server_cpu_s), ServerInfo(url)
        self._models = [name for name in MODELS if self._info.serves(name)]
        self._at_start = memory(pid) if pid is not None else None
        self.results = results.new_results(self._describe())

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()
        self._info.close()

    def steps(self) -> int:
        """Return how many measurements ``run`` will make."""
        pairs, sets = 2 * PAIRS, len(self._photo_sets)
        counts = {
            "throughput": len(self._models) * len(self._args.concurrency),
            "bound": len(_BOUND) * sets * pairs if self._pid is not None else 0,
            "beside": sets * pairs if self._args.beside is not None else 0,
            "seed": 2 * sets * pairs,
            "postprocess": 2,
            "batching": pairs,
            "annotate": 4 * ANNOTATE_PAIRS,
            "folder_memory": len(FOLDERS),
            "memory": SAMPLES if self._pid is not None else 0,
        }
        return sum(counts[section] for section in self._args.only)

    def run(self, advance: Callable[[], None]) -> Row:
        """Measure everything; ``advance`` is called after every measurement.

        Raises ServerError if a request failed, PhotoError if a set has no face, ConfigError if the
        bound does not load, and UnequalError if two ways find different faces.
        """
        self._advance = advance
        # As in the server's processes: NumPy's own threads would only get in each other's way.
        with threadpool_limits(1):
            for section in (*SECTIONS, *LONG_SECTIONS):
                if section in self._args.only:
                    getattr(self, f"_measure_{section}")()
        return self.results

    def _describe(self) -> dict[str, Any]:
        return {
            "machine": configuration.describe_machine(),
            "packages": configuration.package_versions(),
            "server": {"url": self._url, "version": self._info.version(), **self._info.instances()},
            "model files": configuration.file_hashes(default_model_repository()),
            "photos": {
                photo_set.name: {
                    "photos": len(photo_set.photos),
                    "mean KiB": round(np.mean([len(p) for p in photo_set.photos]) / 1024),
                    "faces found": [len(self._sender.find_boxes(p)) for p in photo_set.photos],
                }
                for photo_set in self._photo_sets
            },
            "run": {
                "seconds": self._args.seconds,
                "concurrency": list(self._args.concurrency),
                "soak": self._args.soak,
                "sections": list(self._args.only),
            },
        }

    def _measure_throughput(self) -> None:
        for model in self._models:
            jobs, highest = self._sender.jobs(model, self._photo_sets[0]), 0.0
            for concurrency in self._args.concurrency:
                before = self._info.counters()
                rate = self._sender.rate(jobs, concurrency, self._args.seconds)
                if rate.per_second > highest:
                    highest = rate.per_second
                    self.results["stages"][model] = self._info.stages_since(before)
                row = {"model": model, "concurrency": concurrency, "rate": asdict(rate)}
                self.results["throughput"].append(row)
                self._advance()

    def _measure_bound(self) -> None:
        if self._pid is None:
            self.results["skipped"]["bound"] = (
                "the server's process is unknown: it may run on another machine than the bound"
            )
            return
        settings, count = self._info.settings(), configuration.cores()
        with bound_process(self._pid, default_model_repository(), settings, count) as ask:
            for photo_set, model in itertools.product(self._photo_sets, _BOUND):
                found = [self._check_bound(ask, model, photo) for photo in photo_set.photos]
                names = (model, f"the same work in {count} threads of one process")
                jobs, seconds = self._sender.jobs(model, photo_set), self._args.seconds / 2
                theirs = functools.partial(ask, bound.turn, model, photo_set.photos, seconds)
                concurrency = (self._best_concurrency(model, jobs), count)
                self._compare("bound", names, photo_set, found, concurrency, jobs, theirs)

    def _check_bound(self, ask: Callable[..., Any], model: str, photo: Photo) -> int:
        """Return how many faces are in a photo, the same for server and bound."""
        boxes = "boxes" if model == "faces" else "true_boxes"
        count = "count" if model == "faces" else "true_count"
        answer = self._sender.ask(model, {INPUTS[model]: photo[None]})
        ours = answer[boxes][0, : int(answer[count][0, 0])]
        theirs = ask(bound.find_boxes, model, photo)
        if ours.shape != theirs.shape or np.abs(ours - theirs).max(initial=0) > _TOLERANCE_PX:
            raise UnequalError(f"{model}: server and bound find different boxes in a photo")
        return len(ours)

    def _measure_beside(self) -> None:
        other = self._args.beside
        if other is None:
            return
        with contextlib.closing(Sender(other)) as sender:
            for photo_set in self._photo_sets:
                found = [len(self._sender.find_boxes(photo)) for photo in photo_set.photos]
                if found != [len(sender.find_boxes(photo)) for photo in photo_set.photos]:
                    raise UnequalError(f"this server and {other} find different faces")
                jobs = self._sender.jobs("faces", photo_set)
                concurrency = self._best_concurrency("faces", jobs)
                names, both = ("faces", f"faces of {other}"), (concurrency, concurrency)
                theirs = self._turn(sender, other, jobs, concurrency)
                self._compare("beside", names, photo_set, found, both, jobs, theirs)

    def _measure_seed(self) -> None:
        for photo_set in self._photo_sets:
            ours = self._sender.jobs("faces", photo_set)
            calls = [seed_job(self._sender, photo) for photo in photo_set.photos]
            found = [len(job) - 1 for job in calls]
            known = best(self.results, "faces")
            tried = sorted({*_SEED_CONCURRENCY, *([known["concurrency"]] if known else [])})
            # The seed's notebook is one loop that waits for every answer. Beside it, its calls with
            # as many under way as serves them best, looked for among the same as for `faces`.
            concurrency, parallel = (self._fastest(jobs, tried) for jobs in (ours, calls))
            for against, count in ((SEED_LOOP, 1), (SEED_PARALLEL, parallel)):
                names, at_a_time = ("faces", against), (concurrency, count)
                theirs = self._turn(self._sender, against, calls, count)
                self._compare("seed", names, photo_set, found, at_a_time, ours, theirs)

    def _measure_postprocess(self) -> None:
        rng, chosen = np.random.default_rng(0), self._info.settings().parameters[0]
        photos = mosaics((1280, 720), FRAME_FACES).photos
        real = [self._sender.grids(photo) for photo in photos]
        made_up = [face_grids(rng, FRAME_FACES) for _ in range(_FRAMES)]
        for name, grids in (("frames of the network", real), ("made-up frames", made_up)):
            title = f"{name}, {FRAME_FACES} faces"
            result = compare(grids, title, seconds=self._args.seconds, chosen=chosen)
            self.results["postprocess"].append(result)
            self._advance()

    def _measure_batching(self) -> None:
        photos = [photo for photo_set in self._photo_sets for photo in photo_set.photos]
        # As many as fill batches, in an order that mixes the sizes as a folder does.
        several = -(-_BATCHES * BATCH_SIZE // len(photos))
        mixed = np.random.default_rng(0).permutation(len(photos) * several) % len(photos)
        self.results["batching"] = compare_batching(
            [photos[k] for k in mixed], seconds=self._args.seconds / 2, advance=self._advance
        )

    def _measure_annotate(self) -> None:
        photos = self._photo_sets[0]
        self.results["annotate"] = compare_workflows(
            self._sender,
            self._url,
            photos,
            ANNOTATED,
            concurrency=self._best_concurrency("faces", self._sender.jobs("faces", photos)),
            pairs=ANNOTATE_PAIRS,
            cpu_s=self._server_cpu_s,
            advance=self._advance,
        )

    def _measure_folder_memory(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            self.results["folder_memory"] = folder_memory(self._url, Path(name), self._advance)

    def _measure_memory(self) -> None:
        if self._pid is None or self._at_start is None:
            self.results["skipped"]["memory"] = "the server's process is unknown"
            return
        sets = self._photo_sets
        by_model = [
            [job[0] for s in sets for job in self._sender.jobs(model, s)] for model in self._models
        ]
        good = [data for group in itertools.zip_longest(*by_model) for data in group if data]
        photo = sets[0].photos[0]
        self.results["memory"] = soak(
            self._sender,
            self._pid,
            self._at_start,
            good,
            bad=request("faces", {"image": photo[None, : len(photo) // 2]}),
            requests=self._args.soak,
            advance=self._advance,
        )

    def _compare(
        self,
        section: str,
        names: tuple[str, str],
        photo_set: PhotoSet,
        found: Sequence[int],
        concurrency: tuple[int, int],
        jobs: Sequence[Job],
        theirs: Callable[[], Turn],
    ) -> None:
        """Measure this server's jobs and something else in turns."""
        ours = self._turn(self._sender, names[0], jobs, concurrency[0])
        turns = in_turns(ours, theirs, advance=self._advance)
        row = results.comparison(names, photo_set, found, concurrency, turns)
        self.results[section].append(row)

    def _turn(
        self, sender: Sender, what: str, jobs: Sequence[Job], concurrency: int
    ) -> Callable[[], Turn]:
        seconds = self._args.seconds / 2
        return lambda: sender.rate(jobs, concurrency, seconds).turn(what)

    def _best_concurrency(self, model: str, jobs: Sequence[Job]) -> int:
        """Return the concurrency of the highest throughput, by a short look if need be."""
        known = best(self.results, model)
        if known is not None:
            return int(known["concurrency"])
        return self._fastest(jobs, self._args.concurrency)

    def _fastest(self, jobs: Sequence[Job], tried: Sequence[int]) -> int:
        return self._sender.fastest(jobs, tried, self._args.seconds / 3)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and return 0 once all was measured (see ``facekit.cli.bench``)."""
    out = sys.stderr if args.json == Path("-") else sys.stdout
    if args.json is not None:
        check_output(args.json, begins_as(_BEGINNING))
    if args.plot is not None:
        check_output(args.plot, is_our_picture, args.photos or ())
    sets = [own_photos(args.photos)] if args.photos else []
    sets = sets or [mosaics(size, args.faces) for size in args.photo_size]
    with contextlib.ExitStack() as stack:
        url, pid = args.url, None
        if url is None:
            server = stack.enter_context(EmbeddedServer())
            url, pid = server.grpc_url, server.pid
        bench = stack.enter_context(contextlib.closing(Bench(url, pid, sets, args)))
        show(configuration.configuration_text(bench.results["configuration"]), out)
        bar = stack.enter_context(ProgressBar(bench.steps(), "measurements"))
        found = bench.run(bar.advance)
    show(results.results_text(found).removesuffix("\n"), out)
    text = json.dumps(results.to_json(found), indent=1) + "\n"
    if args.json == Path("-"):
        sys.stdout.write(text)
    elif args.json is not None:
        with writing(args.json):
            write_whole(args.json, text)
    if args.plot is not None:
        write_plot(found, args.plot)
    sys.stdout.flush()
    return 0

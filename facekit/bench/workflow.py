"""A folder of photos into a COCO file: ``annotate`` beside the notebook's way and bare requests.

All ways work on the same files and the same server, one after another in turns. Each time
``annotate`` begins with nothing: its time is that of the listing, of the journal and of
the COCO file too.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from facekit.annotate import Options, Outputs, annotate
from facekit.bench.machine import cores
from facekit.bench.photos import PhotoSet
from facekit.bench.results import BARE_REQUESTS, NOTEBOOK_LOOP, Comparison
from facekit.bench.seed_workflow import seed_annotate
from facekit.bench.wire import Sender, request
from facekit.errors import ServerError

Found = TypeVar("Found")


@dataclass(frozen=True)
class Folder:
    """Photos that are there as files.

    Attributes:
        name: What the report calls them.
        files: In the order in which ``annotate`` numbers them.
        faces: How many faces each shows, where that is known.
    """

    name: str
    files: tuple[Path, ...]
    faces: int | None

    @property
    def path(self) -> Path:
        """Where they lie."""
        return self.files[0].parent


def write_folder(path: Path, photos: PhotoSet, count: int) -> Folder:
    """Write photos as files, in turns where there are fewer than that.

    Args:
        path: An empty folder.
        photos: What to write.
        count: How many files.
    """
    files = tuple(path / f"{k:05}.jpg" for k in range(count))
    for k, file in enumerate(files):
        photos.photos[k % len(photos.photos)].tofile(file)
    return Folder(f"{count} photos, {photos.name}", files, photos.faces)


def compare_workflows(
    url: str,
    folder: Folder,
    scratch: Path,
    concurrency: int,
    advance: Callable[[], None],
    cpu_s: Callable[[], float],
    pairs: int,
) -> list[Comparison]:
    """Measure ``annotate`` beside the notebook's loop, and beside the bare requests.

    Args:
        url: The server.
        folder: The photos.
        scratch: A folder for what is written.
        concurrency: Requests at a time of ``annotate`` and of the bare requests.
        advance: Called after every measurement.
        cpu_s: Processor time that the server has used so far, seconds.
        pairs: How often each two ways are measured.

    Raises:
        ServerError: A request failed, or the ways find different numbers of faces.
    """
    sender = Sender(url)
    try:
        _annotate(url, folder, scratch, concurrency, False)  # warms up server and files
        bare = [
            request("faces", {"image": np.fromfile(f, np.uint8)[None]}, ()) for f in folder.files
        ]
        found = _faces_each(scratch)
        # The notebook writes rotation, center and segmentation; beside it, so does `annotate`.
        ways = (
            (NOTEBOOK_LOOP, 1, True, lambda: _notebook(sender, folder, scratch)),
            (BARE_REQUESTS, concurrency, False, lambda: _send_all(sender, bare, concurrency)),
        )
        return [
            _in_turns(
                (against, folder, (concurrency, theirs), found),
                (functools.partial(_annotate, url, folder, scratch, concurrency, fields), way),
                advance,
                lambda: cpu_s() + time.process_time(),
                pairs,
            )
            for against, theirs, fields, way in ways
        ]
    finally:
        sender.close()


def _in_turns(
    about: tuple[str, Folder, tuple[int, int], list[int]],
    ways: tuple[Callable[[], int], Callable[[], int | None]],
    advance: Callable[[], None],
    cpu_s: Callable[[], float],
    pairs: int,
) -> Comparison:
    against, folder, concurrency, found = about
    seconds: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs):
        ours = _timed(ways[0], seconds[0], cpu[0], cpu_s)
        advance()
        theirs = _timed(ways[1], seconds[1], cpu[1], cpu_s)
        advance()
        if theirs not in (None, ours):
            raise ServerError(f"annotate finds {ours} faces, {against}: {theirs}")
    ratios = [b / a for a, b in zip(*seconds, strict=True)]
    count = len(folder.files)
    return Comparison(
        "annotate",
        against,
        photos=folder.name,
        faces=folder.faces,
        found=tuple(sorted(set(found))),
        concurrency=concurrency[0],
        their_concurrency=concurrency[1],
        ours=count / float(np.median(seconds[0])),
        theirs=count / float(np.median(seconds[1])),
        ratio=float(np.median(ratios)),
        ratios=tuple(ratios),
        our_cpu_ms=float(np.median(cpu[0])) / count * 1e3,
        their_cpu_ms=float(np.median(cpu[1])) / count * 1e3,
    )


def _timed(
    way: Callable[[], Found], seconds: list[float], cpu: list[float], cpu_s: Callable[[], float]
) -> Found:
    start, cpu_start = time.perf_counter(), cpu_s()
    found = way()
    seconds.append(time.perf_counter() - start)
    cpu.append(cpu_s() - cpu_start)
    return found


def _annotate(url: str, folder: Folder, scratch: Path, concurrency: int, seed_fields: bool) -> int:
    """Begin anew, and return how many faces there are."""
    outputs = Outputs(coco=scratch / "instances.json", seed_fields=seed_fields)
    outputs.journal.unlink(missing_ok=True)
    summary = annotate(folder.path, outputs, Options(urls=(url,), concurrency=concurrency))
    if summary.failures:
        raise ServerError(f"{summary.failures} photos failed, see {outputs.failures}")
    return summary.faces


def _faces_each(scratch: Path) -> list[int]:
    data = json.loads((scratch / "instances.json").read_bytes())
    faces = Counter(face["image_id"] for face in data["annotations"])
    return [faces[image["id"]] for image in data["images"]]


def _notebook(sender: Sender, folder: Folder, scratch: Path) -> int:
    return seed_annotate(sender, folder.files, scratch / "notebook.json", cores())


def _send_all(sender: Sender, requests: Sequence[bytes], concurrency: int) -> None:
    """Send every request once, so many at a time; the first failure is raised."""
    turns, lock = iter(requests), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                data = next(turns, None)
            if data is None:
                return
            sender.send(data)

    with ThreadPoolExecutor(concurrency) as pool:
        for done in [pool.submit(work) for _ in range(concurrency)]:
            done.result()

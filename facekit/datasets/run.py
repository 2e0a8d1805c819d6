"""A run over several face sets: in parallel, within the limits, with the tutorial's summary."""

from __future__ import annotations

import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from facekit.datasets.convert import Converted, convert_photo
from facekit.datasets.kitti_folder import KittiFolder
from facekit.datasets.source import MASK, NO_MASK, FaceSet, SourcePhoto
from facekit.errors import DataError
from facekit.progress import ProgressBar
from facekit.text import show

_AHEAD = 4
"""How many photos a worker may be ahead of what is written."""
_RULE = "-" * 28


@dataclass
class Outcome:
    """What became of a set's photos.

    Attributes:
        counts: Faces written, by class: boxes of the label files, so that a face that lies in two
            windows of a portrait counts in each.
        photos: Photos (windows of portraits) written.
        faceless: How many of these show no face.
        ruled_out: Photos that the set's rules leave out.
        over_limit: Photos that the limit left out.
        problems: What could not be used, and is left out.
        removed: Photos of an earlier run that this one did not write.
    """

    counts: Counter[str] = field(default_factory=Counter)
    photos: int = 0
    faceless: int = 0
    ruled_out: int = 0
    over_limit: int = 0
    problems: list[DataError] = field(default_factory=list)
    removed: int = 0


def convert_sets(
    sets: Sequence[FaceSet],
    folder: Path,
    size_wh: tuple[int, int],
    *,
    category_limit: int,
    workers: int,
    dont_care: bool = False,
) -> bool:
    """Convert sets into one KITTI folder, print the summary, and report what was left out.

    Args:
        sets: In this order; each fills up what those before left of the limit.
        folder: Gets ``images``, ``labels`` and ``sources.json``.
        size_wh: Width and height of the frames in pixels.
        category_limit: Most faces of each class, counted as they are written. A photo that would
            bring a class over it is left out as a whole; later ones that still fit are taken.
        workers: Threads that decode and encode; the result is the same for any number.
        dont_care: Write faces that a set's rules leave out as ``DontCare``.

    Returns:
        Whether every photo and face could be used.

    Raises:
        DataError: A set's folder or label file is missing or unusable, a file can't be written, or
            another run fills the folder, or filled it with frames of another size.
    """
    totals: Counter[str] = Counter()
    whole = True
    # All labels are read first: a folder that is missing is found before hours of work.
    jobs = []
    for face_set in sets:
        problems: list[DataError] = []
        jobs.append((face_set, face_set.read(problems.append), Outcome(problems=problems)))
    with warnings.catch_warnings(), KittiFolder(folder, size_wh) as target:
        # Pillow warns of odd but usable files. Set here, as filters are the same for all threads.
        warnings.simplefilter("ignore")
        for number, (face_set, photos, outcome) in enumerate(jobs):
            _convert_set(
                face_set, photos, outcome, target, size_wh, totals, category_limit, workers,
                dont_care,
            )  # fmt: skip
            totals += outcome.counts
            whole = whole and not outcome.problems
            show(_line(face_set.summary, outcome.counts))
            if number + 1 < len(sets):
                show(_line("Total Mask Labelled:{mask} and No-Mask Labelled:{no_mask}", totals))
                show("")
            _tell(face_set, outcome)
    show(_RULE)
    show(_line("Final: Total Mask Labelled:{mask}\nTotal No-Mask Labelled:{no_mask}", totals))
    show(_RULE)
    return whole


def _convert_set(
    face_set: FaceSet,
    photos: Sequence[SourcePhoto],
    outcome: Outcome,
    target: KittiFolder,
    size_wh: tuple[int, int],
    totals: Counter[str],
    limit: int,
    workers: int,
    dont_care: bool,
) -> None:
    outcome.ruled_out = sum(bool(photo.faces) and not photo.wanted for photo in photos)
    photos = [photo for photo in photos if photo.wanted]

    def fits(counts: Counter[str]) -> bool:
        # Asked again when a photo's turn comes; what is refused now would be refused then too,
        # as counts only grow, so the answer does not depend on the workers.
        written = totals + outcome.counts
        return all(written[name] + count <= limit for name, count in counts.items())

    with ProgressBar(len(photos), f"photos of {face_set.prefix}") as bar:
        for photo, converted in _converted(photos, fits, size_wh, workers, dont_care):
            # A window's other faces are known once it is cut out; they count too.
            if converted is None or not fits(photo.counts) or not fits(converted.counts):
                outcome.over_limit += 1
                bar.advance()
                continue
            outcome.problems += converted.problems
            outcome.ruled_out += converted.left_out
            if converted.jpeg is not None:
                source = _relative(photo.photo, face_set.folder)
                target.write(face_set.prefix, photo.name, source, converted.jpeg, converted.labels)
                outcome.counts += converted.counts
                outcome.photos += 1
                outcome.faceless += photo.empty
            bar.advance(failed=bool(converted.problems))
    outcome.removed = target.finish_set(face_set.prefix)


def _converted(
    photos: Sequence[SourcePhoto],
    fits: Callable[[Counter[str]], bool],
    size_wh: tuple[int, int],
    workers: int,
    dont_care: bool,
) -> Iterator[tuple[SourcePhoto, Converted | None]]:
    """Yield the photos in order, converted by several threads; None for one that does not fit."""
    # Pillow decodes, resizes and encodes without the interpreter's lock.
    pool = ThreadPoolExecutor(workers)
    waiting: deque[tuple[SourcePhoto, Future[Converted] | None]] = deque()
    try:
        for photo in photos:
            fitting = fits(photo.counts)
            job = pool.submit(convert_photo, photo, size_wh, dont_care) if fitting else None
            waiting.append((photo, job))
            while len(waiting) >= workers * _AHEAD:
                first, done = waiting.popleft()
                yield first, None if done is None else done.result()
        for first, done in waiting:
            yield first, None if done is None else done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _tell(face_set: FaceSet, outcome: Outcome) -> None:
    """Write to standard error what the summary does not say."""
    for problem in outcome.problems:
        show(str(problem), sys.stderr)
    parts = [f"{outcome.photos} photo{'' if outcome.photos == 1 else 's'} written"]
    if outcome.faceless:
        parts.append(f"{outcome.faceless} of them without a face")
    if outcome.ruled_out:
        parts.append(f"{outcome.ruled_out} left out by the set's rules")
    if outcome.over_limit:
        parts.append(f"{outcome.over_limit} over the limit")
    if outcome.problems:
        parts.append(f"{len(outcome.problems)} left out that can't be used (see above)")
    if outcome.removed:
        parts.append(f"{outcome.removed} of an earlier run removed")
    show(f"{face_set.prefix}: {', '.join(parts)}", sys.stderr)


def _line(text: str, counts: Counter[str]) -> str:
    return text.format(mask=counts[MASK], no_mask=counts[NO_MASK])


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name

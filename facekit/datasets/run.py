"""Convert the tutorial's face sets in parallel, within the limits, and print its summary."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from facekit.datasets.convert import Converted, convert_photo
from facekit.datasets.kitti_folder import KittiFolder
from facekit.datasets.portraits import read_empty, read_portraits
from facekit.datasets.public_sets import MOST_FACES, PICKED_EVENTS, read_fddb, read_mafa, read_wider
from facekit.datasets.source import MASK, NO_MASK, FaceSet, SourcePhoto
from facekit.datasets.voc_sets import read_mask_detection, read_medical_masks
from facekit.errors import DataError
from facekit.labels.listed import Report
from facekit.parallel import in_order
from facekit.progress import ProgressBar
from facekit.text import count, show

EVALUATED = ("mask_detection", "mafa", "wider")
"""The sets with a part to evaluate on."""

_FACES = "Total Mask faces: {mask} and No-Mask faces:{no_mask}"
_LABELED = "Mask Labelled:{mask} and No-Mask Labelled:{no_mask}"


def face_sets(
    folders: Mapping[str, Path],
    *,
    evaluation: bool,
    mafa_wide_only: bool = True,
    wider_events: Collection[str] | None = PICKED_EVENTS,
    wider_most_faces: int = MOST_FACES,
) -> list[FaceSet]:
    """Return what there is to train on, or to evaluate on: the sets that have a part for it.

    ``folders`` tells where the sets lie, by their names below. Sets of which all photos are taken
    stand before the large ones of their class, which fill up what is left of the limit. For the
    tutorial's rules see ``read_mafa`` and ``read_wider``.
    """
    mafa = partial(read_mafa, evaluation=evaluation, wide_only=mafa_wide_only)
    wider = partial(
        read_wider, evaluation=evaluation, events=wider_events, most_faces=wider_most_faces
    )
    # Name of the set, line of the summary, reader.
    known: tuple[tuple[str, str, Callable[[Path, Report], Sequence[SourcePhoto]]], ...] = (
        ("kaggle", f"Kaggle Dataset: {_FACES}", read_medical_masks),
        (
            "mask_detection",
            f"Face Mask Detection: {_FACES}",
            partial(read_mask_detection, evaluation=evaluation),
        ),
        ("mafa", f"MAFA Dataset: {_FACES}", mafa),
        ("portraits", f"Portraits: {_LABELED}", read_portraits),
        ("fddb", f"FDDB Dataset: {_LABELED}", read_fddb),
        ("wider", f"WideFace: Total {_LABELED}", wider),
        ("empty", f"No Faces: {_LABELED}", lambda folder, _: read_empty(folder)),
    )
    return [
        FaceSet(name.replace("_", "-"), summary, folders[name], partial(read, folders[name]))
        for name, summary, read in known
        if name in folders and (not evaluation or name in EVALUATED)
    ]


_AHEAD = 4
"""How many photos a worker may be ahead of what is written."""
_RULE = "-" * 28


@dataclass
class Outcome:
    """What became of a set's photos (windows, of portraits).

    Attributes:
        counts: Faces written, by class: boxes of the label files, so that a face that lies in two
            windows of a portrait counts in each.
        photos: How many were written, of which ``faceless`` show no face.
        ruled_out: Left out by the set's rules, as ``over_limit`` are by the limit.
        problems: What could not be used, and is left out.
        removed: Of an earlier run, which this one did not write.
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

    Returns whether every photo and face could be used. Raises DataError if a set's folder or label
    file is missing or unusable, a file can't be written, or another run fills the folder, or filled
    it with frames of another size.
    """
    totals: Counter[str] = Counter()

    def fits(counts: Counter[str]) -> bool:
        return all(totals[name] + number <= category_limit for name, number in counts.items())

    def convert(job: tuple[SourcePhoto, bool]) -> tuple[SourcePhoto, Converted | None]:
        photo, fitting = job
        return photo, convert_photo(photo, size_wh, dont_care) if fitting else None

    # All labels are read first: a folder that is missing is found before hours of work.
    jobs = []
    for face_set in sets:
        problems: list[DataError] = []
        jobs.append((face_set, face_set.read(problems.append), Outcome(problems=problems)))
    # Pillow decodes, resizes and encodes without the interpreter's lock.
    with (
        warnings.catch_warnings(),
        KittiFolder(folder, size_wh) as target,
        ThreadPoolExecutor(workers) as pool,
    ):
        # Pillow warns of odd but usable files. Set here, as filters are the same for all threads.
        warnings.simplefilter("ignore")
        for face_set, photos, outcome in jobs:
            outcome.ruled_out = sum(bool(photo.faces) and not photo.wanted for photo in photos)
            wanted = [photo for photo in photos if photo.wanted]
            # Asked here and when a photo's turn comes; what is refused here would be refused then
            # too, as counts only grow, so the result does not depend on the workers.
            asked = ((photo, fits(photo.counts)) for photo in wanted)
            with ProgressBar(len(wanted), f"photos of {face_set.prefix}") as bar:
                for photo, converted in in_order(pool, convert, asked, workers * _AHEAD):
                    # A window's other faces are known once it is cut out; they count too.
                    if converted is None or not (fits(photo.counts) and fits(converted.counts)):
                        outcome.over_limit += 1
                        bar.advance()
                        continue
                    _write(target, face_set, photo, converted, outcome)
                    totals.update(converted.counts)
                    bar.advance(failed=bool(converted.problems))
            outcome.removed = target.finish_set(face_set.prefix)
            show(_line(face_set.summary, outcome.counts))
            if face_set is not sets[-1]:
                show(_line("Total Mask Labelled:{mask} and No-Mask Labelled:{no_mask}", totals))
                show("")
            _report(face_set, outcome)
    show(_RULE)
    show(_line("Final: Total Mask Labelled:{mask}\nTotal No-Mask Labelled:{no_mask}", totals))
    show(_RULE)
    return not any(outcome.problems for _, _, outcome in jobs)


def _write(
    target: KittiFolder,
    face_set: FaceSet,
    photo: SourcePhoto,
    converted: Converted,
    outcome: Outcome,
) -> None:
    outcome.problems += converted.problems
    outcome.ruled_out += converted.left_out
    if converted.jpeg is None:
        return
    inside = photo.photo.is_relative_to(face_set.folder)
    source = photo.photo.relative_to(face_set.folder).as_posix() if inside else photo.photo.name
    target.write(face_set.prefix, photo.name, source, converted.jpeg, converted.labels)
    outcome.counts += converted.counts
    outcome.photos += 1
    outcome.faceless += photo.empty


def _report(face_set: FaceSet, outcome: Outcome) -> None:
    """Print to standard error what the summary leaves out."""
    for problem in outcome.problems:
        show(str(problem), sys.stderr)
    parts = [f"{count(outcome.photos, 'photo')} written"]
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

"""What a bench finds, ready for JSON, and which of it was promised."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from facekit.bench.batching import BatchingResult
from facekit.bench.measure import Rate
from facekit.bench.memory import SoakResult
from facekit.bench.postprocess import PostprocessResult
from facekit.bench.server import Stage

FORMAT_VERSION = 2
"""Of the JSON; it changes when a key changes its meaning or goes."""

BOUND_GOAL = 0.85
SEED_LOOP = "the seed's loop: boxes, then one fpenet_ensemble call a face, each awaited"
SEED_PARALLEL = "the same calls, many at a time"
SEED_GOAL = 4.0
POSTPROCESS_GOAL = 10.0
NOTEBOOK_LOOP = "the notebook's loop: a batch, then a face, each awaited"
BARE_REQUESTS = "the same requests, made beforehand and with nothing read from the answers"
ANNOTATE_GOALS = {NOTEBOOK_LOOP: 4.0, BARE_REQUESTS: 1 / 1.1}
"""The second: the tool costs a tenth of the time that the server needs, at most."""
FOLDER_MEMORY_GOAL = 1.1
"""Memory for the largest folder over that for the smallest: what still counts as flat."""
MEMORY_GOAL_MIB = 5.0
"""Growth in 1,000 requests that still counts as flat: one leaked network input in a thousand
requests is 4 MiB."""


@dataclass(frozen=True)
class Throughput:
    """One model at one concurrency."""

    model: str
    concurrency: int
    rate: Rate


@dataclass(frozen=True)
class Comparison:
    """Two ways to do the same, measured in turns.

    Attributes:
        what: The first way, which the ratio is about.
        against: The second.
        photos: Which photos.
        faces: How many faces each shows; None for the caller's own.
        found: How many the server finds in each.
        concurrency: Requests at a time of the first way.
        their_concurrency: Of the second; the bound's workers.
        ours: Median photos a second of the first way.
        theirs: Median photos a second of the second.
        ratio: Median of the pairs' ratios.
        ratios: Of every pair.
        our_cpu_ms: Processor time a photo, server and load together, where it can be told.
        their_cpu_ms: The same of the second way.
    """

    what: str
    against: str
    photos: str
    faces: int | None
    found: tuple[int, ...]
    concurrency: int
    their_concurrency: int
    ours: float
    theirs: float
    ratio: float
    ratios: tuple[float, ...]
    our_cpu_ms: float
    their_cpu_ms: float

    def unlike(self) -> str:
        """Return what is wrong with the faces found, if anything."""
        if self.faces is None or set(self.found) == {self.faces}:
            return ""
        return f"{', '.join(map(str, self.found))} faces found, not {self.faces}"


@dataclass(frozen=True)
class FolderMemory:
    """One run of ``facekit annotate`` in a process of its own, the server in another.

    Attributes:
        photos: How many the folder holds.
        faces: Of each photo.
        peak_mib: The most that was resident at one time, MiB.
        seconds: The whole run.
    """

    photos: int
    faces: int
    peak_mib: float
    seconds: float


@dataclass(frozen=True)
class Promise:
    """One figure beside what it should be: at least ``goal``, or at most.

    ``unlike`` says what was not as the promise has it; then it is not kept, whatever the figure.
    """

    name: str
    value: float
    goal: float
    at_most: bool = False
    unlike: str = ""

    @property
    def kept(self) -> bool:
        """Whether the figure is as good as promised."""
        if self.unlike:
            return False
        return self.value <= self.goal if self.at_most else self.value >= self.goal


@dataclass
class Results:
    """Everything one run found; what was not measured is empty.

    Attributes:
        configuration: What was measured on what.
        throughput: Each model at each concurrency.
        stages: By model called: each step's mean times at the model's best concurrency.
        bound: Server beside the same work with no server.
        beside: ``faces`` beside the same of another server.
        seed: ``faces`` beside the published way.
        postprocess: Kit beside scikit-learn.
        batching: Photos of all sets decoded in batches, grouped by shape beside ragged.
        annotate: ``annotate`` over a folder beside the notebook's loop and beside bare requests.
        folder_memory: What ``annotate`` takes for small and large folders.
        memory: The soak.
        skipped: Why a section could not be measured, by its name.
    """

    configuration: dict[str, Any]
    throughput: list[Throughput] = field(default_factory=list)
    stages: dict[str, list[Stage]] = field(default_factory=dict)
    bound: list[Comparison] = field(default_factory=list)
    beside: list[Comparison] = field(default_factory=list)
    seed: list[Comparison] = field(default_factory=list)
    postprocess: list[PostprocessResult] = field(default_factory=list)
    batching: BatchingResult | None = None
    annotate: list[Comparison] = field(default_factory=list)
    folder_memory: list[FolderMemory] = field(default_factory=list)
    memory: SoakResult | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    def best(self, model: str) -> Throughput | None:
        """Return the fastest measurement of a model."""
        rows = [row for row in self.throughput if row.model == model]
        return max(rows, key=lambda row: row.rate.per_second, default=None)

    def promises(self) -> list[Promise]:
        """Return the promised figures among those measured."""
        found = [
            Promise(f"{row.what} / bound, {row.photos}", row.ratio, BOUND_GOAL, unlike=row.unlike())
            for row in self.bound
        ]
        found += [
            Promise(f"faces / seed's loop, {row.photos}", row.ratio, SEED_GOAL, unlike=row.unlike())
            for row in self.seed
            if row.against == SEED_LOOP
        ]
        found += [
            Promise(f"postprocess / scikit-learn, {row.frames}", row.ratio, POSTPROCESS_GOAL)
            for row in self.postprocess
        ]
        found += [
            Promise(
                f"annotate / {row.against.partition(',')[0].partition(':')[0]}, {row.photos}",
                row.ratio,
                ANNOTATE_GOALS[row.against],
                unlike=row.unlike(),
            )
            for row in self.annotate
        ]
        if len(self.folder_memory) > 1:
            small, large = self.folder_memory[0], self.folder_memory[-1]
            name = f"annotate, memory for {large.photos:,} photos / for {small.photos:,}"
            ratio = large.peak_mib / small.peak_mib
            found.append(Promise(name, ratio, FOLDER_MEMORY_GOAL, at_most=True))
        if self.memory is not None:
            name = f"memory, MiB in 1,000 requests, {self.memory.requests:,} requests"
            value = self.memory.growth_mib_per_1000
            found.append(Promise(name, value, MEMORY_GOAL_MIB, at_most=True))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON's types."""
        promises = [{**asdict(promise), "kept": promise.kept} for promise in self.promises()]
        return {"format": FORMAT_VERSION, **asdict(self), "promises": promises}

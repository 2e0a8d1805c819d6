"""Inputs, outputs and outcome of a run over a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.annotations.output import Format, failures_path
from facekit.errors import ConfigError, writing
from facekit.files import followed
from facekit.selection import FaceLimits
from facekit.text import count

if TYPE_CHECKING:
    from facekit.annotate.mirror import StoreOutcome


@dataclass(frozen=True)
class Outputs:
    """The files that a run writes.

    Attributes:
        coco: The dataset in the COCO keypoints format. The run's record, the lock and the report
            of failures lie beside it.
        jsonl: Where to write it as JSON Lines; None for nowhere, as for those below.
        parquet: As Parquet.
        label_studio: As tasks to import into Label Studio.
        fiftyone: As samples to import into FiftyOne.
        seed_fields: Whether COCO also has rotation, center, segmentation and channels.

    Raises:
        ConfigError: Two of them are one file, or one is a loop of links.
    """

    coco: Path
    jsonl: Path | None = None
    parquet: Path | None = None
    label_studio: Path | None = None
    fiftyone: Path | None = None
    seed_fields: bool = False

    def __post_init__(self) -> None:
        """Check that no file is written twice."""
        paths = []
        for path in (*self.formats.values(), self.results, self.failures):
            with writing(path, ConfigError):
                paths.append(followed(path))
        if len(set(paths)) < len(paths):
            raise ConfigError("two outputs have the same file name; give each its own")

    @property
    def formats(self) -> dict[Format, Path]:
        """The datasets that were asked for, by their format."""
        paths: dict[Format, Path | None] = {
            "coco": self.coco,
            "jsonl": self.jsonl,
            "parquet": self.parquet,
            "label-studio": self.label_studio,
            "fiftyone": self.fiftyone,
        }
        return {kind: path for kind, path in paths.items() if path is not None}

    @property
    def results(self) -> Path:
        """The record of what was found so far; if it is removed, the next run begins again."""
        return self.coco.with_name(f"{self.coco.name}.results")

    @property
    def failures(self) -> Path:
        """The report of photos that failed; there is none where none did."""
        return failures_path(self.coco)


@dataclass(frozen=True)
class Options:
    """Settings of a run.

    Attributes:
        urls: ``host:port`` of the servers' gRPC endpoints; () for an embedded server.
        model: As for ``Client.detect``, and so are the next three.
        tiles: For faces too small in the whole photo.
        rotations: For faces that do not stand upright.
        threshold: Least score that servers are asked for.
        concurrency: Requests in flight at one time over all servers; None for 8 a server.
        timeout_s: Seconds that one photo may take.
        tls_certificate: The PEM file of encrypted servers' certificate.
        hash_content: Whether changes are detected by a photo's content, not by its time.
        min_score, min_size_px, min_sharpness: Faces that do not meet these limits are left out of
            the datasets, see ``facekit.selection.FaceLimits``; the record has them.
        retry_failed: Whether photos whose failure lasts are looked at again.
        store: URL of the store that is kept up to date; None for none.
        dataset: The folder's name in the store; None for the name of the folder itself.
        ray: Address of the Ray cluster that does the work; None for this machine.
        server_wait_s: Seconds to wait while no server responds, at the start or later, before the
            run ends.

    Raises:
        ConfigError: One of them is out of its range.
    """

    urls: tuple[str, ...] = ()
    model: str = "faces"
    tiles: str | int | None = None
    rotations: str | int | None = None
    threshold: float | None = None
    concurrency: int | None = None
    timeout_s: float = 30.0
    tls_certificate: Path | None = None
    hash_content: bool = False
    min_score: float = 0.0
    min_size_px: float = 0.0
    min_sharpness: float = 0.0
    retry_failed: bool = False
    store: str | None = None
    dataset: str | None = None
    ray: str | None = None
    server_wait_s: float = 120.0

    def __post_init__(self) -> None:
        """Check the ranges; the clients check the rest."""
        from facekit.client.calls import check_model

        check_model(self.model, self.tiles, self.rotations, self.threshold)
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigError(f"concurrency: expected at least 1, got {self.concurrency}")
        _ = self.limits  # which checks them
        if not self.server_wait_s >= 0:
            raise ConfigError(f"server_wait_s: expected seconds >= 0, got {self.server_wait_s}")
        if self.dataset is not None and self.store is None:
            raise ConfigError("--dataset names the folder in a store, and needs --store")
        if self.dataset == "":
            raise ConfigError("--dataset: expected a name, got an empty string")

    @property
    def limits(self) -> FaceLimits:
        """Which faces the datasets have."""
        return FaceLimits(self.min_score, self.min_size_px, self.min_sharpness)

    @property
    def how(self) -> dict[str, Any]:
        """How each photo is searched: keyword arguments of ``Client.detect``."""
        return {
            "model": self.model,
            "tiles": self.tiles,
            "rotations": self.rotations,
            "threshold": self.threshold,
        }

    @property
    def found_by(self) -> str:
        """What the results depend on, such as ``faces with tiles=auto``."""
        chosen = [
            f"{name}={value}"
            for name, value in self.how.items()
            if name != "model" and value not in (None, "off")
        ]
        return self.model + (f" with {' and '.join(chosen)}" if chosen else "")


@dataclass(frozen=True)
class Summary:
    """Outcome of a run.

    Attributes:
        photos: In the folder: those in the dataset and those that failed.
        faces: In the dataset.
        failures: Photos without a result.
        unlisted: Folders that could not be listed, and links that could not be followed; how many
            photos are behind them is unknown.
        new: Photos that this run looked at: they are new or have changed, or are tried again.
        unchanged: Photos whose result was on record; with ``new`` all of ``photos``.
        removed: Photos of earlier runs that are no longer in the folder.
        others: Files that are not pictures, which were left out.
        files: What was written, the report of failures among it.
        store: State of the store; None where none was asked for.
    """

    photos: int
    faces: int
    failures: int
    unlisted: int
    new: int
    unchanged: int
    removed: int
    others: int
    files: tuple[Path, ...]
    store: StoreOutcome | None = None

    def text(self) -> str:
        """Return the outcome in one line: the dataset's photos and, apart, those that failed."""
        found = f"{count(self.photos - self.failures, 'photo')}, {count(self.faces, 'face')}"
        if self.failures:
            found += f"; {self.failures:,} failed"
        if self.unlisted:
            found += f"; {count(self.unlisted, 'folder')} can't be listed"
        news = (
            f"{self.new:,} new or changed, {self.unchanged:,} unchanged, {self.removed:,} removed"
        )
        return f"{found} ({news}); written: {', '.join(map(str, self.files))}"

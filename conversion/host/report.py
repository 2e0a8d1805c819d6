"""Tells what a run changed in the model repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facekit.engines.manifest import EngineManifest, engine_path, read_manifest
from facekit.errors import ConfigError


@dataclass(frozen=True)
class Made:
    """What a repository holds: engines by model, and its DALI files with their times."""

    engines: Mapping[str, EngineManifest]
    pipelines: Mapping[Path, int]


def look(repository: Path) -> Made:
    """Return what was made there so far; what can't be read counts as not made."""
    engines = {}
    for path in sorted(repository.glob("*/config.pbtxt")):
        model = path.parent.name
        try:
            manifest = read_manifest(repository, model)
        except ConfigError:
            continue
        if manifest is not None and engine_path(repository, model).is_file():
            engines[model] = manifest
    pipelines = {path: path.stat().st_mtime_ns for path in sorted(repository.glob("*/1/*.dali"))}
    return Made(engines, pipelines)


def report(repository: Path, before: Made, after: Made) -> list[str]:
    """Return the lines that say what a run made, and what it left as it was."""
    lines = []
    for model, engine in after.engines.items():
        new = engine != before.engines.get(model)
        lines.append(
            f"{'made' if new else 'kept'}  {model}: {engine.weights}, {engine.precision}, batches "
            f"of {engine.batch.minimum} to {engine.batch.maximum}, TensorRT {engine.tensorrt}, "
            f"{engine.gpu}, {engine.engine_bytes / 1e6:.1f} MB"
        )
        if new:
            lines.append(f"      {engine_path(repository, model)}")
    lines += [
        f"made  {path}"
        for path, changed in after.pipelines.items()
        if before.pipelines.get(path) != changed
    ]
    return lines or ["nothing was made"]

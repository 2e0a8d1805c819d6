"""Engines, machines and made engines that the tests of the host driver start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conversion.host.images import sources_digest
from conversion.host.settings import load_settings
from facekit.engines.manifest import Batch, EngineManifest, engine_path, manifest_path
from tests.fakes.docker_engine import FakeEngine

ROOT = Path(__file__).parents[3]
KEY = "nvapi-key-that-must-stay-secret"
IMAGE = "facekit/converter:0.1.0"
BASE = "nvcr.io/nvidia/tritonserver:24.04-py3"


def ready(root: Path, **options: Any) -> FakeEngine:
    """An engine that has the base, and the image of these sources."""
    label = {"facekit.sources": sources_digest(load_settings(root, {}))}
    return FakeEngine({BASE: {}, IMAGE: label}, **options)


def manifest(**changes: Any) -> EngineManifest:
    values: dict[str, Any] = {
        "model": "facenet",
        "weights": "nvidia",
        "config": "",
        "source": "model.etlt",
        "source_sha256": "00",
        "source_format": "uff-etlt",
        "tensorrt": "8.6.3",
        "gpu": "NVIDIA A10",
        "compute_capability": "8.6",
        "precision": "int8",
        "batch": Batch(1, 8, 32),
        "outputs": {},
        "engine_sha256": "00",
        "engine_bytes": 12_300_000,
        "created": "2026-01-01T00:00:00Z",
        "command": (),
    }
    return EngineManifest(**{**values, **changes})


def write_engine(repository: Path, **changes: Any) -> None:
    engine_path(repository, "facenet").write_bytes(b"engine")
    manifest_path(repository, "facenet").write_text(manifest(**changes).to_json())


def mounted(options: dict[str, Any]) -> dict[str, str]:
    """Return what of this machine lies where in a container; `:ro` where it may not write."""
    return {
        mount["Target"]: mount["Source"] + (":ro" if mount["ReadOnly"] else "")
        for mount in options["mounts"]
    }

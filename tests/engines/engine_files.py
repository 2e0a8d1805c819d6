"""Repositories with engine stubs, as a converter on a machine of its own would have left them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from facekit.contract import OPTIONAL_MODELS
from facekit.engines.machine import Gpu, Machine
from facekit.engines.manifest import (
    Batch,
    EngineManifest,
    engine_path,
    manifest_path,
    read_manifest,
    sha256_of,
)

KIT = Path(__file__).parents[2] / "model_repository"
A10 = Gpu("NVIDIA A10", "8.6")
MACHINE = Machine("8.6.3", (A10,), "x86_64")

OUTPUTS: dict[str, dict[str, tuple[int, ...]]] = {
    "facenet": {"output_bbox/BiasAdd": (4, 26, 46), "output_cov/Sigmoid": (1, 26, 46)},
    "fpenet": {
        "conv_keypoints_m80": (80, 80, 80),
        "softargmax": (80, 2),
        "softargmax:1": (80,),
    },
}


def engine_repository(folder: Path) -> Path:
    """Fill ``folder`` with two engines and a pipeline that fit ``MACHINE``, and return it."""
    for model, outputs in OUTPUTS.items():
        lines = [
            f'  {{ name: "{name}" data_type: TYPE_FP32 dims: {list(dims)} }}'
            for name, dims in outputs.items()
        ]
        config = (
            f'name: "{model}"\nbackend: "tensorrt"\nmax_batch_size: 32\noutput [\n'
            + ",\n".join(lines)
            + "\n]\n"
        )
        write(folder / model / "config.pbtxt", config)
        write(folder / model / "configs" / "cpu.pbtxt", config.replace("tensorrt", "onnxruntime"))
        engine = engine_path(folder, model)
        write(engine, f"engine of {model}")
        manifest = EngineManifest(
            model=model,
            weights="nvidia",
            config="",
            source="model.etlt",
            source_sha256="0" * 64,
            source_format="onnx-etlt",
            tensorrt="8.6.3",
            gpu=A10.name,
            compute_capability=A10.compute_capability,
            precision="fp16",
            batch=Batch(1, 8, 32),
            outputs=outputs,
            engine_sha256=sha256_of(engine),
            engine_bytes=engine.stat().st_size,
            created="2026-01-01T00:00:00Z",
            command=("tao-converter",),
        )
        write(manifest_path(folder, model), manifest.to_json())
    pipeline = 'backend: "dali"\nmax_batch_size: 32\ndefault_model_filename: "gpu.dali"\n'
    write(folder / "photo_gray" / "config.pbtxt", 'name: "photo_gray"\n' + pipeline)
    write(folder / "photo_gray" / "1" / "gpu.dali", "pipeline")
    return folder


def add_mask_detector(folder: Path, *, engine: bool) -> None:
    """Add the mask detector to a repository of ``engine_repository``, with or without its engine.

    Its configurations are the kit's own, its pipeline is a stub.
    """
    for name in OPTIONAL_MODELS:
        write(folder / name / "config.pbtxt", (KIT / name / "config.pbtxt").read_text("utf-8"))
    write(folder / "facemask_preprocess" / "1" / "gpu.dali", "pipeline")
    if not engine:
        return
    path = engine_path(folder, "facemask")
    write(path, "engine of facemask")
    fpenet = read_manifest(folder, "fpenet")
    assert fpenet is not None
    manifest = dataclasses.replace(
        fpenet,
        model="facemask",
        weights="open",
        config="",
        source="model.onnx",
        source_format="onnx",
        outputs={"output_bbox/BiasAdd": (8, 26, 46), "output_cov/Sigmoid": (2, 26, 46)},
        engine_sha256=sha256_of(path),
        engine_bytes=path.stat().st_size,
    )
    write(manifest_path(folder, "facemask"), manifest.to_json())


def change(repository: Path, model: str, **fields: Any) -> None:
    """Change what ``plan.json`` says of a model's engine."""
    manifest = read_manifest(repository, model)
    assert manifest is not None
    changed = dataclasses.replace(manifest, **fields)
    write(manifest_path(repository, model), changed.to_json())


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")

"""A repository, a machine and the fake tools: what engines are built with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conversion.build import build_engine
from conversion.catalog import Catalog, Job
from conversion.errors import BuildError
from conversion.staleness import precision_for, reason_to_build
from facekit.engines.machine import Gpu, Machine
from facekit.engines.manifest import EngineManifest, read_manifest
from tests.conversion.conftest import REPOSITORY, ROOT
from tests.fakes import networks

FAKES = ROOT / "tests" / "fakes"
A10 = Gpu("NVIDIA A10", "8.6")
P100 = Gpu("Tesla P100", "6.0")
P40 = Gpu("Tesla P40", "6.1")
GTX = Gpu("NVIDIA GeForce GTX 980", "5.2")


def machine(gpu: Gpu = A10, tensorrt: str = "8.6.3") -> Machine:
    return Machine(tensorrt, (gpu,), "x86_64")


class Bench:
    """A repository, the files of NGC, and the fake tools."""

    def __init__(self, folder: Path, catalog: Catalog, built: Path | None = None) -> None:
        self.folder, self.catalog, self.built = folder, catalog, built
        self.repository, self.work = folder / "models", folder / "work"
        self.said: list[str] = []
        for model in ("facenet", "fpenet"):
            version = self.repository / model / "1"
            version.mkdir(parents=True)
            shutil.copy(REPOSITORY / model / "1" / "model.onnx", version)
        (folder / "facenet.etlt").write_bytes(networks.facenet_etlt())
        (folder / "fpenet.etlt").write_bytes(networks.fpenet_etlt())
        (folder / "int8_calibration.txt").write_bytes(networks.calibration_cache())

    def job(self, model: str = "facenet", weights: str = "nvidia") -> Job:
        found = self.catalog[model]
        return Job(found, found.weights[weights])

    def network(self, job: Job) -> Path:
        if job.weights.folder is not None:
            return self.repository / job.model.name / "1" / "model.onnx"
        return self.folder / f"{job.model.name}.etlt"

    def build(self, job: Job | None = None, on: Machine | None = None) -> EngineManifest:
        job, on = job or self.job(), on or machine()
        precision, _ = precision_for(job.weights, on)
        return build_engine(
            job,
            self.network(job),
            precision,
            repository=self.repository,
            work=self.work,
            machine=on,
            tao_converter=FAKES / "tao_converter.py",
            say=self.said.append,
        )

    def begin_with_engine(self) -> EngineManifest:
        """Put the engine in place that ``build`` would make."""
        assert self.built is not None
        for name in ("model.plan", "plan.json"):
            shutil.copy(self.built / name, self.engine.parent)
        manifest = read_manifest(self.repository, "facenet")
        assert manifest is not None
        return manifest

    def reason(self, job: Job | None = None, on: Machine | None = None) -> str | None:
        job = job or self.job()
        return reason_to_build(job, self.network(job), self.repository, on or machine(), False)

    def failure(self, job: Job | None = None) -> str:
        with pytest.raises(BuildError) as error:
            self.build(job)
        return str(error.value)

    @property
    def engine(self) -> Path:
        return self.repository / "facenet" / "1" / "model.plan"

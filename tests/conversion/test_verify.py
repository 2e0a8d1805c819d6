"""Whether the repository can be served: engines, configurations, pipelines."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conversion.build import build_engine
from conversion.catalog import Catalog, Job, Precision
from conversion.verify import verify
from facekit.engines.machine import Gpu, Machine
from facekit.engines.manifest import manifest_path, read_manifest, sha256_of
from facekit.pipelines.definitions import PIPELINES
from tests.conversion.conftest import REPOSITORY, ROOT

FAKES = ROOT / "tests" / "fakes"
MACHINE = Machine("8.6.3", (Gpu("NVIDIA A10", "8.6"),), "x86_64")
REPAIR = "docker compose run --rm converter"
REPAIR_OPEN = f"{REPAIR} all facenet --weights open"


class Served:
    """A copy of the repository with an engine of the open FaceNet."""

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.repository = folder / "models"
        shutil.copytree(REPOSITORY, self.repository, ignore=shutil.ignore_patterns("*.gpu.dali"))
        facenet = catalog["facenet"]
        self.job = Job(facenet, facenet.weights["open"])
        build_engine(
            self.job,
            self.repository / "facenet/1/model.onnx",
            Precision.FP16,
            repository=self.repository,
            work=folder / "work",
            machine=MACHINE,
            tao_converter=None,
            say=lambda line: None,
        )
        self.engine = self.repository / "facenet/1/model.plan"
        self.said: list[str] = []

    def problems(self, device: str | None, on: Machine = MACHINE) -> list[str]:
        return verify(self.repository, [self.job], on, self.said.append, device)

    def write_as_if_built(self, content: bytes) -> None:
        """Another engine, and a ``plan.json`` that knows it."""
        self.engine.write_bytes(content)
        manifest = read_manifest(self.repository, "facenet")
        assert manifest is not None
        known = dataclasses.replace(
            manifest, engine_bytes=len(content), engine_sha256=sha256_of(self.engine)
        )
        manifest_path(self.repository, "facenet").write_text(known.to_json())


@pytest.fixture
def served(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setenv("FACEKIT_TRTEXEC", str(FAKES / "trtexec.py"))
    return Served(tmp_path, catalog)


def test_what_was_just_built_fits(served: Served) -> None:
    assert served.problems("cpu") == []
    assert "facenet: the engine loads and runs" in served.said


def test_pipelines_for_the_gpu_that_are_missing_are_problems(served: Served) -> None:
    problems = served.problems("gpu")
    assert len(problems) == 6
    assert all("gpu.dali is missing" in problem for problem in problems)


def test_pipelines_that_are_left_alone_are_no_problems(served: Served) -> None:
    assert served.problems(None) == []


def test_empty_pipeline_counts_as_missing(served: Served) -> None:
    (served.repository / "photo_gray/1/cpu.dali").write_bytes(b"")
    (problem,) = served.problems("cpu")
    assert "photo_gray: the pipeline" in problem


def test_step_that_this_dali_runs_on_the_wrong_device_is_a_problem(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_cpu = functools.partial(PIPELINES["photo_gray"], "cpu")
    monkeypatch.setitem(PIPELINES, "photo_gray", lambda device, color: of_the_cpu(color))
    problems = served.problems("cpu")
    wrong = "photo_gray: its GPU pipeline: decoders__Image runs on cpu, expected mixed"
    assert wrong in problems
    assert all(problem.startswith("photo_gray: ") for problem in problems)


def test_dali_that_does_not_show_its_graph_is_warned_of(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PIPELINES, "photo_gray", lambda device, color: object())
    assert served.problems("cpu") == []
    assert [line for line in served.said if "this DALI does not tell where" in line]


def remove(served: Served) -> None:
    served.engine.unlink()


def spoil(served: Served) -> None:
    served.engine.write_bytes(b"x" * served.engine.stat().st_size)


def halve(served: Served) -> None:
    served.write_as_if_built(served.engine.read_bytes()[:100])


def change_network(served: Served) -> None:
    (served.repository / "facenet/1/model.onnx").write_bytes(b"another")


FAULTS: list[tuple[Callable[[Served], None], str]] = [
    (remove, "facenet: the engine"),
    (spoil, "is not the one that its plan.json describes"),
    (halve, "the engine does not load"),
    (change_network, "was changed after its engine was built"),
]


@pytest.mark.parametrize(("change", "words"), FAULTS)
def test_fault_is_told_with_what_repairs_it(
    served: Served, change: Callable[[Served], None], words: str
) -> None:
    change(served)
    (problem,) = served.problems("cpu")
    assert words in problem
    assert problem.endswith(REPAIR_OPEN)


def test_engine_of_another_gpu_is_told(served: Served) -> None:
    other = dataclasses.replace(MACHINE, gpus=(Gpu("Tesla T4", "7.5"),))
    (problem,) = served.problems("cpu", other)
    assert "was built for NVIDIA A10 (8.6), and this is Tesla T4 (7.5)" in problem


def test_weights_other_than_the_chosen_are_told(served: Served, catalog: Catalog) -> None:
    facenet = catalog["facenet"]
    served.job = Job(facenet, facenet.weights["nvidia"])
    (problem,) = served.problems("cpu")
    assert problem == (
        f"facenet: the engine was made of the weights 'open', not 'nvidia': {REPAIR}"
    )

"""Engines from the fake tools, and every way in which these can fail."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conversion import build as build_module
from conversion.build import build_engine
from conversion.catalog import Catalog, Job, Precision
from conversion.errors import BuildError
from conversion.fetch import Fetched
from conversion.reasons import precision_for, reason_to_build
from facekit.engines.machine import Gpu, Machine
from facekit.engines.manifest import EngineManifest, read_manifest, sha256_of
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

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.folder, self.catalog = folder, catalog
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
        found = self.catalog.models[model]
        return Job(found, found.weights[weights])

    def network(self, job: Job) -> Path:
        if job.weights.folder is not None:
            return self.repository / job.model.name / "1" / "model.onnx"
        return self.folder / f"{job.model.name}.etlt"

    def build(self, job: Job | None = None, on: Machine | None = None) -> EngineManifest:
        job = job or self.job()
        return build_engine(
            job,
            Fetched(self.network(job), self.folder / "int8_calibration.txt"),
            repository=self.repository,
            work=self.work,
            machine=on or machine(),
            tao_converter=FAKES / "tao_converter.py",
            say=self.said.append,
        )

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


@pytest.fixture
def bench(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("FACEKIT_TRTEXEC", str(FAKES / "trtexec.py"))
    return Bench(tmp_path, catalog)


BUILT = [
    ("facenet", "nvidia", "int8"),
    ("facenet", "nvidia-fp16", "fp16"),
    ("facenet", "open", "fp16"),
    ("fpenet", "nvidia", "fp16"),
    ("fpenet", "open", "fp16"),
]


@pytest.mark.parametrize(("model", "weights", "precision"), BUILT)
def test_engine_and_what_is_known_of_it(
    bench: Bench, model: str, weights: str, precision: str
) -> None:
    job = bench.job(model, weights)
    manifest = bench.build(job)
    engine = bench.repository / model / "1" / "model.plan"
    assert read_manifest(bench.repository, model) == manifest
    assert (manifest.precision, manifest.tensorrt, manifest.gpu) == (
        precision,
        "8.6.3",
        "NVIDIA A10",
    )
    assert manifest.engine_sha256 == sha256_of(engine)
    assert manifest.source_sha256 == sha256_of(bench.network(job))
    assert bench.reason(job) is None
    assert sorted(path.name for path in engine.parent.iterdir()) == [
        "model.onnx",
        "model.plan",
        "plan.json",
    ]
    assert not bench.work.exists()


# How the fake is told to fail, and what a person then reads first and last.
FAULTS = [
    ("no-engine", "tao_converter.py ended with exit code 0, and it wrote no engine to", "read its"),
    ("empty", "tao_converter.py ended with exit code 0, and the engine is empty", "read its"),
    ("half", "trtexec.py ended with exit code 1, and the engine does not load", "see that"),
    ("wrong-key", "tao_converter.py ended with exit code 0, and it wrote no engine", "put the key"),
    ("memory", "tao_converter.py ended with exit code 1, and it wrote no engine", "end what else"),
]


@pytest.mark.parametrize(("mode", "first", "remedy"), FAULTS)
def test_fault_is_told_and_leaves_the_old_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, mode: str, first: str, remedy: str
) -> None:
    bench.build()
    before = {path.name: path.read_bytes() for path in bench.engine.parent.iterdir()}
    monkeypatch.setenv("FAKE_TOOL_MODE", mode)
    words = bench.failure()
    assert words.splitlines()[0].startswith(f"facenet: {first}")
    assert words.splitlines()[-1].startswith(f"what to do: {remedy}")
    assert {path.name: path.read_bytes() for path in bench.engine.parent.iterdir()} == before


def test_crash_with_half_an_engine_is_found_by_loading_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TOOL_MODE", "crash")
    assert "the engine does not load" in bench.failure()
    assert any("was killed by SIGSEGV" in line for line in bench.said)
    assert not bench.engine.exists()


def test_hang_is_ended_and_its_engine_not_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tool = build_module.run_tool

    def impatient(argv: list[str], **options: object) -> object:
        return run_tool(argv, **{**options, "limit_s": 1.0})

    monkeypatch.setattr(build_module, "run_tool", impatient)
    monkeypatch.setenv("FAKE_TOOL_MODE", "hang")
    words = bench.failure()
    assert "tao_converter.py was ended after 0:01, and so its engine is not used" in words
    assert "likely: the tool hangs" in words


def test_whole_engine_counts_more_than_the_exit_code(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TOOL_MODE", "exit-1")
    bench.build()
    assert bench.reason() is None
    assert any("exit code 1, and there is an engine all the same" in line for line in bench.said)


def test_failed_tool_is_not_believed_where_nothing_can_try_its_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "find_trtexec", lambda: None)
    monkeypatch.setenv("FAKE_TOOL_MODE", "exit-1")
    assert "no trtexec here to tell whether its engine is any good" in bench.failure()


def test_engine_that_could_not_be_tried_is_said_aloud(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "find_trtexec", lambda: None)
    bench.build()
    assert "facenet: trtexec is not here, so the engine was not tried" in bench.said


def test_onnx_without_trtexec_says_where_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "find_trtexec", lambda: None)
    assert "trtexec is not here (PATH, " in bench.failure(bench.job("facenet", "open"))


def test_engine_of_another_tensorrt_is_found_by_loading_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = bench.folder / "converter"
    other.write_text(f'#!/bin/sh\nFAKE_TENSORRT=8601 exec {FAKES / "tao_converter.py"} "$@"\n')
    other.chmod(0o755)
    job = bench.job()
    with pytest.raises(BuildError, match="likely: the tool and TensorRT are of different versions"):
        build_engine(
            job,
            Fetched(bench.network(job), bench.folder / "int8_calibration.txt"),
            repository=bench.repository,
            work=bench.work,
            machine=machine(),
            tao_converter=other,
            say=bench.said.append,
        )


def test_other_outputs_than_promised_are_refused(bench: Bench) -> None:
    (bench.folder / "fpenet.etlt").write_bytes(networks.fpenet_etlt(points=68))
    words = bench.failure(bench.job("fpenet"))
    assert "the engine gives conv_keypoints_m80 [1, 68, 80, 80]" in words
    assert "correct `outputs:`" in words


def test_key_that_is_secret_is_written_nowhere(bench: Bench) -> None:
    job = bench.job()
    (bench.folder / "facenet.etlt").write_bytes(networks.facenet_etlt(key="s3cret"))
    secret = dataclasses.replace(job.weights, key="s3cret", key_is_public=False)
    manifest = bench.build(Job(job.model, secret))
    assert manifest.command[1:3] == ("-k", "***")
    assert "s3cret" not in "\n".join(bench.said)


def test_leftovers_of_a_killed_run_are_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = bench.engine.with_name(".plan.json.part")
    left.write_bytes(b"half")
    bench.work.mkdir()
    (bench.work / "model.plan").write_bytes(b"half")
    monkeypatch.setenv("FAKE_TOOL_MODE", "no-engine")
    assert "it wrote no engine" in bench.failure()
    assert not left.exists()


def test_engine_of_another_size_than_known_is_built_again(bench: Bench) -> None:
    bench.build()
    bench.engine.write_bytes(b"the newer engine")
    assert bench.reason() == "the engine is not the one of its plan.json: its size differs"


@pytest.mark.parametrize(
    ("gpu", "built"), [(P40, "int8"), (P100, "fp16"), (GTX, "fp32"), (A10, "int8")]
)
def test_gpu_gets_the_best_precision_it_has(bench: Bench, gpu: Gpu, built: str) -> None:
    assert bench.build(on=machine(gpu)).precision == built
    asked_for = [line for line in bench.said if "has no fast INT8: building" in line]
    assert len(asked_for) == (built != "int8")


def test_tensorrt_11_computes_in_what_the_file_states(bench: Bench) -> None:
    chosen, remark = precision_for(bench.job("facenet", "open").weights, machine(A10, "11.2.1"))
    assert chosen is Precision.FP32
    assert remark is not None
    assert "in the types that the network's file states" in remark


def change_network(bench: Bench) -> None:
    (bench.folder / "facenet.etlt").write_bytes(networks.facenet_etlt(size=2000))


def change_engine(bench: Bench) -> None:
    data = bytearray(bench.engine.read_bytes())
    data[100] ^= 1
    bench.engine.write_bytes(data)


def remove_manifest(bench: Bench) -> None:
    bench.engine.with_name("plan.json").unlink()


def damage_manifest(bench: Bench) -> None:
    bench.engine.with_name("plan.json").write_text("{")


def change_calibration(bench: Bench) -> None:
    (bench.folder / "int8_calibration.txt").write_bytes(networks.calibration_cache(("other",)))


def note(**changes: object) -> Callable[[Bench], None]:
    """Return what makes ``plan.json`` say something else of the engine."""

    def change(bench: Bench) -> None:
        path = bench.engine.with_name("plan.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


STALE: list[tuple[Callable[[Bench], None], str]] = [
    (change_network, "the network facenet.etlt has changed since its engine was built"),
    (change_engine, "the engine is not the one of its plan.json: its SHA-256 differs"),
    (remove_manifest, "nothing is known of its engine: plan.json is missing"),
    (damage_manifest, "what is known of its engine is damaged: "),
    (change_calibration, "the cache int8_calibration.txt has changed since the engine was built"),
    (note(batch={"minimum": 8, "optimum": 8, "maximum": 8}), "the engine takes batches of "),
    (note(inputs={"input_1": [3, 544, 960]}), "the engine's input is not the model's"),
    (note(inputs={"input_2": [3, 416, 736]}), "the engine's input is not the model's"),
    (note(outputs={"output_bbox/BiasAdd": [4, 26, 46]}), "the engine's outputs are not those of"),
    (note(config="open"), "the engine is for the configurations 'open', not the weights'"),
    (lambda bench: bench.engine.unlink(), "there is no engine yet"),
]


@pytest.mark.parametrize(("change", "words"), STALE)
def test_stale_engine_is_known_as_such(
    bench: Bench, change: Callable[[Bench], None], words: str
) -> None:
    bench.build()
    change(bench)
    assert (bench.reason() or "").startswith(words)


def test_calibration_cache_of_another_precision_does_not_matter(bench: Bench) -> None:
    bench.build(on=machine(P100))
    change_calibration(bench)
    assert bench.reason(on=machine(P100)) is None


def test_other_machine_makes_an_engine_stale(bench: Bench) -> None:
    bench.build()
    assert bench.reason(on=machine(A10, "8.6.1")) == (
        "the engine is for TensorRT 8.6.3, here is 8.6.1"
    )
    assert (bench.reason(on=machine(P40)) or "").startswith("the engine is for NVIDIA A10 (")
    assert bench.reason(on=Machine(None, (), "x86_64")) is None


def test_other_weights_make_an_engine_stale(bench: Bench) -> None:
    bench.build()
    assert bench.reason(bench.job("facenet", "open")) == (
        "the engine was made of the weights 'nvidia', not 'open'"
    )


def test_force_builds_what_fits(bench: Bench) -> None:
    bench.build()
    job = bench.job()
    reason = reason_to_build(job, bench.network(job), bench.repository, machine(), True)
    assert reason == "--force"


def test_machine_without_a_gpu_is_refused(bench: Bench) -> None:
    with pytest.raises(BuildError, match="here is no GPU: docker compose run"):
        bench.build(on=Machine("8.6.3", (), "x86_64"))


# The steps of putting a new engine in place, as what they call.
STEPS = [
    ("shutil.copyfile", 1),
    ("pathlib.Path.write_text", 1),
    ("os.fsync", 1),
    ("os.fsync", 2),
    ("pathlib.Path.replace", 1),
    ("pathlib.Path.replace", 2),
]


def fail_at(
    monkeypatch: pytest.MonkeyPatch, step: str, number: int, fault: Callable[[], None]
) -> None:
    """Let the call of that number fail, and half of what it would write be written."""
    function, calls = pkgutil.resolve_name(step.replace("pathlib.Path", "pathlib:Path")), []

    def failing(*arguments: object, **options: object) -> object:
        calls.append(step)
        if len(calls) != number:
            return function(*arguments, **options)
        if step in ("shutil.copyfile", "pathlib.Path.write_text"):
            function(*arguments, **options)
            written = arguments[1] if step == "shutil.copyfile" else arguments[0]
            os.truncate(str(written), 100)
        return fault()

    monkeypatch.setattr(step, failing)


def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("fault", [disk_full, interrupted])
@pytest.mark.parametrize(("step", "number"), STEPS)
def test_engine_that_cannot_be_put_in_place_leaves_the_old_pair(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
    fault: Callable[[], None],
) -> None:
    bench.build()
    before = {path.name: path.read_bytes() for path in bench.engine.parent.iterdir()}
    with monkeypatch.context() as patched:
        fail_at(patched, step, number, fault)
        with pytest.raises((BuildError, KeyboardInterrupt)):
            bench.build()
    assert {path.name: path.read_bytes() for path in bench.engine.parent.iterdir()} == before


def test_first_engine_that_cannot_be_put_in_place_leaves_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, "pathlib.Path.replace", 2, disk_full)
        assert (
            "No space left on device; see who owns what lies there, and how much" in bench.failure()
        )
    assert [path.name for path in bench.engine.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(("step", "number"), STEPS)
def test_run_killed_while_it_puts_an_engine_in_place_shows_no_half_of_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    old = bench.build()
    child = os.fork()
    if child == 0:
        fail_at(monkeypatch, step, number, lambda: os._exit(9))
        bench.build()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert read_manifest(bench.repository, "facenet") == old
    assert bench.engine.read_bytes().endswith(b"END\n")
    if (step, number) == STEPS[-1]:
        assert bench.reason() == "the engine is not the one of its plan.json: its SHA-256 differs"
    else:
        assert bench.reason() is None
    bench.build()
    assert bench.reason() is None
    assert len(list(bench.engine.parent.iterdir())) == 3


def test_work_folder_that_cannot_be_emptied_is_told_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.work.mkdir()
    (bench.work / "model.plan").write_bytes(b"an engine of a killed run")

    def refuse(_: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", refuse)
        assert "Permission denied; see who owns what lies there" in bench.failure()

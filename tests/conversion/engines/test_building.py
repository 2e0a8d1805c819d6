"""Engines from the fake tools, and what is known of them."""

from __future__ import annotations

import dataclasses

import pytest

from conversion.catalog import Job, Precision
from conversion.staleness import precision_for
from facekit.engines.machine import Gpu
from facekit.engines.manifest import read_manifest, sha256_of
from tests.conversion.engines.bench import A10, GTX, P40, P100, Bench, machine
from tests.fakes import networks

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


@pytest.mark.parametrize(
    ("gpu", "built"), [(P40, "int8"), (P100, "fp16"), (GTX, "fp32"), (A10, "int8")]
)
def test_gpu_gets_the_best_precision_it_has(bench: Bench, gpu: Gpu, built: str) -> None:
    assert bench.build(on=machine(gpu)).precision == built
    _, remark = precision_for(bench.job().weights, machine(gpu))
    assert ("has no fast INT8: building" in (remark or "")) == (built != "int8")


def test_tensorrt_11_computes_in_what_the_file_states(bench: Bench) -> None:
    chosen, remark = precision_for(bench.job("facenet", "open").weights, machine(A10, "11.2.1"))
    assert chosen is Precision.FP32
    assert remark is not None
    assert "in the types that the network's file states" in remark

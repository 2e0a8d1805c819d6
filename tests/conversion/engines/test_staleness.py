"""Which engines are built again, and why."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from conversion.staleness import reason_to_build
from facekit.engines.machine import Machine
from tests.conversion.engines.bench import A10, P40, P100, Bench, machine
from tests.fakes import networks


def test_engine_of_another_size_than_known_is_built_again(bench: Bench) -> None:
    bench.begin_with_engine()
    bench.engine.write_bytes(b"the newer engine")
    assert " has 16 bytes, and its plan.json says " in (bench.reason() or "")


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
    (change_engine, "is not the one that its plan.json describes (SHA-256)"),
    (remove_manifest, "its plan.json is missing"),
    (damage_manifest, "its plan.json is damaged: "),
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
    bench.begin_with_engine()
    change(bench)
    assert words in (bench.reason() or "")


def test_calibration_cache_of_another_precision_does_not_matter(bench: Bench) -> None:
    bench.build(on=machine(P100))
    change_calibration(bench)
    assert bench.reason(on=machine(P100)) is None


def test_other_machine_makes_an_engine_stale(bench: Bench) -> None:
    bench.begin_with_engine()
    assert bench.reason(on=machine(A10, "8.6.1")) == (
        "the engine is for TensorRT 8.6.3, here is 8.6.1"
    )
    assert (bench.reason(on=machine(P40)) or "").startswith("the engine is for NVIDIA A10 (")
    assert bench.reason(on=Machine(None, (), "x86_64")) is None


def test_other_weights_make_an_engine_stale(bench: Bench) -> None:
    bench.begin_with_engine()
    assert bench.reason(bench.job("facenet", "open")) == (
        "the engine was made of the weights 'nvidia', not 'open'"
    )


def test_force_builds_what_fits(bench: Bench) -> None:
    bench.begin_with_engine()
    job = bench.job()
    reason = reason_to_build(job, bench.network(job), bench.repository, machine(), True)
    assert reason == "--force"

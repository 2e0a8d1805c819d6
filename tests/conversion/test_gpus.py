"""What a plan says for the GPUs of today and yesterday, on old and new releases of Triton."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekit.engines.machine import Gpu, Machine
from tests.conversion.test_planning import engine_of, make

GPUS = {
    "T4": Gpu("Tesla T4", "7.5"),
    "A100": Gpu("NVIDIA A100-SXM4-80GB", "8.0"),
    "H100": Gpu("NVIDIA H100 80GB HBM3", "9.0"),
    "B200": Gpu("NVIDIA B200", "10.0"),
    "RTX 5090": Gpu("NVIDIA GeForce RTX 5090", "12.0"),
    "V100": Gpu("Tesla V100-SXM2-32GB", "7.0"),
    "Orin": Gpu("Orin", "8.7"),
}
NEWER = "take Triton 26.10 (TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.10-py3 in .env)"
OLDER = "take Triton 24.09 (TRITON_IMAGE=nvcr.io/nvidia/tritonserver:24.09-py3 in .env)"
TENSORRT = {"24.04": "8.6.3", "25.10": "10.13.3", "26.06": "11.0.0", "26.10": "11"}


def expected(gpu: str, tag: str) -> str:
    """What is wrong with a GPU on a release, for the kit's own networks; "" for nothing."""
    if tag == "24.04" and gpu in ("B200", "RTX 5090"):
        how, span, remedy = "new", "6.0 to 9.0", NEWER
    elif tag != "24.04" and gpu == "V100":
        how, span, remedy = "old", "7.5 to 12.1", OLDER
    else:
        return ""
    too = f"{GPUS[gpu]} is too {how} for TensorRT {TENSORRT[tag]}"
    return f"{too}, which knows compute capabilities {span}: {remedy}"


def machine(gpu: str) -> Machine:
    return Machine(None, (GPUS[gpu],), "aarch64" if gpu == "Orin" else "x86_64")


@pytest.mark.parametrize("tag", TENSORRT)
@pytest.mark.parametrize("gpu", GPUS)
def test_plan_of_open_weights_refuses_a_gpu_that_tensorrt_does_not_know(
    repository: Path, gpu: str, tag: str
) -> None:
    plan = make(repository, "open", machine=machine(gpu), triton=tag)
    engine = engine_of(plan, "facenet")
    assert (engine.problem or "") == expected(gpu, tag)
    assert ("problem" in plan.text()) == plan.failed == bool(expected(gpu, tag))
    jetson = [warning for warning in engine.warnings if "is a Jetson" in warning]
    assert bool(jetson) == (gpu == "Orin")


@pytest.mark.parametrize("gpu", GPUS)
def test_plan_of_open_weights_without_a_release_takes_one_that_fits(
    repository: Path, gpu: str
) -> None:
    plan = make(repository, "open", machine=machine(gpu))
    assert not plan.failed
    assert plan.release == ("24.09" if gpu == "V100" else "26.10")


@pytest.mark.parametrize("gpu", GPUS)
def test_plan_of_an_etlt_is_for_24_04_or_says_that_only_open_weights_go(
    repository: Path, gpu: str
) -> None:
    plan = make(repository, machine=machine(gpu))
    problem = engine_of(plan, "facenet").problem or ""
    assert plan.release == "24.04"
    if gpu in ("B200", "RTX 5090"):
        assert problem == f"{expected(gpu, '24.04')}; it reads no .etlt: --weights open"
    else:
        assert problem == ""


@pytest.mark.parametrize("tag", ["25.10", "26.06", "26.10"])
def test_plan_of_an_etlt_on_a_newer_release_names_the_ways_out(repository: Path, tag: str) -> None:
    text = make(repository, machine=machine("V100"), triton=tag).text()
    assert "Alternatives: --weights open, or Triton 24.02 to 24.04" in text


def test_gpu_newer_than_all_is_left_to_the_newest_tensorrt(repository: Path) -> None:
    future = Machine(None, (Gpu("NVIDIA Next", "14.0"),), "x86_64")
    assert not make(repository, "open", machine=future, triton="26.10").failed
    assert make(repository, "open", machine=future).release == "26.10"
    old = engine_of(make(repository, "open", machine=future, triton="24.12"), "facenet")
    assert old.problem == (
        "NVIDIA Next (14.0) is too new for TensorRT 10.7.0, which knows compute capabilities 7.5 "
        f"to 9.0: {NEWER}"
    )


def test_gpu_older_than_all_is_refused(repository: Path) -> None:
    past = Machine(None, (Gpu("Tesla K80", "3.7"),), "x86_64")
    problem = engine_of(make(repository, "open", machine=past), "facenet").problem or ""
    assert problem.endswith("which knows compute capabilities 7.5 to 12.1: take a newer GPU")

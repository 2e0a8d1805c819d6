"""Where each step of a GPU pipeline runs: read from its graph, which needs no CUDA."""

from __future__ import annotations

import pytest
from nvidia.dali import fn, pipeline_def

from conversion.pipelines import placement_problems
from facekit.pipelines.definitions import COLORS_OF, PIPELINES

VARIANTS = [(model, color) for model in PIPELINES for color in COLORS_OF[model]]


@pytest.mark.parametrize(("model", "color"), VARIANTS)
def test_gpu_pipeline_decodes_mixed_and_goes_on_on_the_gpu(model: str, color: str | None) -> None:
    assert placement_problems(PIPELINES[model]("gpu", color)) == []


@pytest.mark.parametrize(("model", "color"), VARIANTS)
def test_cpu_pipeline_would_not_pass_for_one(model: str, color: str | None) -> None:
    problems = placement_problems(PIPELINES[model]("cpu", color))
    assert "decoders__Image runs on cpu, expected mixed" in problems
    assert [problem for problem in problems if problem.endswith("is on cpu, expected gpu")]


def test_step_that_fell_back_to_the_cpu_is_named() -> None:
    @pipeline_def(batch_size=1, num_threads=1, device_id=0)
    def halfway() -> object:
        photo = fn.external_source(name="photo", device="cpu")
        fn.decoders.image(photo, device="mixed")
        return fn.flip(fn.decoders.image(photo, device="cpu"), device="cpu").gpu()

    problems = placement_problems(halfway())
    assert "Flip runs on cpu, expected gpu" in problems

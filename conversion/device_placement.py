"""On which device every step of a pipeline runs, read from its graph without a GPU.

A graph can be drawn up anywhere; only DALI's own pipeline, which runs it, needs CUDA.
"""

from __future__ import annotations

from typing import Any

from nvidia.dali import backend as _backend

# The lists of operators are made when the module is loaded, out of the type checker's sight.
backend: Any = _backend

# What reads the photo's bytes on the CPU and hands its pixels to the GPU.
_DECODER = "mixed"


def placement_problems(pipeline: Any) -> list[str]:
    """Return what of a GPU pipeline runs in the wrong place, a sentence each.

    The decoder has to be mixed; everything that touches its pixels, and every output, belongs on
    the GPU. What is made of the orientation alone stays on the CPU, as DALI wants arguments.

    Args:
        pipeline: a ``nvidia.dali`` pipeline that is not yet built.
    """
    # There is no public way to a graph that asks for no GPU.
    pipeline._build_graph()
    problems = []
    registered = {
        "cpu": set(backend.RegisteredCPUOps()),
        "gpu": set(backend.RegisteredGPUOps()),
        "mixed": set(backend.RegisteredMixedOps()),
    }
    decoders = 0
    pixels: set[str] = set()
    for step in pipeline._ops:
        name, device = _operator(step)
        if name is None:  # an input, fed from outside
            expected = "cpu"
        elif name.startswith("decoders__"):
            expected, decoders = _DECODER, decoders + 1
        else:
            touched = any(node.name in pixels for node in step.inputs)
            expected = "gpu" if touched else "cpu"
        if expected != "cpu":
            pixels.update(node.name for node in step.outputs)
        if device != expected:
            problems.append(f"{name or 'an input'} runs on {device}, expected {expected}")
        if name is not None and name not in registered[device]:
            problems.append(f"this DALI has no {name} for {device}")
    if decoders != 1:
        problems.append(f"expected one decoder, found {decoders}")
    for output in pipeline._graph_outputs:
        if output.device != "gpu":
            problems.append(f"the output {output.name} is on {output.device}, expected gpu")
    return problems


def _operator(step: Any) -> tuple[str | None, str]:
    """Return an operator's name, none for an input, and its device, in old and new DALI."""
    operator = step._op
    name = getattr(operator, "schema_name", None) or getattr(operator, "_schema_name", None)
    device = getattr(operator, "device", None) or getattr(operator, "_device", "cpu")
    return name, str(device)

"""On which device every step of a pipeline runs, read from its graph without a GPU."""

from __future__ import annotations

from typing import Any


def placement_problems(pipeline: Any) -> list[str]:
    """Return which steps of a GPU pipeline run on the wrong device, a sentence each.

    The decoder has to be mixed; everything that uses its pixels, and every output, belongs on the
    GPU. What is computed from the orientation alone stays on the CPU, as DALI wants arguments. No
    GPU is needed: only DALI's own pipeline, which runs the graph, needs CUDA.

    Args:
        pipeline: a ``nvidia.dali`` pipeline that is not yet built.
    """
    from nvidia.dali import backend

    # DALI has no public access to a graph without a GPU.
    pipeline._build_graph()
    problems = []
    # The lists are made when the module is loaded, so the type checker does not know them.
    operators: Any = backend
    registered = {
        "cpu": set(operators.RegisteredCPUOps()),
        "gpu": set(operators.RegisteredGPUOps()),
        "mixed": set(operators.RegisteredMixedOps()),
    }
    decoders = 0
    pixels: set[str] = set()
    for step in pipeline._ops:
        name, device = _operator(step)
        if name is None:  # an input, fed from outside
            expected = "cpu"
        elif name.startswith("decoders__"):
            expected, decoders = "mixed", decoders + 1
        else:
            expected = "gpu" if any(node.name in pixels for node in step.inputs) else "cpu"
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
    """Return an operator's name, ``None`` for an input, and its device, in old and new DALI."""
    operator = step._op
    name = getattr(operator, "schema_name", None) or getattr(operator, "_schema_name", None)
    device = getattr(operator, "device", None) or getattr(operator, "_device", "cpu")
    return name, str(device)

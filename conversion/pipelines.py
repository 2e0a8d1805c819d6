"""Write the DALI pipelines into the repository, and check where their steps run."""

from pathlib import Path
from typing import Any

from conversion.errors import BuildError
from conversion.paths import Say, not_writable
from facekit.engines.manifest import REPAIR, VERSION_DIR
from facekit.errors import SetupError
from facekit.files import write_whole


def serialize_pipelines(repository: Path, device: str, say: Say) -> list[Path]:
    """Write every pipeline in each of its colors for ``gpu`` or ``cpu``, and return the files.

    The caller holds the repository's lock, so the partial files of a killed run can be removed.
    Raises BuildError without DALI or if a file can't be written, and SetupError for ``gpu`` without
    CUDA.
    """
    try:
        import nvidia.dali

        from facekit.pipelines.definitions import COLORS_OF
        from facekit.pipelines.serialize import file_name, serialize
    except ImportError as error:
        raise BuildError(
            f"DALI is not installed ({error}); it is in the converter's image: {REPAIR}"
        ) from error
    written = []
    for model, colors in COLORS_OF.items():
        folder = repository / model / VERSION_DIR
        if not folder.parent.is_dir():
            continue  # a repository of some models only
        for color in colors:
            path = folder / file_name(color, device)
            try:
                data = serialize(model, device=device, color=color)
            except SetupError as error:
                first = str(error).splitlines()[0]
                raise SetupError(
                    f"{path.name} of {model}: {first}\nwhat to do: check that nvidia-smi works, "
                    "and that the container is given the GPU; --device cpu writes the pipelines of "
                    "a server without one"
                ) from error
            try:
                for partial in folder.glob(".*.dali.part"):
                    partial.unlink()
                write_whole(path, data)
            except OSError as error:
                raise BuildError(not_writable(folder, error)) from error
            written.append(path)
            say(f"{model}: {path.name} written by DALI {nvidia.dali.__version__}")
    return written


def placement_problems(pipeline: Any) -> list[str]:
    """Return which steps of a GPU pipeline run on the wrong device, a sentence each.

    The decoder has to be mixed; everything that uses its pixels, and every output, belongs on the
    GPU. What is computed from the orientation alone stays on the CPU, as DALI wants arguments. The
    graph of ``pipeline``, a ``nvidia.dali`` pipeline that is not built yet, is read without a GPU.
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

"""What a network has to agree with where its file is written into a model repository of Triton."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facekit.engines.configs import DEFAULT_FILE, read_config
from facekit.errors import ConfigError, DataError, reading

LABEL_FILE = "labels.txt"
Shapes = Mapping[str, Sequence[int]]
"""Shape of each tensor by its name, without the batch."""


def model_folder(path: Path) -> Path | None:
    """Return the model that a file is a version of: ``<model>/<number>/<file>``; None for none."""
    version = path.absolute().parent.resolve()
    is_model = version.name.isdigit() and (version.parent / DEFAULT_FILE).is_file()
    return version.parent if is_model else None


def served_labels(path: Path) -> Path | None:
    """Return the file with the classes' names that a server has for a model's file, if any."""
    model = model_folder(path)
    labels = model and model.with_name(f"{model.name}_postprocess") / LABEL_FILE
    return labels if labels and labels.is_file() else None


def check_served(
    path: Path, inputs: Shapes, outputs: Shapes, classes: Sequence[str] | None = None
) -> None:
    """Check that a network fits the place its file is written to; any other place is free.

    Args:
        path: The file.
        inputs: The network's inputs.
        outputs: Its outputs.
        classes: Names of its classes in the order of its channels; None for a network that has
            none of its own.

    Raises:
        DataError: The model's configuration has other tensors, and so has each of ``configs/``; or
            its postprocess model has other classes, or another order of them. Or such a file can't
            be read.
    """
    model = model_folder(path)
    if model is None:
        return
    # A server can be started with any of them.
    files = [model / DEFAULT_FILE, *sorted((model / "configs").glob("*.pbtxt"))]
    misfits = [_misfit(file, inputs, outputs) for file in files]
    if misfits[0] and all(misfits):
        raise DataError(path, f"not written: {files[0]} {misfits[0]}")
    labels = served_labels(path)
    if classes is not None and labels is not None:
        with reading(labels):
            served = labels.read_text("utf-8").split("\n")
        names = [name.strip() for name in served if name.strip()]
        if names != list(classes):
            other = "another order" if sorted(names) == sorted(classes) else "other classes"
            raise DataError(
                path,
                f"not written: {labels} has {other}: {', '.join(names)}; "
                f"the network's are {', '.join(classes)}",
            )


def _misfit(file: Path, inputs: Shapes, outputs: Shapes) -> str:
    """Return what a configuration has that the network has not, or the other way round."""
    try:
        config = read_config(file)
    except ConfigError as error:
        raise DataError(file, f"cannot be read: {error}") from error
    batched = config.max_batch_size > 0
    for kind, declared, given in (
        ("input", config.input, inputs),
        ("output", config.output, outputs),
    ):
        wanted = _shapes(declared, batched)
        # A network may have outputs that a server leaves unused; an input has to be fed.
        names = dict.fromkeys([*wanted, *(given if kind == "input" else ())])
        for name in names:
            has, is_ = wanted.get(name), given.get(name)
            if has is None or is_ is None or not _same(has, is_):
                return f"has {kind} {name} {_text(has)}, the network {_text(is_)}"
    return ""


def _shapes(declared: Iterable[Any], batched: bool) -> dict[str, list[int]]:
    return {
        tensor.name: [int(side) for side in tensor.dims][0 if batched else 1 :]
        for tensor in declared
    }


def _same(declared: Sequence[int], given: Sequence[int]) -> bool:
    pairs = zip(declared, given, strict=False)
    return len(declared) == len(given) and all(side in (-1, size) for side, size in pairs)


def _text(shape: Sequence[int] | None) -> str:
    return "none" if shape is None else str(list(shape))

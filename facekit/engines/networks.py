"""The optional model's own network as a file, where ONNX Runtime runs it without an engine."""

from __future__ import annotations

from pathlib import Path

from facekit.contract import is_optional


def way_back(model: str, file: Path) -> str:
    """Return what gives a model's network back; "" for one that is not the kit's optional one.

    Args:
        model: The model's name.
        file: Where its network lies, or should.
    """
    if not is_optional(model):
        return ""
    return (
        f"get it back in the kit's clone with: git checkout model_repository/{model}; or export "
        f"one: python -m training.detector export -m CHECKPOINT -o {file}"
    )

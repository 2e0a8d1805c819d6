"""The label file of a detector: one class a line, in the order of the network's outputs."""

from pathlib import Path

from facekit.contract import CLASS_NAMES
from facekit.errors import ConfigError, reading


def read_class_names(path: Path, detector: str) -> list[str]:
    """Return the class names of the label file of a detector, such as ``facemask``.

    Those of the kit's detectors are part of the tensor contract, because clients get only numbers
    of classes. Raises ConfigError if the file can't be read, or differs from the contract.
    """
    with reading(path, ConfigError):
        names = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    wanted = CLASS_NAMES.get(detector)
    if wanted is not None and tuple(names) != wanted:
        raise ConfigError(
            f"label file {path}: expected {', '.join(wanted)} in this order, as clients know them, "
            f"got {', '.join(names) or 'no class'}"
        )
    return names

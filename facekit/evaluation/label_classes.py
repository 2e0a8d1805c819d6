"""Map a label's class name to a class of a model."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import ConfigError
from facekit.evaluation.class_scores import NO_CLASS

FACE = "face"
"""The one class of models that do not tell faces apart, and of faces without further label."""

_SYNONYMS = {
    # Kaggle's "Face Mask Detection" and "Medical Mask", and other names for their classes.
    "withmask": "mask",
    "masked": "mask",
    "withoutmask": "nomask",
    "none": "nomask",
    "unmasked": "nomask",
}
_FACES_OF_NO_CLASS = frozenset({"face", "incorrectmask", "maskwearedincorrect"})
"""Faces of neither class: they count only where classes are merged."""
_NOTHING = "dontcare"


class ClassMap:
    """Maps class names of labels to classes of a model.

    Names are compared without regard to case, spaces and signs. The names of the usual face sets
    are known; ``given`` overrides them. An empty class name leaves such labels out: they are
    neither to be found nor wrong to find.
    """

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        self._names = {_plain(name): name for name in given or {}}
        self._given = {_plain(name): target for name, target in (given or {}).items()}

    def faces(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Return the labels where all faces are one class: int32 (M,), 0 or ``NO_CLASS``."""
        left_out = [self._left_out(_plain(name)) for name in names]
        return np.where(np.array(left_out, bool), NO_CLASS, 0).astype(np.int32)

    def labels(self, names: Sequence[str], classes: Sequence[str]) -> NDArray[np.int32]:
        """Return the labels of names in a model's classes: int32 (M,), each may be ``NO_CLASS``."""
        known = {_plain(name): label for label, name in enumerate(classes)}
        return np.array([known.get(self._meant(name), NO_CLASS) for name in names], np.int32)

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return the label names that were given and that are none of ``names``."""
        found = {_plain(name) for name in names}
        return [name for plain, name in self._names.items() if plain not in found]

    def check(self, files: Mapping[str, Path], classes: Sequence[str]) -> None:
        """Refuse names that may not be faces, or not be faces of one of the model's classes.

        ``files`` has the class names of all labels, each with a label file that has it. A
        ConfigError names them and the option that decides, or a given class that the model lacks.
        """
        known = {_plain(name) for name in classes}
        if len(known) > 1:  # to a model of one class all faces are alike, whatever they are called
            for name, target in self._given.items():
                if target and self._meant(name) not in known:
                    raise ConfigError(
                        f"--class-map {self._names[name]}={target}: {target} is not a class of the "
                        f"model ({', '.join(classes)})"
                    )
        faces = {*_SYNONYMS, *_SYNONYMS.values(), *_FACES_OF_NO_CLASS} if len(known) < 2 else set()
        unclear = []
        for name in sorted(files):
            plain, meant = _plain(name), self._meant(name)
            if self._left_out(plain) or meant in {*known, *faces}:
                continue
            if plain in self._given and len(known) < 2:
                continue  # whatever class it was said to be, it is a face
            if plain not in self._given and meant in _FACES_OF_NO_CLASS:
                continue
            unclear.append(name)
        if unclear:
            target = classes[0] if classes else FACE
            raise ConfigError(
                f"the model's classes ({', '.join(classes)}) leave open what these labels are: "
                f"{', '.join(unclear)} ({unclear[0]} is in {files[unclear[0]]}). "
                f"Say --class-map {unclear[0]}={target}, or {unclear[0]}= to leave them out"
            )

    def _left_out(self, plain: str) -> bool:
        return not self._given[plain] if plain in self._given else plain == _NOTHING

    def _meant(self, name: str) -> str:
        plain = _plain(self._given.get(_plain(name), name))
        return _SYNONYMS.get(plain, plain)


def parse_class_map(text: str) -> dict[str, str]:
    """Return the pairs of ``label=class,label=class``, else ConfigError; a class may be empty."""
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, sign, target = (piece.strip() for piece in part.partition("="))
        if not sign or not _plain(name):
            raise ConfigError(f"expected LABEL=CLASS,..., got {part.strip()!r}")
        pairs[name] = target
    return pairs


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())

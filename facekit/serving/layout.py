"""What a server gets of the model repository: a folder of links, with plain names."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

from facekit.errors import SetupError

COLORS = ("gray", "rgb")
"""What FaceNet is fed; each is a serialized pipeline beside the others."""

_PIPELINE = re.compile(r'^(\s*default_model_filename\s*:\s*")(\w+)(\.\w+\.dali")', re.MULTILINE)
# Large JPEGs are decoded before DALI sees them, in the color that FaceNet is fed.
_REDUCED = re.compile(r'("reduced_decode"[^"]*string_value\s*:\s*")(\w+)(")')


def lay_out(
    repository: Path, folder: Path, left_out: Container[str] = (), color: str | None = None
) -> None:
    """Make ``folder``, in which every model is a link to the repository's.

    Args:
        repository: The model repository; its absolute path may hold any characters.
        folder: Where the server reads; does not exist yet.
        left_out: Names of models that are not served.
        color: One of ``COLORS`` makes the DALI models use the pipelines of that color, and
            large JPEGs decoded to it.

    Raises:
        SetupError: A model has no pipeline of this color.
    """
    folder.mkdir()
    for model in sorted(path for path in repository.iterdir() if path.is_dir()):
        if model.name in left_out:
            continue
        texts = _configs(model) if color is not None else {}
        colored = any(_PIPELINE.search(text) or _REDUCED.search(text) for text in texts.values())
        if color is not None and colored:
            _write_model(model, folder / model.name, texts, color)
        else:
            (folder / model.name).symlink_to(model)


def _configs(model: Path) -> dict[Path, str]:
    paths = [*model.glob("config.pbtxt"), *model.glob("configs/*.pbtxt")]
    # Bytes that are not text go through as they are: the server's start names the file.
    return {path: path.read_text("utf-8", "surrogateescape") for path in paths}


def _write_model(model: Path, target: Path, texts: dict[Path, str], color: str) -> None:
    target.mkdir()
    for entry in model.iterdir():
        if entry.name not in ("config.pbtxt", "configs"):
            (target / entry.name).symlink_to(entry)
    for path, text in texts.items():
        changed = _PIPELINE.sub(rf"\g<1>{color}\g<3>", text)
        changed = _REDUCED.sub(rf"\g<1>{color}\g<3>", changed)
        match = _PIPELINE.search(changed)
        # GPU pipelines may not have been made yet; the CPU's are part of the repository.
        if match is not None and path.parent.name == "configs":
            file = f"{color}{match.group(3)[:-1]}"
            if not any((version / file).is_file() for version in model.glob("[0-9]*")):
                raise SetupError(f"model {model.name} has no {file}, which the color needs.")
        written = target / path.relative_to(model)
        written.parent.mkdir(exist_ok=True)
        written.write_text(changed, "utf-8", "surrogateescape")

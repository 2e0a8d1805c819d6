"""The model repository with another colour setting, as a folder of links."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekit.errors import SetupError
from facekit.serving.claim import Claim, remove_stale

COLORS = ("gray", "rgb")
"""What FaceNet is fed; each is a serialised pipeline beside the others."""

_SETTING = re.compile(r'^(\s*default_model_filename\s*:\s*")(\w+)(\.\w+\.dali")', re.MULTILINE)
# Large JPEGs are decoded before DALI sees them, in the color that FaceNet is fed.
_REDUCED = re.compile(
    r'^(\s*parameters.*"reduced_decode".*string_value\s*:\s*")(\w+)(")', re.MULTILINE
)


@contextmanager
def colored_repository(repository: Path, color: str) -> Iterator[Path]:
    """Yield a temporary repository whose DALI models use the pipelines of one colour.

    Raises:
        SetupError: a model has no pipeline of this colour.
    """
    remove_stale()
    claim = Claim("repository", Path(tempfile.gettempdir()))
    try:
        folder = claim.folder
        for model in sorted(path for path in repository.iterdir() if path.is_dir()):
            configs = [*model.glob("config.pbtxt"), *model.glob("configs/*.pbtxt")]
            # What is no text goes through as it is: the server's start names the file.
            texts = {path: path.read_text("utf-8", "surrogateescape") for path in configs}
            if any(_SETTING.search(text) or _REDUCED.search(text) for text in texts.values()):
                _write_model(model, folder / model.name, texts, color)
            else:
                (folder / model.name).symlink_to(model.absolute())
        yield folder
    finally:
        claim.remove()


def _write_model(model: Path, target: Path, texts: dict[Path, str], color: str) -> None:
    target.mkdir()
    for entry in model.iterdir():
        if entry.name not in ("config.pbtxt", "configs"):
            (target / entry.name).symlink_to(entry.absolute())
    for path, text in texts.items():
        changed = _SETTING.sub(rf"\g<1>{color}\g<3>", text)
        changed = _REDUCED.sub(rf"\g<1>{color}\g<3>", changed)
        match = _SETTING.search(changed)
        # GPU pipelines may not have been made yet; the CPU's are part of the repository.
        if match is not None and path.parent.name == "configs":
            file = f"{color}{match.group(3)[:-1]}"
            if not any((version / file).is_file() for version in model.glob("[0-9]*")):
                raise SetupError(f"model {model.name} has no {file}, which the colour needs.")
        written = target / path.relative_to(model)
        written.parent.mkdir(exist_ok=True)
        written.write_text(changed, "utf-8", "surrogateescape")

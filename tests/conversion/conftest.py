from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conversion.catalog import Catalog
from conversion.catalog_file import load_catalog

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"
VARIABLES = (
    "FACEKIT_ACCEPT_EULA",
    "FACEKIT_MODEL_REPOSITORY",
    "FACEKIT_NGC_URL",
    "FACEKIT_WEIGHTS",
    "FACEKIT_WEIGHTS_DIR",
    "NGC_API_KEY",
    "NGC_API_KEY_FILE",
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What whoever runs the tests has set must not decide them."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog(repository=REPOSITORY)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository of a folder a model, with the open networks as small files."""
    for name in ("facenet", "fpenet"):
        version = tmp_path / "models" / name / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(b"network of " + name.encode())
        (version.parent / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "tensorrt"\n')
    pipeline = tmp_path / "models" / "photo_gray"
    (pipeline / "1").mkdir(parents=True)
    (pipeline / "1" / "cpu.dali").write_bytes(b"pipeline")
    (pipeline / "config.pbtxt").write_text('default_model_filename: "gpu.dali"\n')
    return tmp_path / "models"


@pytest.fixture
def stanza(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a models file with one source of weights for one model."""

    def write(model: str = "facenet", **fields: object) -> Path:
        if str(fields["file"]).startswith("mine."):
            (tmp_path / str(fields["file"])).write_bytes(b"network")
        path = tmp_path / "mine.yaml"
        # JSON is YAML too, and needs no care for quotes.
        path.write_text(json.dumps({"models": {model: {"weights": {"mine": fields}}}}))
        return path

    return write

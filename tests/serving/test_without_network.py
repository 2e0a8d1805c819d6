"""The embedded server where the mask detector's network is missing, damaged or another's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facekit import runs
from facekit.contract import OPTIONAL_MODELS
from facekit.data import probe_photo
from facekit.errors import ModelMissingError, SetupError
from facekit.serving import EmbeddedServer
from tests.engines.engine_files import KIT
from tests.serving.tiny import tiny_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Faces from a model that loads in a second."""
    return tiny_repository(tmp_path / "models")


def test_faces_are_served_without_the_mask_detector_s_network(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*OPTIONAL_MODELS, "photo_check"):
        shutil.copytree(KIT / name, repository / name)
    network = repository / "facemask" / "1" / "model.onnx"
    network.unlink()
    monkeypatch.setenv("FACEKIT_MODEL_REPOSITORY", str(repository))
    with runs.connect(None) as client:
        assert len(client.detect(probe_photo())) == 2
        with pytest.raises(ModelMissingError):
            client.detect(probe_photo(), model="facemask_ensemble")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("not served: facemask_ensemble, ")
    assert f"{network} is missing; restore" in line


@pytest.mark.parametrize("damage", ["truncated", "another network"])
def test_network_that_does_not_load_is_named_with_the_way_out(
    repository: Path, damage: str
) -> None:
    shutil.copytree(KIT / "facemask", repository / "facemask")
    network = repository / "facemask" / "1" / "model.onnx"
    # FaceNet's has the same tensors, of one class.
    data = KIT / ("facemask" if damage == "truncated" else "facenet") / "1" / network.name
    content = data.read_bytes()
    network.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    with pytest.raises(SetupError) as caught, EmbeddedServer(repository):
        pass
    (line,) = (line for line in str(caught.value).splitlines() if "model facemask: " in line)
    assert str(network) in line
    assert "git checkout model_repository/facemask; or export" in line

from pathlib import Path

import pytest

from facekit.errors import SetupError
from facekit.serving.overlay import colored_repository


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write(folder / "net/config.pbtxt", 'default_model_filename: "model.onnx"\n')
    write(folder / "net/1/model.onnx", "network")
    setting = 'backend: "dali"\ndefault_model_filename: "gray.{device}.dali"\n'
    write(folder / "pre/config.pbtxt", setting.format(device="gpu"))
    write(folder / "pre/configs/cpu.pbtxt", setting.format(device="cpu"))
    write(folder / "pre/1/gray.cpu.dali", "gray")
    return folder


def test_colored_repository_changes_the_pipelines_and_nothing_else(repository: Path) -> None:
    write(repository / "pre/1/rgb.cpu.dali", "rgb")

    with colored_repository(repository, "rgb") as folder:
        assert '"rgb.cpu.dali"' in (folder / "pre/configs/cpu.pbtxt").read_text("utf-8")
        assert '"rgb.gpu.dali"' in (folder / "pre/config.pbtxt").read_text("utf-8")
        assert (folder / "pre/1/rgb.cpu.dali").read_text("utf-8") == "rgb"
        assert (folder / "net/config.pbtxt").read_text("utf-8").endswith('"model.onnx"\n')
        assert (folder / "net/1/model.onnx").read_text("utf-8") == "network"

    assert not folder.exists()
    assert '"gray.cpu.dali"' in (repository / "pre/configs/cpu.pbtxt").read_text("utf-8")


def test_colored_repository_without_the_pipeline_names_the_file(repository: Path) -> None:
    with (
        pytest.raises(SetupError, match=r"model pre has no rgb\.cpu\.dali"),
        colored_repository(repository, "rgb"),
    ):
        pass

from pathlib import Path

import pytest

from facekit.errors import SetupError
from facekit.serving.repository import lay_out


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
    reduced = 'parameters [ {\n key: "reduced_decode"\n value: {\n string_value: "gray" } } ]\n'
    write(folder / "check/configs/cpu.pbtxt", reduced)
    return folder


def test_layout_in_a_color_changes_the_pipelines_and_nothing_else(
    repository: Path, tmp_path: Path
) -> None:
    write(repository / "pre/1/rgb.cpu.dali", "rgb")
    folder = tmp_path / "served"

    lay_out(repository, folder, color="rgb")

    assert '"rgb.cpu.dali"' in (folder / "pre/configs/cpu.pbtxt").read_text("utf-8")
    assert '"rgb.gpu.dali"' in (folder / "pre/config.pbtxt").read_text("utf-8")
    assert '"rgb"' in (folder / "check/configs/cpu.pbtxt").read_text("utf-8")
    assert (folder / "pre/1/rgb.cpu.dali").read_text("utf-8") == "rgb"
    assert (folder / "net/config.pbtxt").read_text("utf-8").endswith('"model.onnx"\n')
    assert (folder / "net/1/model.onnx").read_text("utf-8") == "network"
    assert '"gray.cpu.dali"' in (repository / "pre/configs/cpu.pbtxt").read_text("utf-8")


def test_layout_in_a_color_without_the_pipeline_names_the_file(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match=r"Model pre has no rgb\.cpu\.dali"):
        lay_out(repository, tmp_path / "served", color="rgb")


def test_layout_without_a_model_links_the_others(repository: Path, tmp_path: Path) -> None:
    lay_out(repository, tmp_path / "served", skipped={"pre", "check"})

    (link,) = (tmp_path / "served").iterdir()
    assert link.readlink() == repository / "net"


def test_layout_in_a_color_refuses_a_field_that_would_be_lost(
    repository: Path, tmp_path: Path
) -> None:
    write(repository / "pre/1/rgb.cpu.dali", "rgb")
    file = repository / "pre/config.pbtxt"
    write(file, file.read_text("utf-8") + "field_of_a_later_version: 1\n")

    with pytest.raises(SetupError, match=f"{file}: .*field_of_a_later_version"):
        lay_out(repository, tmp_path / "served", color="rgb")

from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from facekit.errors import SetupError
from facekit.serving.embedded import EmbeddedServer, default_model_repository
from facekit.serving.layout import COLORS, lay_out
from tests.triton import infer


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
    with pytest.raises(SetupError, match=r"model pre has no rgb\.cpu\.dali"):
        lay_out(repository, tmp_path / "served", color="rgb")


def test_layout_without_a_model_links_the_others(repository: Path, tmp_path: Path) -> None:
    lay_out(repository, tmp_path / "served", left_out={"pre", "check"})

    (link,) = (tmp_path / "served").iterdir()
    assert link.readlink() == repository / "net"


def test_kit_in_each_color_feeds_the_network_gray_or_rgb(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    kit.mkdir()
    for name in ("photo_check", "facenet_preprocess"):
        (kit / name).symlink_to(default_model_repository() / name)
    # A red picture, as bytes that need no encoder.
    photo = np.frombuffer(b"P6 64 64 255 " + bytes((200, 0, 0)) * 64 * 64, np.uint8)[None]

    means = {}
    for color in COLORS:
        with (
            EmbeddedServer(kit, color=color) as server,
            grpcclient.InferenceServerClient(server.grpc_url) as client,
        ):
            inputs = {"photo": photo, "orientation": np.ones((1, 1), np.int32)}
            answer = infer(client, grpcclient, "facenet_preprocess", inputs)
            means[color] = answer.as_numpy("input_1")[0].mean(axis=(1, 2))

    # Rec. 601: 0.299 of red.
    np.testing.assert_allclose(means["gray"], [200 * 0.299 / 255] * 3, atol=0.01)
    np.testing.assert_allclose(means["rgb"], [200 / 255, 0, 0], atol=0.01)

"""``export`` into a model repository: only what its server would serve rightly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from facekit.errors import DataError  # noqa: E402
from tests.training.detectors import write_network  # noqa: E402
from training.detector.__main__ import main  # noqa: E402
from training.export import check_served  # noqa: E402

COMMITTED = Path(__file__).parents[2] / "model_repository"
FRAME = (736, 416)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("facemask", "facemask_postprocess", "fpenet"):
        (tmp_path / name / "configs").mkdir(parents=True)
        for path in (COMMITTED / name).rglob("*"):
            if path.suffix in (".pbtxt", ".txt"):
                shutil.copy(path, tmp_path / name / path.relative_to(COMMITTED / name))
    return tmp_path


def checkpoint(folder: Path, classes: tuple[str, ...], size_wh: tuple[int, int] = FRAME) -> Path:
    return write_network(folder / "network.pt", classes, size_wh)


def export(repository: Path, network: Path, *options: str) -> int:
    path = repository / "facemask/1/model.onnx"
    return main(["export", "-m", str(network), "-o", str(path), *options])


def test_a_network_that_fits_is_written_without_a_second_label_file(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = checkpoint(repository, ("mask", "no-mask"))
    assert export(repository, network) == 0
    version = repository / "facemask/1"
    assert {path.name for path in version.iterdir()} == {"model.onnx", "model.fp16.onnx"}
    labels = repository / "facemask_postprocess/labels.txt"
    assert f"{labels}: mask, no-mask" in capsys.readouterr().out
    assert labels.read_bytes() == (COMMITTED / "facemask_postprocess/labels.txt").read_bytes()
    # Where the file is named from within the version's folder, too.
    monkeypatch.chdir(version)
    assert main(["export", "-m", str(network), "-o", "again.onnx"]) == 0
    written = {path.name for path in version.iterdir()} - {"model.onnx", "model.fp16.onnx"}
    assert written == {"again.onnx", "again.fp16.onnx"}


@pytest.mark.parametrize(
    ("classes", "size_wh", "reason"),
    [
        (
            ("mask",),
            FRAME,
            "facemask/config.pbtxt has output output_bbox/BiasAdd [8, 26, 46], "
            "the network [4, 26, 46]",
        ),
        (
            ("mask", "no-mask"),
            (320, 192),
            "facemask/config.pbtxt has input input_1 [3, 416, 736], the network [3, 192, 320]",
        ),
        (
            ("no-mask", "mask"),
            FRAME,
            "facemask_postprocess/labels.txt has another order: mask, no-mask; "
            "the network's are no-mask, mask",
        ),
        (
            ("mask", "bare"),
            FRAME,
            "facemask_postprocess/labels.txt has other classes: mask, no-mask; "
            "the network's are mask, bare",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    classes: tuple[str, ...],
    size_wh: tuple[int, int],
    reason: str,
) -> None:
    network = checkpoint(repository, classes, size_wh)
    for more in ([], ["--data_type", "int8", "--cal_image_dir", str(repository)]):
        assert export(repository, network, *more) == 2
        error = capsys.readouterr().err.replace(f"{repository}/", "")
        assert error == f"training.detector: facemask/1/model.onnx: not written: {reason}\n"
        assert not (repository / "facemask/1").exists()
    # Elsewhere every network is welcome.
    assert main(["export", "-m", str(network), "-o", str(repository / "1/model.onnx")]) == 0
    assert (repository / "1/labels.txt").read_text().split() == list(classes)


def test_a_network_that_another_configuration_of_the_model_is_for(repository: Path) -> None:
    """``fpenet/config.pbtxt`` has NVIDIA's 80 points, ``configs/open.pbtxt`` 68."""
    path = repository / "fpenet/1/model.onnx"

    def check(points: int) -> None:
        shapes = {
            "conv_keypoints_m80": (points, 80, 80),
            "softargmax": (points, 2),
            "softargmax:1": (points,),
        }
        check_served(path, {"input_face_images": (1, 80, 80)}, shapes)

    check(80)
    check(68)
    with pytest.raises(DataError, match=r"conv_keypoints_m80 \[80, 80, 80\], the network \[104"):
        check(104)


def test_a_configuration_that_is_none_is_named(repository: Path) -> None:
    (repository / "facemask/config.pbtxt").write_text("input: {")
    with pytest.raises(DataError, match=r"config\.pbtxt: cannot be read"):
        check_served(repository / "facemask/1/model.onnx", {}, {})

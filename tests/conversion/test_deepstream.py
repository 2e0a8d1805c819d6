"""DeepStream's configurations say what the models do, and the committed ones are up to date."""

from __future__ import annotations

import configparser
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conversion import cli, deepstream
from conversion.catalog import Catalog
from conversion.deepstream import Detector, camera_source, read_detector, video_source
from conversion.errors import CatalogError
from conversion.selection import select
from facekit.contract import CLASS_NAMES, MODELS
from facekit.detection.parameters import ClusteringParameters
from facekit.errors import ConfigError
from tests.conversion.conftest import REPOSITORY, ROOT

FOLDER = ROOT / "deepstream"
APPS = (deepstream.CAMERA_FILE, deepstream.VIDEO_FILE)


@pytest.fixture
def detector(catalog: Catalog, tmp_path: Path) -> Detector:
    (job,) = select(catalog, [], ["facemask"], {})
    return read_detector(job, REPOSITORY, tmp_path)


def rendered(detector: Detector, video: str = deepstream.SAMPLE_VIDEO) -> dict[str, str]:
    sources = {"camera": camera_source(0), "video": video_source(video)}
    return deepstream.render(detector, FOLDER, **sources)


def parsed(text: str) -> configparser.ConfigParser:
    """Read as GLib does: no second key of a name, no remark behind a value."""
    parser = configparser.ConfigParser(
        strict=True, delimiters=("=",), comment_prefixes=("#",), interpolation=None
    )
    parser.read_string(text)
    return parser


def committed(name: str) -> configparser.ConfigParser:
    return parsed((FOLDER / name).read_text("utf-8"))


def test_committed_files_are_what_is_written_now(detector: Detector) -> None:
    texts = rendered(detector)
    assert {path.name for path in FOLDER.iterdir()} == set(texts)
    for name, text in texts.items():
        assert (FOLDER / name).read_text("utf-8") == text, "run: python -m conversion deepstream"


def test_network_s_tensors_are_the_contract_s() -> None:
    values = committed(deepstream.INFER_FILE)["property"]
    (tensor,) = MODELS["facemask"].inputs
    assert values["infer-dims"] == ";".join(map(str, tensor.dims))
    assert values["output-blob-names"].split(";") == [t.name for t in MODELS["facemask"].outputs]
    assert values.getint("num-detected-classes") == MODELS["facemask"].outputs[1].dims[0]


def test_pixels_are_those_of_the_pipeline() -> None:
    values = committed(deepstream.INFER_FILE)["property"]
    assert values.getfloat("net-scale-factor") == pytest.approx(1 / 255, rel=1e-12)
    assert "offsets" not in values and "mean-file" not in values
    # RGB, the whole frame stretched, whatever its shape.
    assert values["model-color-format"] == "0"
    assert values["maintain-aspect-ratio"] == "0"
    assert (values["process-mode"], values["network-type"]) == ("1", "0")


def test_thresholds_are_those_of_the_postprocess(detector: Detector) -> None:
    config = committed(deepstream.INFER_FILE)
    assert {c.clustering_algorithm for c in detector.clustering} == {"NMS"}
    assert config["property"]["cluster-mode"] == "2"
    for place, chosen in enumerate(detector.clustering):
        values = config[f"class-attrs-{place}"]
        least = max(chosen.coverage_threshold, chosen.nms_confidence_threshold)
        assert values.getfloat("pre-cluster-threshold") == least
        assert values.getfloat("nms-iou-threshold") == chosen.nms_iou_threshold
        height = chosen.minimum_bounding_box_height * 1080 / 416
        assert abs(values.getint("detected-min-h") - height) <= 0.5
    assert f"class-attrs-{len(detector.clustering)}" not in config


def test_labels_and_borders_are_one_a_class() -> None:
    assert (FOLDER / deepstream.LABELS_FILE).read_text().splitlines() == [*CLASS_NAMES["facemask"]]
    for name in APPS:
        borders = [key for key in committed(name)["primary-gie"] if "border-color" in key]
        assert borders == ["bbox-border-color0", "bbox-border-color1"]


def test_files_that_are_named_lie_there() -> None:
    values = committed(deepstream.INFER_FILE)["property"]
    assert (FOLDER / values["onnx-file"]).resolve() == REPOSITORY / "facemask" / "1" / "model.onnx"
    assert (FOLDER / values["onnx-file"]).is_file()
    assert (FOLDER / values["labelfile-path"]).is_file()
    # Where nvinfer writes the engine that it builds, and so finds it at the next start.
    name = f"{values['onnx-file']}_b{values['batch-size']}_gpu{values['gpu-id']}_fp16.engine"
    assert (values["network-mode"], values["model-engine-file"]) == ("2", name)
    for app in APPS:
        assert committed(app)["primary-gie"]["config-file"] == deepstream.INFER_FILE
        assert committed(app)["primary-gie"]["gie-unique-id"] == values["gie-unique-id"]
        assert committed(app)["streammux"]["batch-size"] == values["batch-size"]


def test_apps_differ_in_their_source() -> None:
    camera, video = (committed(name)["source0"] for name in APPS)
    assert (camera["type"], camera["camera-v4l2-dev-node"]) == ("1", "0")
    assert video["type"] == "3" and video["uri"].startswith("file:///")
    assert [committed(name)["streammux"]["live-source"] for name in APPS] == ["1", "0"]


def clustered(detector: Detector, *chosen: ClusteringParameters) -> configparser.ConfigParser:
    return parsed(rendered(replace(detector, clustering=chosen))[deepstream.INFER_FILE])


def test_dbscan_and_both_have_thresholds_of_their_own(detector: Detector) -> None:
    one = ClusteringParameters("DBSCAN", 0.1, 0.4, 0.05, 0.7)
    config = clustered(detector, one, replace(one, dbscan_eps=0.2, dbscan_min_samples=3.9))
    assert config["property"]["cluster-mode"] == "1"
    values = dict(config["class-attrs-1"])
    assert (values["eps"], values["minboxes"]) == ("0.2", "3")
    assert (values["dbscan-min-score"], values["pre-cluster-threshold"]) == ("0.7", "0.1")
    assert config["class-attrs-0"]["minboxes"] == "1" and "nms-iou-threshold" not in values
    both = replace(one, clustering_algorithm="HYBRID", nms_confidence_threshold=0.3)
    values = dict(clustered(detector, both, both)["class-attrs-0"])
    assert values["post-cluster-threshold"] == "0.3" and values["nms-iou-threshold"] == "0.3"


def test_classes_clustered_in_two_ways_are_refused(detector: Detector) -> None:
    with pytest.raises(CatalogError, match=r"one cluster-mode for all classes, not \['DBSCAN', 'N"):
        clustered(detector, ClusteringParameters("DBSCAN"), ClusteringParameters("NMS"))


@pytest.mark.parametrize("format_", ["uff-etlt", "onnx-etlt"])
def test_own_etlt_is_named_with_its_key_and_cache(
    stanza: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    format_: str,
) -> None:
    (tmp_path / "cache.txt").touch()
    models = stanza(
        "facemask", file="mine.etlt", format=format_, key="my_key", precision="int8",
        calibration="cache.txt", license="mine",
    )  # fmt: skip
    output, video = tmp_path / "edge", tmp_path / "a b.mp4"
    video.touch()
    argv = ["deepstream", "--models", str(models), "--weights", "facemask=mine"]
    assert cli.main([*argv, "--output", str(output), "--camera", "2", "--video", str(video)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    values = parsed((output / deepstream.INFER_FILE).read_text())["property"]
    assert (values["tlt-encoded-model"], values["tlt-model-key"]) == ("../mine.etlt", "my_key")
    assert (values["int8-calib-file"], values["network-mode"]) == ("../cache.txt", "1")
    assert values["model-engine-file"] == "../mine.etlt_b1_gpu0_int8.engine"
    assert ("uff-input-blob-name" in values) == (format_ == "uff-etlt")
    assert "onnx-file" not in values
    camera, video = (parsed((output / name).read_text())["source0"] for name in APPS)
    assert camera["camera-v4l2-dev-node"] == "2" and video["uri"].endswith("/a%20b.mp4")


def test_files_are_named_as_written_or_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    argv = ["deepstream", "--output", "here/../edge"]
    names = (*sorted((deepstream.INFER_FILE, *APPS)), deepstream.LABELS_FILE)
    assert cli.main(argv) == 0
    assert capsys.readouterr().out.splitlines() == [f"written  edge/{name}" for name in names]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "edge").iterdir()}
    (tmp_path / "edge" / deepstream.LABELS_FILE).write_text("other\n")
    assert cli.main(argv) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{'written' if name == deepstream.LABELS_FILE else 'unchanged'}  edge/{name}"
        for name in names
    ]
    changed = [p.name for p, time in before.items() if p.stat().st_mtime_ns != time]
    assert changed == [deepstream.LABELS_FILE]


def test_errors_are_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["deepstream", "--output", str(tmp_path / "file" / "edge")]) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path}/file/edge/{deepstream.INFER_FILE}: cannot be written: " in err
    empty = tmp_path / "models"
    (empty / "facemask" / "1").mkdir(parents=True)
    (empty / "facemask" / "1" / "model.onnx").touch()
    assert cli.main(["deepstream", "--repository", str(empty), "--output", str(tmp_path)]) == 2
    missing = empty / "facemask_postprocess" / "config.pbtxt"
    assert capsys.readouterr().err == f"conversion: {missing}: no such file\n"
    assert "Errno" not in err
    monkeypatch.delitem(sys.modules, "conversion.deepstream", raising=False)
    monkeypatch.delitem(sys.modules, "conversion.deepstream", raising=False)
    monkeypatch.delitem(sys.modules, "facekit.engines.configs", raising=False)
    monkeypatch.delattr("conversion.deepstream", raising=False)
    monkeypatch.delattr("conversion.deepstream", raising=False)
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    assert cli.main(["deepstream", "--output", str(tmp_path / "edge")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("conversion: tritonclient") and line.endswith("pip install '.')")


def test_label_file_of_other_classes_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "facemask_postprocess"
    folder.mkdir()
    config = (REPOSITORY / "facemask_postprocess" / "config.pbtxt").read_text()
    (folder / "config.pbtxt").write_text(config)
    (job,) = select(catalog, [], ["facemask"], {})
    with pytest.raises(ConfigError, match=r"facemask_postprocess/labels.txt: no such file"):
        read_detector(job, tmp_path, tmp_path)
    for text in ("mask\nno-mask\ndefault\n", "no-mask\nmask\n"):
        (folder / "labels.txt").write_text(text)
        with pytest.raises(ConfigError, match=r"labels.txt: expected mask, no-mask in this order"):
            read_detector(job, tmp_path, tmp_path)


def test_repository_of_the_user_s_own_is_read(
    tmp_path: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = tmp_path / "models"
    for path in ("facemask_postprocess/config.pbtxt", "facemask_postprocess/labels.txt"):
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        text = (REPOSITORY / path).read_text()
        (repository / path).write_text(text.replace('"NMS"', '"DBSCAN"'))
    (repository / "facemask" / "1").mkdir(parents=True)
    (repository / "facemask" / "1" / "model.onnx").write_bytes(b"network")
    argv = ["deepstream", "--repository", str(repository), "--output", str(tmp_path / "edge")]
    assert cli.main(argv) == 0
    capsys.readouterr()
    values = parsed((tmp_path / "edge" / deepstream.INFER_FILE).read_text())["property"]
    assert values["onnx-file"] == "../models/facemask/1/model.onnx"
    assert values["cluster-mode"] == "1"


def test_weights_with_a_key_are_not_written_beside_the_kit_s_files(
    stanza: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_text() for path in FOLDER.iterdir()}
    models = stanza(
        "facemask", file="mine.etlt", format="onnx-etlt", key="my_key", precision="fp16",
        license="mine",
    )  # fmt: skip
    assert cli.main(["deepstream", "--models", str(models), "--weights", "facemask=mine"]) == 2
    said = capsys.readouterr().err
    assert (
        "will contain the key of the .etlt; give a folder for it with --output" in said
        and "my_key" not in said
    )
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == before


def test_quantized_onnx_needs_no_cache_and_names_how_to_make_its_engine(
    stanza: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = stanza("facemask", file="mine.onnx", precision="int8", license="mine")
    argv = ["deepstream", "--models", str(models), "--weights", "facemask=mine"]
    argv += ["--output", str(tmp_path / "edge")]
    assert cli.main(argv) == 2
    assert "missing: calibration" in capsys.readouterr().err
    (tmp_path / "mine.onnx").write_bytes(b"input_1 QuantizeLinear DequantizeLinear")
    assert cli.main(argv) == 0
    text = (tmp_path / "edge" / deepstream.INFER_FILE).read_text()
    values = parsed(text)["property"]
    assert values["network-mode"] == "1" and "int8-calib-file" not in values
    # Nvinfer itself asks for FP16 without a cache, which such a network can't be built in.
    (command,) = (line for line in text.splitlines() if line.startswith("# trtexec "))
    assert "--int8 --fp16" in command and "--calib" not in command
    assert "--onnx=../mine.onnx " in command and "--maxShapes=input_1:1x3x416x736" in command
    assert command.endswith(f"--saveEngine={values['model-engine-file']}")


def test_engine_is_said_to_be_deleted_when_the_network_changes() -> None:
    lines = (FOLDER / deepstream.INFER_FILE).read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("model-engine-file="))
    assert lines[place - 1].startswith("# Delete it when the network changes")


@pytest.mark.parametrize("uri", ["rtsp://camera/stream", "RTSPS://camera:554/stream"])
def test_network_camera_is_live(detector: Detector, uri: str) -> None:
    config = parsed(rendered(detector, uri)[deepstream.VIDEO_FILE])
    assert (config["source0"]["type"], config["source0"]["uri"]) == ("4", uri)
    assert (config["streammux"]["live-source"], config["sink0"]["sync"]) == ("1", "0")
    file = parsed(rendered(detector, "https://host/a.mp4")[deepstream.VIDEO_FILE])
    assert (file["source0"]["type"], file["streammux"]["live-source"]) == ("3", "0")
    assert file["sink0"]["sync"] == "1"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--camera", "-1"], "--camera: expected N of /dev/videoN, 0 or more, got -1"),
        (["--video", "nowhere.mp4"], "nowhere.mp4 is not a file; give a file or a URI"),
    ],
)
def test_source_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str], words: str
) -> None:
    assert cli.main(["deepstream", "--output", str(tmp_path / "edge"), *option]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "edge").exists()

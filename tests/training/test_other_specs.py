"""Specs of inference and of KITTI folders."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("google.protobuf")

from facekit.detection.parameters import ClusteringParameters
from facekit.errors import DataError
from tests.training.spec_text import EXPERIMENT, INFERENCE, KITTI, changed, write_spec
from training.experiment.inference import read_inference
from training.experiment.kitti import KittiFolder, read_kitti_config
from training.experiment.reader import read_experiment
from training.experiment.settings import DataSource

SPECS = Path(__file__).parents[2] / "training" / "specs"


def test_a_tfrecords_spec_says_where_photos_lie_and_how_they_are_split(tmp_path: Path) -> None:
    kitti = read_kitti_config(write_spec(tmp_path / "kitti.txt", KITTI))
    assert kitti == KittiFolder(Path("faces/train"), "pictures", "boxes", "png", 2, 0.25)
    spec = read_experiment(write_spec(tmp_path / "spec.txt", EXPERIMENT), kitti)
    assert spec.dataset.training == (
        DataSource(Path("faces/train/pictures"), Path("faces/train/boxes")),
    )
    assert (spec.dataset.folds, spec.dataset.validation_share) == (2, 0.25)
    for old, new, reason in (
        ('"random"', '"sequence"', "only 'random'"),
        ("val_split: 25", "val_split: 125", "between 0 and 100"),
        ("image_dir_name", "image_dir", "did you mean 'image_dir_name'"),
        ("kitti_config", "kity_config", "did you mean 'kitti_config'"),
    ):
        text, line = changed(KITTI, old, new)
        with pytest.raises(DataError, match=reason) as refused:
            read_kitti_config(write_spec(tmp_path / "kitti.txt", text))
        assert refused.value.line == line


def test_an_inference_spec_is_read_unchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = read_inference(write_spec(tmp_path / "spec.txt", INFERENCE))
    assert (spec.class_names, spec.width, spec.height) == (("covered", "bare"), 320, 192)
    assert spec.model == Path("weights/model.tlt")
    assert (spec.labels, spec.overlay, spec.line_width) == (True, True, 3)
    covered, bare = spec.classes
    assert (covered.name, covered.color_rgb) == ("Mask", (1, 200, 30))
    assert covered.clustering == ClusteringParameters(
        coverage_threshold=0.0,
        dbscan_eps=0.2,
        dbscan_min_samples=0.05,
        dbscan_confidence_threshold=0.7,
        nms_confidence_threshold=0.7,
        minimum_bounding_box_height=5,
    )
    # From `default`, whose clustering has a threshold of its own.
    assert (bare.name, bare.color_rgb) == ("bare", (0, 0, 0))
    assert bare.clustering.dbscan_confidence_threshold == 1.5
    assert bare.clustering.coverage_threshold == 0.01
    assert caplog.text.count("has no effect here") == 2
    engine, _ = changed(INFERENCE, "tlt_config{\n    model:", "tensorrt_config{\n    trt_engine:")
    assert read_inference(write_spec(tmp_path / "e.txt", engine)).model == spec.model


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"bare"', '"covered"', "'covered' a second time"),
        ("image_width: 320", "image_width: 330", "multiple of 16"),
        ("R: 1\n", "R: 256\n", "between 0 and 255"),
        ('key:"covered"', 'key:"coverd"', "names class 'coverd'; did you mean 'covered'"),
        ('"aggregate_cov"', '"mlp"', "only 'aggregate_cov'"),
        ("overlay_linewidth: 3", "overlay_linewidth: 0", "between 1 and 100"),
        ("kitti_dump", "kitti_dmp", "did you mean 'kitti_dump'"),
    ],
)
def test_a_wrong_inference_spec(tmp_path: Path, old: str, new: str, reason: str) -> None:
    text, line = changed(INFERENCE, old, new)
    with pytest.raises(DataError, match=reason) as refused:
        read_inference(write_spec(tmp_path / "spec.txt", text))
    assert refused.value.line == line


def test_a_class_without_an_entry(tmp_path: Path) -> None:
    text, line = changed(INFERENCE, 'key:"default"', 'key:"bare"')
    text = text.replace('target_classes: "bare"', 'target_classes: "bare" target_classes: "x"')
    with pytest.raises(DataError, match="no entry for class 'x'"):
        read_inference(write_spec(tmp_path / "spec.txt", text))


def test_the_other_committed_specs(caplog: pytest.LogCaptureFixture) -> None:
    spec = read_inference(SPECS / "mask_infer.txt")
    assert (spec.class_names, spec.width, spec.height) == (("mask", "no-mask"), 736, 416)
    assert read_kitti_config(SPECS / "mask_kitti_val.txt").validation_share == 1.0
    assert read_kitti_config(SPECS / "mask_kitti_trainval.txt").root.name == "train"
    assert not caplog.records

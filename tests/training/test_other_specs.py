"""Specs of inference and of KITTI folders."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pydantic")

from facekit.detection.parameters import ClusteringParameters
from facekit.errors import DataError
from tests.training.spec_text import EXPERIMENT, INFERENCE, KITTI, changed, write_spec
from training.experiment.data import DataSource, KittiConfig, read_kitti_config
from training.experiment.inference import read_inference
from training.experiment.spec import read_experiment

SPECS = Path(__file__).parents[2] / "training" / "specs"


def test_a_tfrecords_spec_says_where_photos_lie_and_how_they_are_split(tmp_path: Path) -> None:
    kitti = read_kitti_config(write_spec(tmp_path / "kitti.txt", KITTI))
    assert (kitti.root, kitti.image_extension) == (Path("faces/train"), ".png")
    assert (kitti.image_dir_name, kitti.label_dir_name) == ("pictures", "boxes")
    assert kitti.validation_share == 0.25
    spec = read_experiment(write_spec(tmp_path / "spec.txt", EXPERIMENT), kitti)
    assert spec.dataset.training == (
        DataSource(Path("faces/train/pictures"), Path("faces/train/boxes")),
    )
    assert spec.dataset.validation_share == 0.25
    for old, new, reason in (
        ('"random"', '"sequence"', "only 'random'"),
        ("val_split: 25", "val_split: 125", "between 0 and 100"),
        ("num_partitions: 2", "num_partitions: 5", "num_partitions is 5; only 2"),
        ("image_dir_name", "image_dir", "did you mean 'image_dir_name'"),
        ("kitti_config", "kity_config", "did you mean 'kitti_config'"),
    ):
        text, line = changed(KITTI, old, new)
        with pytest.raises(DataError, match=reason) as refused:
            read_kitti_config(write_spec(tmp_path / "kitti.txt", text))
        assert refused.value.line == line


def write_both(tmp_path: Path, kitti: str, spec: str = EXPERIMENT) -> tuple[Path, KittiConfig]:
    folder = read_kitti_config(write_spec(tmp_path / "kitti.txt", kitti))
    return write_spec(tmp_path / "spec.txt", spec), folder


def test_a_folder_that_is_not_trained_on_is_measured_whole(tmp_path: Path) -> None:
    """TLT's own spec of test photos puts all of them in the fold that is measured."""
    text, line = changed(KITTI, '"faces/train"', '"faces/test"')
    text = text.replace("val_split: 25", "val_split: 100")
    path, kitti = write_both(tmp_path, text)
    dataset = read_experiment(path, kitti, measuring=True).dataset
    assert dataset.validation == (
        DataSource(Path("faces/test/pictures"), Path("faces/test/boxes")),
    )
    assert (dataset.validation_fold, dataset.image_extension) == (None, "png")
    assert dataset.training == (DataSource(Path("faces/train/images"), Path("faces/train/labels")),)
    # There is nothing in it to train on.
    with pytest.raises(
        DataError, match="root_directory_path is faces/test; the spec has faces/tr"
    ) as no:
        read_experiment(path, kitti)
    assert (no.value.path, no.value.line) == (tmp_path / "kitti.txt", line)


def test_the_folder_may_be_that_of_the_validation(tmp_path: Path) -> None:
    own = 'validation_data_source { image_directory_path: "faces/test" }'
    text = KITTI.replace('"faces/train"', '"./faces/test"')
    path, kitti = write_both(tmp_path, text, EXPERIMENT.replace("validation_fold: 1", own))
    for measuring in (False, True):
        dataset = read_experiment(path, kitti, measuring).dataset
        assert dataset.validation == (
            DataSource(Path("faces/test/pictures"), Path("faces/test/boxes")),
        )


def test_shares_that_part_the_training_photos(tmp_path: Path) -> None:
    ours = "validation_fold: 0\n  facekit { validation_share: 0.1 }"
    spec = EXPERIMENT.replace("validation_fold: 1", ours)
    path, kitti = write_both(tmp_path, KITTI, spec)
    with pytest.raises(
        DataError, match=r"is 0\.1, but val_split of .*kitti.txt:8 is 25"
    ) as refused:
        read_experiment(path, kitti)
    assert refused.value.line == spec[: spec.index("validation_share")].count("\n") + 1
    path, kitti = write_both(tmp_path, KITTI.replace("25", "10"), spec)
    assert read_experiment(path, kitti).dataset.validation_share == 0.1
    path, kitti = write_both(tmp_path, KITTI.replace("val_split: 25", ""), spec)
    assert read_experiment(path, kitti).dataset.validation_share == 0.1
    first = EXPERIMENT.replace("validation_fold: 1", "validation_fold: 0")
    path, kitti = write_both(tmp_path, KITTI.replace("25", "100"), first)
    with pytest.raises(DataError, match="val_split is 100; that leaves no photo") as refused:
        read_experiment(path, kitti)
    assert (refused.value.path, refused.value.line) == (tmp_path / "kitti.txt", 8)
    path, kitti = write_both(tmp_path, KITTI.replace("25", "0"))
    with pytest.raises(DataError, match="validation_fold is 1 and fold 0 empty"):
        read_experiment(path, kitti)


def test_an_inference_spec_is_read_unchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = read_inference(write_spec(tmp_path / "spec.txt", INFERENCE))
    assert (spec.class_names, spec.size_wh) == (("covered", "bare"), (320, 192))
    assert spec.model == Path("weights/model.tlt")
    written = spec.bbox_handler_config
    assert (written.kitti_dump, written.disable_overlay, written.overlay_linewidth) == (
        True,
        False,
        3,
    )
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
    assert (spec.class_names, spec.size_wh) == (("mask", "no-mask"), (736, 416))
    val, train = (read_kitti_config(SPECS / f"mask_kitti_{n}.txt") for n in ("val", "trainval"))
    for name in ("mask_train", "mask_retrain"):
        plain = read_experiment(SPECS / f"{name}.txt")
        assert read_experiment(SPECS / f"{name}.txt", train).dataset == plain.dataset
        measured = read_experiment(SPECS / f"{name}.txt", val, measuring=True).dataset
        assert measured.validation == (val.source,)
        assert val.source not in plain.dataset.training
    assert not caplog.records

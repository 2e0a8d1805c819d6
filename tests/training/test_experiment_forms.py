"""Forms that a spec may have, and the groups of this kit."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

pytest.importorskip("pydantic")


from facekit.errors import DataError
from tests.training.spec_text import EXPERIMENT, changed, write_spec
from training.experiment.data import DataSource
from training.experiment.spec import Experiment, read_experiment

SPECS = Path(__file__).parents[2] / "training" / "specs"


def read(tmp_path: Path, text: str = EXPERIMENT) -> Experiment:
    return read_experiment(write_spec(tmp_path / "spec.txt", text))


def test_classes_that_weigh_nothing(tmp_path: Path) -> None:
    text, _ = changed(EXPERIMENT, "class_weight: 2.0", "class_weight: 0")
    assert read(tmp_path, text).spec.cost_function_config.target_classes[0].class_weight == 0
    text, _ = changed(text, '    name: "covered"\n', '    name: "covered" class_weight: 0\n')
    with pytest.raises(DataError, match="target_classes have no class_weight over 0") as refused:
        read(tmp_path, text)
    assert refused.value.line == text[: text.index("target_classes")].count("\n") + 1


def test_a_mark_before_the_text(tmp_path: Path) -> None:
    path = tmp_path / "spec.txt"
    path.write_bytes(b"\xef\xbb\xbf" + EXPERIMENT.encode())
    assert read_experiment(path).spec.model_dump() == read(tmp_path).spec.model_dump()


@pytest.mark.parametrize("fold", ["", "validation_fold: 0 facekit { validation_share: 0 }"])
def test_a_validation_without_photos_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fold: str
) -> None:
    text, _ = changed(EXPERIMENT, "validation_fold: 1", fold)
    with caplog.at_level(logging.WARNING, logger="training"):
        read(tmp_path, text)
    line = text[: text.index("validation_period")].count("\n") + 1
    messages = [record.getMessage() for record in caplog.records]
    assert any(
        m.startswith(f"{tmp_path / 'spec.txt'}:{line}: evaluation_config.validation_period")
        and "holds out no photos" in m
        for m in messages
    )
    caplog.clear()
    read(tmp_path, text.replace("validation_period_during_training: 4", ""))
    assert "holds out" not in caplog.text


def test_lists_and_other_forms_of_text(tmp_path: Path) -> None:
    text, _ = changed(EXPERIMENT, "  num_layers: 18", "  num_layers: 18\n  freeze_blocks: [0, 2]")
    text, _ = changed(text, "regularizer {\n    type: L2", "regularizer < type: L2;")
    text, _ = changed(text, "weight: 3e-06\n  }", "weight: 3e-06 >")
    spec = read(tmp_path, text).spec
    assert spec.network_config.freeze_blocks == (0, 2)
    regularizer = spec.training_config.regularizer
    assert (regularizer.type, regularizer.weight) == ("L2", 3e-06)
    text, line = changed(text, "[0, 2]", "[0,\n 7]")
    with pytest.raises(DataError, match="is 7; the blocks are 0 to 4") as refused:
        read(tmp_path, text)
    assert refused.value.line == line + 1


@pytest.mark.parametrize(("true", "false"), [("1", "0"), ("t", "f"), ("True", "False")])
def test_true_and_false_in_each_way_of_protobuf(tmp_path: Path, true: str, false: str) -> None:
    flags = f"use_batch_norm: {true} use_pooling: {false} freeze_bn: {true} load_graph: {false}"
    text, _ = changed(EXPERIMENT, "  use_batch_norm: true", f"  {flags}")
    network = read(tmp_path, text).spec.network_config
    assert (network.freeze_bn, network.load_graph) == (True, False)
    for other in ("2", '"t"', "1.0"):
        with pytest.raises(DataError, match=r"freeze_bn is .*; expected true or false"):
            read(tmp_path, text.replace(f"freeze_bn: {true}", f"freeze_bn: {other}"))


def test_validation_on_photos_of_their_own(tmp_path: Path) -> None:
    own = 'validation_data_source {\n    image_directory_path: "faces/test"\n  }'
    text, _ = changed(EXPERIMENT, "validation_fold: 1", own)
    spec = read(tmp_path, text)
    assert spec.dataset.validation_fold is None
    assert spec.dataset.validation == (
        DataSource(Path("faces/test/images"), Path("faces/test/labels")),
    )


def test_half_precision_of_tlt_is_computed_in_float32(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, line = changed(EXPERIMENT, "backend_floatx: FLOAT32", "backend_floatx: FLOAT16")
    read(tmp_path, text)
    assert f"spec.txt:{line}: backend_floatx FLOAT16" in caplog.text


def test_the_groups_of_this_kit(tmp_path: Path) -> None:
    ours = [
        ("  spatial_augmentation {", "facekit { crop_width: 160 crop_height: 96 "
         "whole_frame_period: 4 mosaic_probability: 0.5 gray_probability: 0.25 }"),
        ("  num_layers: 18", "facekit { width_share: 0.25 dilate: true }"),
        ("  enable_autoweighting", "facekit { coverage_loss: QUALITY_FOCAL bbox_loss: GIOU }"),
        ("  checkpoint_interval", "facekit { average_decay: 0.998 }"),
        ("  validation_fold", "facekit { validation_share: 0.07 }"),
    ]  # fmt: skip
    text = EXPERIMENT
    for before, group in ours:
        text, _ = changed(text, before, f"  {group}\n{before}")
    experiment = read(tmp_path, text)
    spec, ours = experiment.spec, experiment.spec.augmentation_config.facekit
    assert spec.augmentation_config.crop_wh == (160, 96)
    assert (ours.whole_frame_period, ours.mosaic_probability, ours.gray_probability) == (
        4,
        0.5,
        0.25,
    )
    network, cost = spec.network_config.facekit, spec.cost_function_config.facekit
    assert (network.width_share, network.dilate) == (0.25, True)
    assert (cost.coverage_loss, cost.bbox_loss) == ("QUALITY_FOCAL", "GIOU")
    assert spec.training_config.facekit.average_decay == 0.998
    assert experiment.dataset.validation_share == 0.07
    for old, new, reason in (
        ("crop_width: 160", "crop_width: 336", "between 32 and 320"),
        ("crop_height: 96", "", "only set together"),
        ("crop_height: 96", "crop_height: 0", "only set together"),
        ("validation_share: 0.07", "validation_share: 1", "between 0 and 0.99"),
        ("width_share: 0.25", "width_share: 0.3", "multiple of 1/64"),
    ):
        wrong, line = changed(text, old, new)
        with pytest.raises(DataError, match=reason) as refused:
            read(tmp_path, wrong)
        assert refused.value.line == line


@pytest.mark.parametrize("name", ["mask_train", "mask_retrain"])
def test_the_committed_specs_have_no_field_without_effect(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    spec = read_experiment(SPECS / f"{name}.txt")
    assert spec.dataset.class_names == ("mask", "no-mask")
    assert spec.spec.augmentation_config.size_wh == (736, 416)
    assert not caplog.records

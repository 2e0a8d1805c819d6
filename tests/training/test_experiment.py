"""TLT's specs are read as they are; what is wrong in one is named with its line."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

pytest.importorskip("pydantic")


from facekit.detection.parameters import ClusteringParameters
from facekit.errors import DataError
from facekit.evaluation.class_scores import ClassEvaluation
from tests.training.spec_text import EXPERIMENT, changed, write_spec
from training.experiment.data import DataSource
from training.experiment.spec import Experiment, read_experiment
from training.experiment.training import ClassRaster

SPECS = Path(__file__).parents[2] / "training" / "specs"


def read(tmp_path: Path, text: str = EXPERIMENT) -> Experiment:
    return read_experiment(write_spec(tmp_path / "spec.txt", text))


def test_a_spec_of_tlt_is_read_unchanged(tmp_path: Path) -> None:
    experiment = read(tmp_path)
    spec, dataset = experiment.spec, experiment.dataset
    assert spec.random_seed == 7
    assert dataset.training == (DataSource(Path("faces/train/images"), Path("faces/train/labels")),)
    assert dataset.training[0].line == 6
    # The order is the cost function's, whatever the mapping's.
    assert dataset.class_names == ("bare", "covered")
    assert dataset.class_of == {"covered": "covered", "bare": "bare", "face": "bare"}
    assert (dataset.validation_fold, dataset.validation) == (1, ())
    frame = spec.augmentation_config
    assert (frame.size_wh, frame.crop_wh) == ((320, 192), None)
    assert frame.preprocessing.min_bbox_width == 2.0
    spatial, color = frame.spatial_augmentation, frame.color_augmentation
    assert (spatial.hflip_probability, spatial.vflip_probability) == (0.25, 0.0)
    assert (spatial.zoom_min, spatial.zoom_max, spatial.translate_max_x) == (0.8, 1.25, 6.0)
    assert (color.hue_rotation_max, color.contrast_center) == (12.5, 0.4)
    # Thresholds that the spec does not set are 0, as in TLT, so that curves run to their end.
    assert experiment.clustering == (
        ClusteringParameters(
            clustering_algorithm="NMS",
            nms_iou_threshold=0.4,
            nms_confidence_threshold=0,
            dbscan_confidence_threshold=0,
        ),
        ClusteringParameters(
            coverage_threshold=0.0125,
            dbscan_eps=0.25,
            dbscan_min_samples=0.05,
            minimum_bounding_box_height=6,
            dbscan_confidence_threshold=0,
            nms_confidence_threshold=0,
        ),
    )
    network = spec.network_config
    assert (network.num_layers, network.pretrained) == (18, Path("resnet18.hdf5"))
    assert (network.load_graph, network.facekit.width_share) == (False, 1)
    evaluation = spec.evaluation_config
    assert (evaluation.validation_period_during_training, evaluation.first_epoch) == (4, 8)
    assert evaluation.average_precision_mode == "INTEGRATE"
    assert evaluation.rules(dataset.class_names) == (
        ClassEvaluation(minimum_height=12, maximum_height=180),
        ClassEvaluation(minimum_overlap=0.6),
    )
    cost = spec.cost_function_config
    bare, covered = cost.target_classes
    assert (bare.class_weight, bare.coverage_foreground_weight) == (2.0, 0.125)
    assert (bare.weights("cov"), bare.weights("bbox")) == ((1.5, 0.5), (8.0, 4.0))
    assert (covered.weights("cov"), covered.weights("bbox")) == ((1.0, 1.0), (10.0, 10.0))
    assert (cost.enable_autoweighting, cost.max_objective_weight) == (True, 0.99)
    assert (cost.facekit.coverage_loss, cost.facekit.bbox_loss) == ("CROSS_ENTROPY", "L1")
    training = spec.training_config
    assert (training.batch_size_per_gpu, training.num_epochs) == (6, 9)
    assert training.checkpoint_interval == 3
    assert list(training.schedule.model_dump().values()) == [1e-05, 2e-03, 0.125, 0.75]
    assert (training.regularizer.type, training.regularizer.weight) == ("L2", 3e-06)
    assert list(training.optimizer.adam.model_dump().values()) == [1e-07, 0.8, 0.99]
    assert training.facekit.average_decay == 0.0
    rasterizer = spec.bbox_rasterizer_config
    assert [raster.model_dump() for raster in rasterizer.rasters(dataset.class_names)] == [
        ClassRaster(cov_center_y=0.45, cov_radius_y=0.6, bbox_min_radius=1.25).model_dump(),
        ClassRaster(cov_radius_x=1.0).model_dump(),
    ]
    assert rasterizer.deadzone_radius == 0.5


def test_what_has_no_effect_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    second = '  data_sources {\n    tfrecords_path: "more"\n    image_directory_path: "b"\n  }\n'
    text, line = changed(
        EXPERIMENT, '  image_extension: "jpg"', second + '  image_extension: "jpg"'
    )
    with caplog.at_level(logging.WARNING, logger="training"):
        read(tmp_path, text)
    scaling = text[: text.index("cost_scaling")].count("\n") + 1
    path = tmp_path / "spec.txt"
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}:5: dataset_config.data_sources.tfrecords_path has no effect here "
        f"(also line {line + 1})",
        f"{path}:{scaling}: training_config.cost_scaling has no effect here",
    ]


REFUSED = [
    # A misspelled field, in a group, in a map's entry, and at the top.
    ("zoom_min:", "zoom_mim:", r"unknown field 'zoom_mim' of .*; did you mean 'zoom_min'\?"),
    ("dbscan_eps:", "dbscan_epsilon:", "did you mean 'dbscan_eps'"),
    ("random_seed:", "seed:", r"unknown field 'seed'.*random_seed"),
    ("increment: 0.01", "incremnt: 0.01", "did you mean 'increment'"),
    # Values of the wrong kind.
    ("zoom_min: 0.8", 'zoom_min: "0.8"', "is '0.8'; expected a number"),
    ("num_epochs: 9", "num_epochs: 9.5", r"is 9\.5; expected a whole number"),
    ("num_epochs: 9", "num_epochs: -9", "must be between 1 and"),
    ("use_batch_norm: true", "use_batch_norm: 3", "only true can be done"),
    ("average_precision_mode: INTEGRATE", "average_precision_mode: INTEGRAL", "did you mean"),
    ("type: L2", "type: L3", "no value L3"),
    ("num_epochs: 9", "num_epochs: 9 num_epochs: 8", "a second time"),
    # Values out of range.
    ("zoom_min: 0.8", "zoom_min: 1.5", "zoom_min is more than zoom_max"),
    ("hflip_probability: 0.25", "hflip_probability: 25", r"is 25; it must be between 0 and 1"),
    ("hflip_probability: 0.25", "hflip_probability: nan", "is nan"),
    ("output_image_width: 320", "output_image_width: 300", "multiple of 16"),
    ("output_image_channel: 3", "output_image_channel: 1", "only 3 can be done"),
    ("dbscan_eps: 0.25", "dbscan_eps: 2.5", "dbscan_eps is 2.5; it must be between 0 and 1"),
    ("num_layers: 18", "num_layers: 50", "only 10, 18 or 34"),
    ("use_batch_norm: true", "use_batch_norm: false", "only true"),
    ('arch: "resnet"', 'arch: "vgg"', "only 'resnet'"),
    ("scale: 35.0", "scale: 20.0", "only 35 can"),
    ("batch_size_per_gpu: 6", "batch_size_per_gpu: 0", "it must be between 1 and"),
    ("min_learning_rate: 1e-05", "min_learning_rate: 1", "more than max_learning_rate"),
    ("soft_start: 0.125", "soft_start: 0.9", "more than annealing"),
    ("validation_fold: 1", "validation_fold: 2", "there are 2 folds"),
    ("cov_radius_x: 0.4", "cov_radius_x: 0", "between 0.01 and 2"),
    ("beta2: 0.99", "beta2: 1.0", "beta2 is 1; it must be between 0 and"),
    ("minimum_height: 12", "minimum_height: 181", "minimum_height is more than maximum_height"),
    (
        'name: "covered"\n',
        'name: "covered" objectives { name: "cov" initial_weight: 0 } '
        'objectives { name: "bbox" initial_weight: 0 }\n',
        "have no initial_weight over 0",
    ),
    ('"face"\n    value: "bare"', '"COVERED"\n    value: "bare"', "case does not matter"),
    ("value: 0.6", "value: 1.6", "must be between 0 and 1"),
    # Classes that do not fit together.
    (
        'key: "bare"\n    value {\n      cov',
        'key: "bear"\n    value {\n      cov',
        "'bear'.*'bare'",
    ),
    ('"face"\n    value: "bare"', '"face"\n    value: "baer"', "not a class of cost_.*'bare'"),
    ('name: "covered"', 'name: "mask"', "dataset_config.target_class_mapping lacks"),
    ('name: "covered"', 'name: "bare"', "a second time"),
    ('name: "bbox"', 'name: "box"', "only 'cov' or 'bbox'"),
    ('key: "bare"\n    value: "bare"', 'key: "Covered"\n    value: "bare"', "already in line 10"),
    # Not protobuf text at all.
    ('image_extension: "jpg"', 'image_extension: "jpg', "no quote closes"),
    ("num_epochs: 9", "num_epochs 9", "':'"),
    ("random_seed: 7", "random_seed: 7 }", "expected the name of a field, not '}'"),
]


@pytest.mark.parametrize(("old", "new", "reason"), REFUSED, ids=[new for _, new, _ in REFUSED])
def test_a_wrong_field_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    text, line = changed(EXPERIMENT, old, new)
    with pytest.raises(DataError, match=reason) as refused:
        read(tmp_path, text)
    # Where the change is of several lines, the culprit is one of them.
    assert refused.value.line in range(line, line + 1 + old.count("\n"))
    assert str(refused.value).startswith(f"{tmp_path / 'spec.txt'}:{refused.value.line}: ")


def test_a_class_that_the_mapping_has_by_another_name(tmp_path: Path) -> None:
    """The cost function gives the classes their order, so it is there that one is missed."""
    text, _ = changed(EXPERIMENT, '    value: "covered"', '    value: "coverd"')
    with pytest.raises(DataError, match="did you mean 'coverd'") as refused:
        read(tmp_path, text)
    assert refused.value.line == text[: text.index('name: "covered"')].count("\n") + 1


@pytest.mark.parametrize(
    "missing",
    ["num_epochs: 9", "output_image_width: 320", 'image_directory_path: "faces/train"',
     "annealing: 0.75", 'name: "covered"'],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_group(tmp_path: Path, missing: str) -> None:
    text, line = changed(EXPERIMENT, missing, "")
    name = missing.split(":")[0]
    with pytest.raises(DataError, match=rf"{name} is missing") as refused:
        read(tmp_path, text)
    assert refused.value.line is not None and refused.value.line <= line


@pytest.mark.parametrize("group", ["dataset_config", "cost_function_config", "training_config"])
def test_a_missing_group_is_named(tmp_path: Path, group: str) -> None:
    start = EXPERIMENT.index(group)
    end = EXPERIMENT.index("\n}\n", start) + 3
    with pytest.raises(DataError, match=f"{group} is missing"):
        read(tmp_path, EXPERIMENT[:start] + EXPERIMENT[end:])


def test_an_open_group_is_named(tmp_path: Path) -> None:
    text = EXPERIMENT.rstrip().removesuffix("}")
    with pytest.raises(DataError, match="bbox_rasterizer_config is not closed"):
        read(tmp_path, text)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        read_experiment(tmp_path / "none.txt")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_experiment(tmp_path)
    path = tmp_path / "spec.txt"
    path.write_bytes(b"random_seed: \xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        read_experiment(path)


def test_damage_anywhere_is_a_data_error_with_a_line(tmp_path: Path) -> None:
    rng = random.Random(5)
    refused = 0
    for _ in range(150):
        at = rng.randrange(len(EXPERIMENT))
        damaged = rng.choice(
            [
                EXPERIMENT[:at],
                EXPERIMENT[:at] + rng.choice('{}[]<>:;"\\#\n 0-x\x00') + EXPERIMENT[at:],
                EXPERIMENT[:at] + EXPERIMENT[at + rng.randint(1, 9) :],
            ]
        )
        try:
            read(tmp_path, damaged)
        except DataError as error:
            refused += 1
            assert error.line is not None and error.line <= EXPERIMENT.count("\n") + 2
    assert refused > 75

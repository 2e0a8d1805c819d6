"""Every ``config.pbtxt`` is held to ``facekit.contract``, field by field."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from facekit.contract import CLASS_NAMES, MAX_BATCH_SIZE, MODELS, OPTIONAL_MODELS, TensorSpec
from facekit.detection.parameters import parse_parameters
from facekit.landmarks.scheme import POINT_COUNTS
from facekit.pipelines.definitions import COLORS_OF
from facekit.pipelines.serialize import file_name

REPOSITORY = Path(__file__).parents[2] / "model_repository"
CONFIGS = sorted(REPOSITORY.glob("*/config.pbtxt")) + sorted(REPOSITORY.glob("*/configs/*.pbtxt"))
ENSEMBLES = [name for name, spec in MODELS.items() if spec.backend == "ensemble"]


def read_config(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def model_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).parts[0]


def is_cpu(path: Path) -> bool:
    return path.match("configs/cpu.pbtxt")


def tensors(fields) -> tuple[TensorSpec, ...]:  # type: ignore[no-untyped-def]
    names = model_config_pb2.DataType.Name
    return tuple(
        TensorSpec(f.name, names(f.data_type).removeprefix("TYPE_"), tuple(f.dims)) for f in fields
    )


def ids(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def test_repository_holds_exactly_the_models_of_the_contract() -> None:
    assert {path.name for path in REPOSITORY.iterdir() if path.is_dir()} == set(MODELS)


@pytest.mark.parametrize("path", CONFIGS, ids=ids)
def test_config_names_tensors_and_batch_are_the_contracts(path: Path) -> None:
    config, spec = read_config(path), MODELS[model_of(path)]
    assert config.name == spec.name
    assert config.max_batch_size == MAX_BATCH_SIZE
    assert tensors(config.input) == spec.inputs
    outputs = tensors(config.output)
    if config.name == "fpenet":
        # The network's own number of points, one and the same in all outputs.
        (points,) = {tensor.dims[0] for tensor in outputs}
        assert points in POINT_COUNTS
        outputs = tuple(replace(tensor, dims=(-1, *tensor.dims[1:])) for tensor in outputs)
    assert outputs == spec.outputs


@pytest.mark.parametrize("path", CONFIGS, ids=ids)
def test_config_backend_is_the_contracts(path: Path) -> None:
    config, spec = read_config(path), MODELS[model_of(path)]
    backend = "onnxruntime" if is_cpu(path) and spec.backend == "tensorrt" else spec.backend
    assert (config.backend or config.platform) == backend


@pytest.mark.parametrize("path", CONFIGS, ids=ids)
def test_config_instances_run_on_the_device_they_are_for(path: Path) -> None:
    config, spec = read_config(path), MODELS[model_of(path)]
    if spec.backend == "ensemble":
        assert not config.instance_group
        return
    on_gpu = spec.backend in ("dali", "tensorrt") and not is_cpu(path)
    kind = model_config_pb2.ModelInstanceGroup.Kind.Name
    assert [kind(g.kind) for g in config.instance_group] == ["KIND_GPU" if on_gpu else "KIND_CPU"]


@pytest.mark.parametrize("name", [n for n, s in MODELS.items() if s.backend == "tensorrt"])
def test_model_with_another_cpu_backend_has_a_cpu_config(name: str) -> None:
    assert (REPOSITORY / name / "configs" / "cpu.pbtxt").exists()


@pytest.mark.parametrize("path", [p for p in CONFIGS if is_cpu(p)], ids=ids)
def test_cpu_model_file_lies_in_the_repository(path: Path) -> None:
    config = read_config(path)
    assert (REPOSITORY / model_of(path) / "1" / config.default_model_filename).stat().st_size


def test_config_sets_are_the_two_that_are_documented() -> None:
    sets = {path.stem for path in CONFIGS if path.parent.name == "configs"}
    assert sets == {"cpu", "open"}


@pytest.mark.parametrize("detector", CLASS_NAMES)
def test_label_file_names_the_contract_s_classes(detector: str) -> None:
    folder = REPOSITORY / f"{detector}_postprocess"
    assert (folder / "labels.txt").read_text().splitlines() == list(CLASS_NAMES[detector])
    for path in (folder / "config.pbtxt", *folder.glob("configs/*.pbtxt")):
        values = {k: v.string_value for k, v in read_config(path).parameters.items()}
        assert values["label_file"] == "labels.txt"
        assert parse_parameters(values, CLASS_NAMES[detector], others=("label_file",))


def test_both_detectors_are_configurations_of_one_implementation() -> None:
    for step in ("postprocess/1/model.py", "preprocess/warmup/photo.jpg"):
        one, other = (REPOSITORY / f"{name}_{step}" for name in CLASS_NAMES)
        assert one.read_bytes() == other.read_bytes()
    color, plain = (
        REPOSITORY / f"{name}_preprocess" / "1" / file for name, file in
        (("facenet", file_name("rgb", "cpu")), ("facemask", file_name(None, "cpu")))
    )  # fmt: skip
    assert color.read_bytes() == plain.read_bytes()
    ensembles = [(REPOSITORY / f"{n}_ensemble" / "config.pbtxt").read_text() for n in CLASS_NAMES]
    steps = [re.findall(r'model_name: "(\w+)"', text) for text in ensembles]
    assert [name.replace("facenet", "facemask") for name in steps[0]] == steps[1]


@pytest.mark.parametrize("name", OPTIONAL_MODELS)
def test_mask_detector_has_one_configuration_beside_all_weights_of_the_others(name: str) -> None:
    assert {path.stem for path in (REPOSITORY / name / "configs").glob("*")} <= {"cpu"}


def test_no_other_model_needs_the_mask_detector() -> None:
    for name in set(MODELS) - set(OPTIONAL_MODELS):
        for path in (REPOSITORY / name).rglob("*.pbtxt"):
            assert "facemask" not in path.read_text()
    adapters = REPOSITORY.parent / "facekit" / "adapters"
    assert not any('"facemask' in path.read_text() for path in adapters.glob("*.py"))


@pytest.mark.parametrize("name", ["photo_reduce", "faces", "landmarks", "facenet_postprocess"])
def test_cpu_config_of_a_python_model_adds_parameters_and_instances_alone(name: str) -> None:
    path = REPOSITORY / name / "configs" / "cpu.pbtxt"
    cpu, gpu = read_config(path), read_config(REPOSITORY / name / "config.pbtxt")
    for config in (cpu, gpu):
        config.ClearField("parameters")
        config.ClearField("instance_group")
    assert cpu == gpu


def test_large_jpegs_are_decoded_smaller_on_the_cpu_alone_and_in_facenets_color() -> None:
    color = read_config(REPOSITORY / "facenet_preprocess/configs/cpu.pbtxt").default_model_filename
    for name in ("photo_reduce", "faces", "landmarks"):
        cpu = read_config(REPOSITORY / name / "configs" / "cpu.pbtxt").parameters
        assert cpu["reduced_decode"].string_value == color.partition(".")[0]
        assert "reduced_decode" not in read_config(REPOSITORY / name / "config.pbtxt").parameters


def test_open_config_gives_the_open_networks_points_and_else_equals_the_gpu_one() -> None:
    open_set = read_config(REPOSITORY / "fpenet" / "configs" / "open.pbtxt")
    cpu = read_config(REPOSITORY / "fpenet" / "configs" / "cpu.pbtxt")
    gpu = read_config(REPOSITORY / "fpenet" / "config.pbtxt")
    assert [list(o.dims) for o in open_set.output] == [list(o.dims) for o in cpu.output]
    for mine, other in zip(open_set.output, gpu.output, strict=True):
        mine.dims[0] = other.dims[0]
    assert open_set == gpu


def test_open_detections_are_clustered_alike_on_every_device() -> None:
    folder = REPOSITORY / "facenet_postprocess" / "configs"
    assert read_config(folder / "open.pbtxt") == read_config(folder / "cpu.pbtxt")


@pytest.mark.parametrize("name", COLORS_OF)
def test_dali_config_names_a_file_of_its_device(name: str) -> None:
    gpu = read_config(REPOSITORY / name / "config.pbtxt")
    cpu = read_config(REPOSITORY / name / "configs" / "cpu.pbtxt")
    assert gpu.default_model_filename == file_name(COLORS_OF[name][0], "gpu")
    assert cpu.default_model_filename == file_name(COLORS_OF[name][0], "cpu")
    # Photos of unequal length merge only as ragged inputs.
    assert gpu.input[0].allow_ragged_batch
    # The native backend without a driver fails every merged batch.
    assert list(cpu.dynamic_batching.preferred_batch_size) == [1]


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensemble_maps_are_closed(name: str) -> None:
    config = read_config(REPOSITORY / name / "config.pbtxt")
    known = {t.name: (t.dtype, t.dims) for t in MODELS[name].inputs}
    written_by: dict[str, str] = {}
    for step in config.ensemble_scheduling.step:
        spec = MODELS[step.model_name]
        # Every input is fed by a tensor that exists by now, of the same type and dims.
        assert set(step.input_map) == {t.name for t in spec.inputs}
        for tensor in spec.inputs:
            dtype, dims = known[step.input_map[tensor.name]]
            assert dtype == tensor.dtype
            assert all(-1 in (a, b) or a == b for a, b in zip(dims, tensor.dims, strict=True))
        # A DALI model's outputs must all be taken.
        outputs = {t.name for t in spec.outputs}
        assert set(step.output_map) <= outputs
        assert spec.backend != "dali" or set(step.output_map) == outputs
        for tensor in spec.outputs:
            if tensor.name not in step.output_map:
                continue
            target = step.output_map[tensor.name]
            assert target not in known, f"{target} is written twice"
            known[target] = (tensor.dtype, tensor.dims)
            written_by[target] = step.model_name
    # Triton can't answer for an output alone that an early step made, so the last step makes all of
    # them; but for the ensemble that is called by `faces` only, which takes all outputs.
    last = config.ensemble_scheduling.step[-1].model_name
    early = {"faces_preprocess"} if name == "faces_detect" else set()
    assert {written_by[t.name] for t in MODELS[name].outputs} == {last} | early
    consumed = {t for step in config.ensemble_scheduling.step for t in step.input_map.values()}
    assert consumed.isdisjoint(t.name for t in MODELS[name].outputs)
    unused = set(known) - consumed - {t.name for t in MODELS[name].outputs}
    assert not unused, f"Triton refuses tensors that nobody takes: {unused}"


@pytest.mark.parametrize("path", CONFIGS, ids=ids)
def test_python_model_is_a_thin_adapter(path: Path) -> None:
    if read_config(path).backend != "python":
        return
    lines = (REPOSITORY / model_of(path) / "1" / "model.py").read_text().splitlines()
    assert len(lines) <= 10
    assert any(line.startswith("from facekit.adapters.") for line in lines)


@pytest.mark.parametrize("path", CONFIGS, ids=ids)
def test_warmup_feeds_every_input_of_its_true_length(path: Path) -> None:
    config = read_config(path)
    for sample in config.model_warmup:
        assert set(sample.inputs) == {tensor.name for tensor in config.input}
        for fed in sample.inputs.values():
            if fed.input_data_file:
                file = REPOSITORY / model_of(path) / "warmup" / fed.input_data_file
                assert file.stat().st_size == fed.dims[0]
    assert config.model_warmup or config.backend in ("python", "")


def test_tiles_are_cut_in_the_color_that_facenet_is_fed() -> None:
    for path in ("config.pbtxt", "configs/cpu.pbtxt"):
        fed = read_config(REPOSITORY / "faces_preprocess" / path).default_model_filename
        cut = read_config(REPOSITORY / "faces" / path).parameters["tile_color"]
        assert cut.string_value == fed.partition(".")[0]

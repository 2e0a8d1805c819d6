from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from conversion.catalog_file import load_catalog
from facekit.engines.check import active_config, check_engines, needs_machine
from facekit.engines.machine import Gpu, Machine
from facekit.engines.manifest import REPAIR, Batch, engine_path, manifest_path, repair_command
from tests.engines.engine_files import (
    A10,
    MACHINE,
    add_mask_detector,
    change,
    engine_repository,
    write,
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return engine_repository(tmp_path / "models")


def only_problem(repository: Path, machine: Machine = MACHINE, config: str | None = None) -> str:
    (problem,) = check_engines(repository, None, machine, config)
    return problem


def test_check_engines_of_fitting_ones_finds_nothing(repository: Path) -> None:
    assert check_engines(repository, None, MACHINE) == []


def test_check_engines_of_a_missing_engine_names_it(repository: Path) -> None:
    engine = engine_path(repository, "facenet")
    engine.unlink()

    assert (
        only_problem(repository)
        == f"facenet: the engine {engine} is missing; repair it with: {REPAIR}"
    )


def test_check_engines_without_a_manifest_names_the_file(repository: Path) -> None:
    path = manifest_path(repository, "fpenet")
    path.unlink()

    problem = only_problem(repository)

    assert problem.startswith(f"fpenet: {path} is missing")
    assert problem.endswith(REPAIR)


def test_check_engines_with_a_damaged_manifest_says_what_is_wrong(repository: Path) -> None:
    path = manifest_path(repository, "fpenet")
    path.write_text('{"format": 1}', "utf-8")

    problem = only_problem(repository)

    assert f"{path}: missing: batch" in problem
    assert problem.endswith(REPAIR)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("tensorrt", 8.6, "tensorrt is 8.6, expected text"),
        ("gpu", None, "gpu is None, expected text"),
        ("engine_bytes", "17", "engine_bytes is '17', expected a whole number"),
        ("batch", {"minimum": "1", "optimum": 8, "maximum": 32}, "minimum is '1'"),
        ("outputs", {"softargmax": [80, "2"]}, "expected a whole number"),
        ("outputs", [80, 2], "no attribute"),
        ("config", "../x", "config is '../x', expected letters and digits"),
        ("config", None, "config is None, expected text"),
        ("command", [1], "a word of command is 1"),
    ],
)
def test_check_engines_with_a_wrong_value_in_the_manifest_names_it(
    repository: Path, field: str, value: object, words: str
) -> None:
    path = manifest_path(repository, "fpenet")
    write(path, json.dumps({**json.loads(path.read_text("utf-8")), field: value}))

    problem = only_problem(repository)

    assert words in problem
    assert problem.endswith(REPAIR)


def test_check_engines_of_half_an_engine_tells_the_sizes(repository: Path) -> None:
    write(engine_path(repository, "facenet"), "engine")

    assert "has 6 bytes, and its plan.json says 17" in only_problem(repository)


def test_check_engines_of_another_file_of_the_same_size_tells_it(repository: Path) -> None:
    write(engine_path(repository, "facenet"), "ENGINE of facenet")

    problem = only_problem(repository)

    assert "is not the one that its plan.json describes (SHA-256)" in problem


def test_check_engines_of_another_tensorrt_names_both(repository: Path) -> None:
    change(repository, "facenet", tensorrt="8.6.1")

    problem = only_problem(repository)

    assert problem.endswith(
        f"was built by TensorRT 8.6.1, and this server has 8.6.3; repair it with: {REPAIR}"
    ), problem


def test_check_engines_of_another_build_of_the_same_tensorrt_fits(repository: Path) -> None:
    change(repository, "facenet", tensorrt="8.6.3.1")

    assert check_engines(repository, None, MACHINE) == []


@pytest.mark.parametrize(
    "gpu", [Gpu("Tesla T4", "7.5"), Gpu("NVIDIA A10G", "8.6"), Gpu("NVIDIA A10", "8.9")]
)
def test_check_engines_of_another_gpu_names_both(repository: Path, gpu: Gpu) -> None:
    problems = check_engines(repository, ["facenet"], Machine("8.6.3", (gpu,), "x86_64"))

    engine = engine_path(repository, "facenet")
    assert problems == [
        f"facenet: the engine {engine} was built for NVIDIA A10 (8.6), and this is {gpu}; "
        f"repair it with: {REPAIR}"
    ]


def test_check_engines_with_two_kinds_of_gpu_says_to_show_one(repository: Path) -> None:
    machine = Machine("8.6.3", (A10, Gpu("Tesla T4", "7.5")), "x86_64")

    problem = only_problem(repository, machine)

    assert "several kinds of GPU (NVIDIA A10 (8.6), Tesla T4 (7.5))" in problem
    assert "CUDA_VISIBLE_DEVICES" in problem


def test_check_engines_with_two_equal_gpus_fits(repository: Path) -> None:
    assert check_engines(repository, None, Machine("8.6.3", (A10, A10), "x86_64")) == []


def test_check_engines_without_a_gpu_says_why_and_names_the_way_out(repository: Path) -> None:
    machine = Machine("8.6.3", (), "x86_64", ("CUDA's driver answered with error 803",))

    problem = only_problem(repository, machine)

    assert "has no NVIDIA GPU (CUDA's driver answered with error 803)" in problem
    assert problem.endswith("docker compose --profile cpu up triton-cpu")


def test_check_engines_without_tensorrt_names_the_way_out(repository: Path) -> None:
    problem = only_problem(repository, Machine(None, (), "x86_64"))

    assert "has no TensorRT (libnvinfer)" in problem
    assert problem.endswith("docker compose --profile cpu up triton-cpu")


def test_check_engines_of_a_network_changed_since_tells_it(repository: Path) -> None:
    source = repository / "facenet" / "1" / "model.onnx"
    write(source, "network")
    digest = hashlib.sha256(b"network").hexdigest()
    change(repository, "facenet", weights="open", source="model.onnx", source_sha256=digest)
    assert check_engines(repository, None, MACHINE) == []

    write(source, "another network")

    assert only_problem(repository) == (
        f"facenet: the network {source} was changed after its engine was built; "
        "repair it with: docker compose run --rm converter all facenet --weights open"
    )


@pytest.mark.parametrize("change_it", ["missing", "other gpu", "small batch", "other outputs"])
def test_check_engines_of_other_weights_names_the_command_for_these(
    repository: Path, change_it: str
) -> None:
    change(repository, "facenet", weights="open")
    machine = MACHINE
    if change_it == "missing":
        engine_path(repository, "facenet").unlink()
    elif change_it == "other gpu":
        machine = Machine("8.6.3", (Gpu("Tesla T4", "7.5"),), "x86_64")
    elif change_it == "small batch":
        change(repository, "facenet", batch=Batch(2, 4, 16))
    else:
        change(repository, "facenet", outputs={})

    problems = check_engines(repository, ["facenet"], machine)

    assert problems
    for problem in problems:
        assert problem.endswith(f"{REPAIR} all facenet --weights open")


def test_repair_command_names_every_weights_of_the_kit_without_a_file() -> None:
    catalog = load_catalog(repository=Path("/models"))
    for model in catalog.values():
        for weights in model.weights:
            assert repair_command(model.name, weights).startswith(REPAIR)
    assert repair_command("facenet", "mine").startswith(
        "scripts/convert all facenet --weights mine --models FILE"
    )


def test_check_engines_with_other_outputs_names_file_and_dims(repository: Path) -> None:
    change(repository, "fpenet", outputs={"softargmax": (68, 2), "softargmax:1": (80,)})

    problems = check_engines(repository, None, MACHINE)

    file = repository / "fpenet" / "config.pbtxt"
    assert problems[0].startswith(
        f"fpenet: {file} has the output conv_keypoints_m80, and the engine has softargmax, "
    )
    assert f"{file} has softargmax [80, 2], and the engine has [68, 2]" in problems[1]
    assert all(problem.endswith(REPAIR) for problem in problems)


def test_check_engines_served_with_another_configuration_says_which(repository: Path) -> None:
    outputs = {"conv_keypoints_m80": (68, 80, 80), "softargmax": (68, 2), "softargmax:1": (68,)}
    change(repository, "fpenet", outputs=outputs, config="open")

    problems = check_engines(repository, ["fpenet"], MACHINE, "")

    assert problems[0].endswith(
        "the engine is for configs/open.pbtxt: facekit serve --config-name 'open'"
    )


def test_check_engines_with_smaller_batches_tells_both(repository: Path) -> None:
    change(repository, "facenet", batch=Batch(1, 4, 16))

    assert "allows batches of 32, and the engine takes 16 at most" in only_problem(repository)


def test_check_engines_that_refuse_single_photos_tells_it(repository: Path) -> None:
    change(repository, "facenet", batch=Batch(2, 8, 32))

    assert "takes no batch below 2, and single photos would fail" in only_problem(repository)


def test_check_engines_without_a_pipeline_names_it(repository: Path) -> None:
    file = repository / "photo_gray" / "1" / "gpu.dali"
    file.unlink()

    assert (
        only_problem(repository)
        == f"photo_gray: the pipeline {file} is missing; repair it with: {REPAIR}"
    )


def test_check_engines_of_a_configuration_without_engines_needs_none(repository: Path) -> None:
    engine_path(repository, "facenet").unlink()

    assert check_engines(repository, None, Machine(None, (), ""), "cpu") == []
    assert not needs_machine(repository, "cpu")
    assert needs_machine(repository, "")


def test_check_engines_with_a_damaged_configuration_names_the_file(repository: Path) -> None:
    write(repository / "fpenet" / "config.pbtxt", "backend: tensorrt")

    problem = only_problem(repository)

    assert problem.startswith(f"{repository / 'fpenet' / 'config.pbtxt'}: 1:10")


def test_active_config_is_what_the_landmarks_engine_needs(repository: Path) -> None:
    assert active_config(repository) == ""

    change(repository, "fpenet", config="open")

    assert active_config(repository) == "open"


def test_check_engines_made_for_two_configurations_are_refused(repository: Path) -> None:
    change(repository, "facenet", weights="open", config="open")

    assert only_problem(repository) == (
        "facenet: its engine is for configs/open.pbtxt, that of fpenet is for config.pbtxt, "
        f"and a server has one of them; repair it with: {REPAIR}"
    )
    # Who names a configuration knows what is served.
    assert check_engines(repository, None, MACHINE, "") == []


@pytest.mark.parametrize("config", ["", "open"])
def test_check_engines_of_the_mask_detector_fit_beside_any_others(
    repository: Path, config: str
) -> None:
    add_mask_detector(repository, engine=True)
    for model in ("facenet", "fpenet"):
        change(repository, model, config=config)

    assert active_config(repository) == config
    assert check_engines(repository, None, MACHINE) == []


def test_check_engines_of_a_mask_detector_that_does_not_fit_are_refused(repository: Path) -> None:
    add_mask_detector(repository, engine=True)
    change(repository, "facemask", outputs={"output_bbox/BiasAdd": (8, 26, 46)})
    change(repository, "fpenet", config="open")
    change(repository, "facenet", config="open")

    problem = only_problem(repository)

    assert "has the output output_cov/Sigmoid, and the engine has output_bbox/BiasAdd" in problem
    # No other configuration of it would help.
    assert problem.endswith(f"then: {repair_command('facemask', 'open')}")


def test_check_engines_leaves_engines_of_others_to_triton(repository: Path) -> None:
    write(repository / "theirs" / "config.pbtxt", 'name: "theirs"\nbackend: "tensorrt"\n')

    assert check_engines(repository, None, MACHINE) == []


def test_check_engines_knows_the_other_word_for_the_backend(repository: Path) -> None:
    path = repository / "facenet" / "config.pbtxt"
    text = path.read_text("utf-8")
    write(path, text.replace('backend: "tensorrt"', 'platform: "tensorrt_plan"'))
    engine_path(repository, "facenet").unlink()

    assert "model.plan is missing" in only_problem(repository)
    assert needs_machine(repository, "")


def test_active_config_without_engines_is_the_default(tmp_path: Path) -> None:
    assert active_config(tmp_path) == ""


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_check_engines_without_a_manifest_of_the_mask_detector_names_its_weights(
    repository: Path, content: str | None
) -> None:
    add_mask_detector(repository, engine=True)
    path = manifest_path(repository, "facemask")
    path.unlink()
    if content is not None:
        write(path, content)

    # Not the plain command: it may be told by FACEKIT_WEIGHTS to make other weights.
    assert only_problem(repository).endswith(repair_command("facemask", "open"))
    assert repair_command("facemask") == f"{REPAIR} all facemask --weights open"


def test_check_engines_on_a_gpu_that_tensorrt_does_not_know_names_the_triton_that_does(
    repository: Path,
) -> None:
    blackwell = Machine("8.6.3", (Gpu("NVIDIA B200", "10.0"),), "x86_64")
    first = check_engines(repository, None, blackwell)[0]
    assert first == (
        "NVIDIA B200 (10.0) is too new for TensorRT 8.6.3, which knows compute capabilities 6.0 to "
        "9.0: take Triton 26.10 (TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.10-py3 in .env), then "
        "build and convert again; without a GPU: docker compose --profile cpu up triton-cpu"
    )

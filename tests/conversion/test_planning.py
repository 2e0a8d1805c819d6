"""What a plan finds out, without a network and without writing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from conversion import planning
from conversion.catalog import Catalog
from conversion.catalog_file import load_catalog
from conversion.commands import shell
from conversion.plan import EnginePlan, Options, Plan
from conversion.selection import select
from facekit.engines.machine import Gpu, Machine
from facekit.engines.manifest import sha256_of
from tests.conversion.conftest import REPOSITORY

NOTHING = Machine(None, (), "x86_64")
A10 = Machine("8.6.3", (Gpu("NVIDIA A10", "8.6"),), "x86_64")
IMAGE = {"NVIDIA_TRITON_SERVER_VERSION": "24.04"}
P100 = Machine("8.6.3", (Gpu("Tesla P100", "6.0"),), "x86_64")


def make(
    repository: Path,
    *selections: str,
    machine: Machine = NOTHING,
    models: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    **about: object,
) -> Plan:
    catalog = load_catalog(repository=repository)
    jobs = select(catalog, selections, models, {})
    weights_dir = repository.parent / "weights"
    options = Options(repository, weights_dir, **about)  # type: ignore[arg-type]
    return planning.make_plan(jobs, options, machine, environment)


def engine_of(plan: Plan, model: str) -> EnginePlan:
    return next(engine for engine in plan.engines if engine.job.model.name == model)


def test_plan_of_a_machine_without_tensorrt_is_for_the_default_release(repository: Path) -> None:
    plan = make(repository)
    assert (plan.release, plan.tensorrt) == ("24.04", "8.6.3")
    assert "none here, so the plan is for release 24.04: TensorRT 8.6.3" in plan.text()
    assert "note: made for CUDA 12.4, NVIDIA driver 545 or newer" in plan.text()


def test_plan_of_open_weights_is_for_the_newest_without_known_holes(repository: Path) -> None:
    plan = make(repository, "open")
    assert (plan.release, plan.tensorrt) == ("26.10", "11")
    assert "known holes" not in plan.text()


def test_plan_of_an_etlt_says_in_one_line_why_the_old_triton_and_what_it_risks(
    repository: Path,
) -> None:
    (note,) = make(repository, machine=A10, environment=IMAGE).notes
    assert note.startswith("Triton 2.45.0 has known holes (19 CVEs, the last closed in 26.07;")
    assert note.endswith(
        ". Only Triton 24.02 to 24.04 reads NVIDIA's .etlt; --weights open takes 26.10, without "
        "known holes"
    )


def test_plan_in_an_image_that_is_not_known_says_what_it_is_treated_as(repository: Path) -> None:
    image = {"NVIDIA_TRITON_SERVER_VERSION": "27.01"}
    machine = Machine("11.9.0", (Gpu("NVIDIA A10", "8.6"),), "x86_64")
    text = make(repository, "open", machine=machine, environment=image).text()
    assert "Triton 27.01 is not in conversion/releases.yaml: treated as Triton 26.10" in text


def test_plan_of_a_machine_with_tensorrt_is_for_that(repository: Path) -> None:
    plan = make(repository, machine=A10)
    assert (plan.release, plan.tensorrt) == (None, "8.6.3")
    first = plan.text().splitlines()[0]
    assert first == "this machine: TensorRT 8.6.3, NVIDIA A10 (8.6), x86_64"


def test_plan_for_a_release_asked_for_uses_its_tensorrt(repository: Path) -> None:
    plan = make(repository, "open", machine=A10, triton="24.07")
    assert (plan.release, plan.tensorrt) == ("24.07", "10.2.0")


def test_plan_names_every_file_that_is_fetched_and_its_address(repository: Path) -> None:
    engine = engine_of(make(repository), "facenet")
    assert [(download.url, download.present) for download in engine.downloads] == [
        (
            "https://api.ngc.nvidia.com/v2/models/nvidia/tao/facenet/versions/"
            "pruned_quantized_v2.0.1/files/model.etlt",
            False,
        ),
        (
            "https://api.ngc.nvidia.com/v2/models/nvidia/tao/facenet/versions/"
            "pruned_quantized_v2.0.1/files/int8_calibration.txt",
            False,
        ),
        (
            "https://api.ngc.nvidia.com/v2/resources/nvidia/tao/tao-converter/versions/"
            "v5.1.0_8.6.3.1_x86/files/tao-converter",
            False,
        ),
    ]


def test_plan_sees_what_was_fetched_before(repository: Path) -> None:
    folder = repository.parent / "weights" / "fpenet_vdeployable_v3.0"
    folder.mkdir(parents=True)
    (folder / "model.etlt").write_bytes(b"network")
    network, converter = engine_of(make(repository), "fpenet").downloads
    assert network.present and network.path == folder / "model.etlt"
    assert not converter.present


@pytest.mark.parametrize("start", ["tao-converter_", "tao-converter_v"])
def test_plan_finds_the_tool_in_either_folder_of_ngc(repository: Path, start: str) -> None:
    tool = repository.parent / "weights" / f"{start}v5.1.0_8.6.3.1_x86" / "tao-converter"
    tool.parent.mkdir(parents=True)
    tool.write_bytes(b"1")
    converter = engine_of(make(repository), "fpenet").downloads[-1]
    assert converter.present and converter.path == tool


def test_plan_of_an_own_etlt_names_the_tool_that_is_fetched_and_its_terms(
    repository: Path, stanza: Callable[..., Path]
) -> None:
    models = stanza(file="mine.etlt", format="uff-etlt", key="k", precision="fp16", license="mine")
    catalog = load_catalog([models], repository=repository)
    jobs = select(catalog, ["facenet=mine"], ["facenet"], {})
    options = Options(repository, repository.parent / "weights")
    plan = planning.make_plan(jobs, options, NOTHING, {})
    [engine] = plan.engines
    assert [download.path.name for download in engine.downloads] == ["tao-converter"]
    assert engine.accepted is False
    text = plan.text()
    assert "license  yours; that of tao-converter: NVIDIA TAO Toolkit Model EULA, https" in text
    assert f"source   {models.with_name('mine.etlt')}" in text


def test_plan_of_open_weights_fetches_nothing_and_asks_for_no_terms(repository: Path) -> None:
    plan = make(repository, "open")
    assert all(engine.downloads == () for engine in plan.engines)
    assert all(engine.accepted is None for engine in plan.engines)
    assert "--accept-eula" not in plan.text()


@pytest.mark.parametrize(
    ("accepted", "words"), [(False, "to be accepted with --accept-eula or"), (True, "; accepted")]
)
def test_plan_names_the_terms_and_whether_they_are_accepted(
    repository: Path, accepted: bool, words: str
) -> None:
    text = make(repository, accepted=accepted).text()
    assert "NVIDIA TAO Toolkit Model EULA, https://developer.nvidia.com/" in text
    assert words in text
    assert ("first read the license" in text) == (not accepted)


def test_plan_shows_the_arguments_that_the_build_uses(repository: Path) -> None:
    engine = engine_of(make(repository), "facenet")
    folder = repository.parent / "weights" / "facenet_vpruned_quantized_v2.0.1"
    assert engine.command[0] == "tao-converter" and engine.tool_version == "v5.1.0_8.6.3.1_x86"
    assert engine.command[-1] == str(folder / "model.etlt")
    assert str(folder / "int8_calibration.txt") in engine.command
    assert shell(engine.command) in make(repository).text()


def test_plan_for_a_gpu_without_int8_falls_back_aloud(repository: Path) -> None:
    plan = make(repository, machine=P100, models=["facenet"])
    [engine] = plan.engines
    assert engine.precision.value == "fp16"
    assert "int8" not in engine.command
    assert "Tesla P100 (compute capability 6.0) has no fast INT8" in plan.text()


def test_plan_of_an_etlt_for_tensorrt_10_says_the_ways_out(repository: Path) -> None:
    plan = make(repository, "facenet=nvidia", "fpenet=open", triton="24.08")
    assert plan.failed
    text = plan.text()
    assert "TensorRT 10.3.0 cannot read a UFF or .etlt model. Alternatives: --weights open" in text
    assert (
        "1 engine to build (minutes each), 1 pipeline to serialize, 1 model with a problem" in text
    )


def test_plan_without_a_buildable_model_names_no_command_to_do_it(repository: Path) -> None:
    assert "do it" not in make(repository, triton="24.08").text()


def test_plan_of_mixed_configurations_says_so(repository: Path) -> None:
    text = make(repository, "facenet=nvidia", "fpenet=open").text()
    assert "these don't go together" in text
    assert "config.pbtxt fits facenet, configs/open.pbtxt fits fpenet" in text
    assert "do it" not in text


@pytest.mark.parametrize("weights", ["nvidia", "open"])
def test_plan_of_the_mask_detector_goes_beside_any_weights(weights: str) -> None:
    plan = make(REPOSITORY, weights)
    engine = engine_of(plan, "facemask")
    assert (engine.job.weights.name, engine.config, engine.accepted) == (
        "open",
        "config.pbtxt",
        None,
    )
    assert "these don't go together" not in plan.text()


def test_plan_writes_nothing(repository: Path) -> None:
    before = sorted(repository.parent.rglob("*"))
    make(repository)
    make(repository, "open", machine=A10, force=True)
    assert sorted(repository.parent.rglob("*")) == before


def half_of(repository: Path, model: str = "facenet", source: Path | None = None) -> Path:
    """Write a file in half precision beside a network, made of that or of another one."""
    network = repository / model / "1" / "model.onnx"
    half = network.with_name("model.fp16.onnx")
    half.write_bytes(b"half of " + sha256_of(source or network).encode())
    return half


def test_plan_for_tensorrt_11_builds_fp16_of_the_file_that_states_it(repository: Path) -> None:
    half = half_of(repository)
    facenet, fpenet = make(repository, "open", triton="26.08").engines
    assert facenet.precision.value == "fp16" and facenet.warnings == ()
    assert f"--onnx={half}" in facenet.command and "--fp16" not in facenet.command
    assert facenet.network == half
    # Without such a file it is the network's own types, which is said.
    assert fpenet.precision.value == "fp32"
    assert "FP16 takes a file *.fp16.onnx beside it" in fpenet.warnings[0]


def test_plan_before_tensorrt_11_asks_for_fp16_with_the_flag(repository: Path) -> None:
    half_of(repository)
    engine = engine_of(make(repository, "open", triton="26.05"), "facenet")
    assert engine.network.name == "model.onnx" and "--fp16" in engine.command


def test_half_precision_file_of_another_network_is_not_used(
    repository: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other")
    half_of(repository, source=other)
    engine = engine_of(make(repository, "open", triton="26.08"), "facenet")
    assert (engine.network.name, engine.precision.value) == ("model.onnx", "fp32")


@pytest.mark.parametrize("model", ["facenet", "fpenet"])
def test_kit_s_own_networks_are_built_in_fp16_by_tensorrt_11(model: str) -> None:
    engine = engine_of(make(REPOSITORY, "open", triton="26.10"), model)
    assert (engine.network.name, engine.precision.value) == ("model.fp16.onnx", "fp16")


def test_plan_says_why_an_engine_is_built(repository: Path) -> None:
    engine = engine_of(make(repository, "open", machine=A10), "facenet")
    assert engine.reason
    assert f"build    yes: {engine.reason}" in make(repository, "open", machine=A10).text()


def test_plan_as_json_holds_plain_values(repository: Path) -> None:
    values = json.loads(make(repository, machine=A10).to_json())
    assert values["engines"][0]["engine"] == str(repository / "facenet" / "1" / "model.plan")
    assert values["machine"]["gpus"] == [{"name": "NVIDIA A10", "compute_capability": "8.6"}]


def test_key_that_is_not_public_is_not_shown(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "a.etlt").touch()
    path = tmp_path / "mine.yaml"
    path.write_text(
        "models: {facenet: {weights: {mine: {file: a.etlt, format: uff-etlt, key: geheim, "
        "precision: fp16, license: mine}}}}"
    )
    catalog = load_catalog([path], repository=repository)
    jobs = select(catalog, ["facenet=mine"], ["facenet"], {})
    plan = planning.make_plan(jobs, Options(repository, tmp_path), NOTHING, {})
    text = plan.text() + plan.to_json()
    assert "geheim" not in text and "-k '***'" in text


def test_pipeline_files_of_the_kit_are_those_that_are_written() -> None:
    from facekit.pipelines.definitions import COLORS_OF
    from facekit.pipelines.serialize import file_name

    expected = {
        REPOSITORY / model / "1" / file_name(color, "gpu")
        for model, colors in COLORS_OF.items()
        for color in colors
    }
    assert {file.path for file in planning.pipeline_files(REPOSITORY, "gpu")} == expected


def test_pipeline_files_for_the_cpu_are_there_in_a_clone() -> None:
    assert all(file.present for file in planning.pipeline_files(REPOSITORY, "cpu"))


def test_command_lines_hold_each_weights_of_the_kit(catalog: Catalog) -> None:
    titles = [line for line in planning.command_lines() if line.startswith("# ")]
    assert titles == [
        f"# {model.name}, weights {name}" for model in catalog.values() for name in model.weights
    ]


def test_command_lines_name_no_path_of_this_machine() -> None:
    text = "\n".join(planning.command_lines())
    assert str(REPOSITORY) not in text
    assert "/weights/fpenet_vdeployable_v3.0/model.etlt" in text
    assert "--onnx=/models/facenet/1/model.onnx" in text
    assert "-e $ENGINE" in text and "--saveEngine=$ENGINE" in text


def test_command_lines_hold_what_a_plan_would_run(repository: Path) -> None:
    lines = planning.command_lines()
    for selection in ("nvidia", "open"):
        for engine in make(repository, selection).engines:
            line = shell(engine.command)
            line = line.replace(str(repository.parent / "weights"), "/weights")
            assert line.replace(str(repository), "/models") in lines


def test_shell_quotes_what_a_shell_would_read_otherwise() -> None:
    argv = ["trtexec", "--shapes='input:0':1x3", "--saveEngine=$ENGINE", "a b"]
    assert shell(argv) == (
        """trtexec '--shapes='"'"'input:0'"'"':1x3' --saveEngine=$ENGINE 'a b'"""
    )

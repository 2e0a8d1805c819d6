"""The table of arguments: what it says, and that the fake tools accept nothing else."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from conversion import commands
from conversion.catalog import Catalog, Job, Precision
from conversion.errors import BuildError
from conversion.staleness import precision_for
from facekit.engines.machine import Gpu, Machine
from tests.conversion.conftest import REPOSITORY, ROOT
from tests.fakes import networks

FAKES = ROOT / "tests" / "fakes"
SUFFIX = ["-e", "$ENGINE", "model.etlt"]


def job(catalog: Catalog, model: str, name: str) -> Job:
    return Job(catalog[model], catalog[model].weights[name])


def tao(catalog: Catalog, model: str, name: str, precision: Precision) -> list[str]:
    chosen = job(catalog, model, name)
    return commands.build_command(chosen, "tao-converter", Path("model.etlt"), "$ENGINE", precision)


def trtexec(
    catalog: Catalog, precision: Precision, tensorrt: str = "8.6.3", name: str = "input_1"
) -> list[str]:
    chosen = job(catalog, "facenet", "open")
    weights = dataclasses.replace(chosen.weights, calibration="cal.txt")
    of = Job(dataclasses.replace(chosen.model, input=name), weights)
    return commands.build_command(of, "trtexec", Path("model.onnx"), "$ENGINE", precision, tensorrt)


def test_uff_names_dims_outputs_and_batch_and_has_no_profile(catalog: Catalog) -> None:
    assert tao(catalog, "facenet", "nvidia", Precision.INT8) == [
        *(
            "tao-converter",
            "-k",
            "nvidia_tlt",
            "-t",
            "int8",
            "-c",
            "int8_calibration.txt",
            "-b",
            "8",
        ),
        *("-d", "3,416,736", "-o", "output_bbox/BiasAdd,output_cov/Sigmoid", "-m", "32", *SUFFIX),
    ]


def test_fp16_takes_no_calibration_cache(catalog: Catalog) -> None:
    argv = tao(catalog, "facenet", "nvidia", Precision.FP16)
    assert argv[3:5] == ["-t", "fp16"]
    assert not {"-c", "-b"} & set(argv)


def test_onnx_etlt_gets_a_profile_from_one_photo_on(catalog: Catalog) -> None:
    profile = "input_face_images,1x1x80x80,8x1x80x80,32x1x80x80"
    assert tao(catalog, "fpenet", "nvidia", Precision.FP16) == [
        *("tao-converter", "-k", "nvidia_tlt", "-t", "fp16", "-p", profile, *SUFFIX)
    ]


def test_onnx_gets_shapes_precision_and_memory(catalog: Catalog) -> None:
    assert trtexec(catalog, Precision.FP16) == [
        "trtexec",
        "--onnx=model.onnx",
        "--minShapes=input_1:1x3x416x736",
        "--optShapes=input_1:8x3x416x736",
        "--maxShapes=input_1:32x3x416x736",
        "--fp16",
        "--memPoolSize=workspace:1024",
        "--skipInference",
        "--saveEngine=$ENGINE",
    ]


def test_onnx_int8_may_fall_back_to_fp16_a_layer(catalog: Catalog) -> None:
    assert trtexec(catalog, Precision.INT8)[5:8] == ["--int8", "--fp16", "--calib=cal.txt"]


def test_name_with_a_colon_is_quoted_inside_the_argument(catalog: Catalog) -> None:
    argv = trtexec(catalog, Precision.FP32, name="input_1:0")
    assert "--minShapes='input_1:0':1x3x416x736" in argv


@pytest.mark.parametrize("precision", list(Precision))
def test_tensorrt_11_is_told_no_precision(catalog: Catalog, precision: Precision) -> None:
    argv = trtexec(catalog, precision, tensorrt="11.2.1")
    assert not [word for word in argv if word.startswith(("--fp16", "--int8", "--calib"))]


def test_int8_without_a_cache_says_where_to_name_one(catalog: Catalog) -> None:
    chosen = job(catalog, "facenet", "nvidia")
    without = Job(chosen.model, dataclasses.replace(chosen.weights, calibration=None))
    with pytest.raises(BuildError, match=r"needs a calibration cache.*`calibration:`"):
        commands.build_command(without, "t", Path("n"), "e", Precision.INT8)


def quantized(catalog: Catalog) -> Job:
    chosen = job(catalog, "facenet", "open")
    return Job(chosen.model, dataclasses.replace(chosen.weights, precision=Precision.INT8))


def test_quantized_onnx_is_built_in_int8_without_a_cache(
    catalog: Catalog, files: Mapping[str, Path]
) -> None:
    of = quantized(catalog)
    assert of.weights.holds_scales and not job(catalog, "facenet", "open").weights.holds_scales
    argv = commands.build_command(
        of, "trtexec", files["onnx"], files["engine"], Precision.INT8, "8.6.3"
    )
    assert {"--int8", "--fp16"} <= set(argv) and not [w for w in argv if w.startswith("--calib")]
    assert call("trtexec.py", argv[1:]).returncode == 0


@pytest.mark.parametrize("capability", ["8.6", "6.0"])
@pytest.mark.parametrize("tensorrt", ["8.6.3", "11.2.1"])
def test_quantized_network_counts_as_int8_everywhere(
    catalog: Catalog, capability: str, tensorrt: str
) -> None:
    machine = Machine(tensorrt, (Gpu("some GPU", capability),), "x86_64")
    precision, remark = precision_for(quantized(catalog).weights, machine)
    assert precision is Precision.INT8
    slow = capability == "6.0" and tensorrt == "8.6.3"
    assert (remark is not None and "the network is quantized" in remark) == slow


def test_secret_key_is_redacted_and_public_one_is_not(catalog: Catalog) -> None:
    argv = tao(catalog, "facenet", "nvidia", Precision.FP16)
    chosen = job(catalog, "facenet", "nvidia").weights
    assert commands.redacted(argv, chosen) == argv
    secret = dataclasses.replace(chosen, key_is_public=False)
    assert commands.redacted(argv, secret)[1:3] == ["-k", "***"]


# What the fake tools are: as strict as the interface that NVIDIA documents.


@pytest.fixture
def files(tmp_path: Path) -> Mapping[str, Path]:
    (tmp_path / "facenet").write_bytes(networks.facenet_etlt())
    (tmp_path / "fpenet").write_bytes(networks.fpenet_etlt())
    (tmp_path / "int8_calibration.txt").write_bytes(networks.calibration_cache())
    (tmp_path / "onnx").write_bytes((REPOSITORY / "facenet/1/model.onnx").read_bytes())
    return {name: tmp_path / name for name in ("facenet", "fpenet", "onnx", "engine")}


def call(tool: str, argv: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FAKES / tool), *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def accepted(catalog: Catalog, files: Mapping[str, Path], model: str, name: str) -> list[str]:
    chosen = job(catalog, model, name)
    network = files["onnx" if name == "open" else model]
    precision = chosen.weights.precision
    return commands.build_command(chosen, "t", network, files["engine"], precision)[1:]


ETLT = [("facenet", "nvidia"), ("facenet", "nvidia-fp16"), ("fpenet", "nvidia")]


@pytest.mark.parametrize(("model", "name"), ETLT)
def test_fake_converter_accepts_every_command(
    catalog: Catalog, files: Mapping[str, Path], model: str, name: str
) -> None:
    done = call("tao_converter.py", accepted(catalog, files, model, name))
    assert done.returncode == 0, done.stderr
    load = commands.load_command(job(catalog, model, name), "t", files["engine"])
    loaded = call("trtexec.py", load[1:])
    assert loaded.returncode == 0, loaded.stdout


# An argument taken out or spoilt, and what the fake says of it.
WRONG_TAO = [
    ("facenet", ["-k", None], "-k is required"),
    ("facenet", ["-d", None], "-d is required"),
    ("facenet", ["-o", None], "-o is required"),
    ("facenet", ["-d", "3,416,735"], "-d 3,416,735 is not the model's 3,416,736"),
    ("facenet", ["-o", "output_bbox"], "-o names no output of this model: output_bbox"),
    ("facenet", ["-p", "input_1,1x3x416x736,1x3x416x736,1x3x416x736"], "-p is for models with"),
    ("facenet", ["-c", "/nowhere"], "-c /nowhere does not exist"),
    ("facenet", ["-m", "many"], "-m takes a whole number"),
    ("facenet", ["-x", "1"], "unknown option -x"),
    ("facenet", ["-t", "int4"], "-t int4 is none of"),
    ("fpenet", ["-p", None], "-p is required for each input: input_face_images"),
    ("fpenet", ["-p", "face,1x1x80x80,1x1x80x80,1x1x80x80"], "-p names no input"),
    ("fpenet", ["-p", "input_face_images,1x80x80,8x80x80,32x80x80"], "the model's dims are"),
    ("fpenet", ["-m", "32"], "-m is for models without"),
    ("fpenet", ["-c", "cache"], "-c is only used in INT8 mode"),
]


@pytest.mark.parametrize(("model", "change", "words"), WRONG_TAO)
def test_fake_converter_refuses(
    catalog: Catalog, files: Mapping[str, Path], model: str, change: list[str], words: str
) -> None:
    argv = accepted(catalog, files, model, "nvidia")
    option, value = change
    if option in argv:
        at = argv.index(option)
        argv[at : at + 2] = []
    if value is not None:
        argv = [option, value, *argv]
    done = call("tao_converter.py", argv)
    assert done.returncode == 1
    assert words in done.stderr
    assert not files["engine"].exists()


def test_fake_trtexec_accepts_every_command(catalog: Catalog, files: Mapping[str, Path]) -> None:
    done = call("trtexec.py", accepted(catalog, files, "facenet", "open"))
    assert done.returncode == 0, done.stdout
    load = commands.load_command(job(catalog, "facenet", "open"), "t", files["engine"])
    assert call("trtexec.py", load[1:]).returncode == 0


WRONG_TRTEXEC = [
    ("--onnx", "/nowhere", "Could not open file /nowhere"),
    ("--minShapes", "input_1:1,3,416,736", "could not parse shapes"),
    ("--minShapes", "input_1:0:1x3x416x736", "could not parse shapes"),
    ("--maxShapes", "input_2:32x3x416x736", "name different inputs"),
    ("--maxShapes", "input_1:4x3x416x736", "expected 1 <= min <= opt <= max"),
    ("--memPoolSize", "1024", "could not parse --memPoolSize"),
    ("--workspace", "1024", "Unknown option: --workspace=1024"),
]


@pytest.mark.parametrize(("option", "value", "words"), WRONG_TRTEXEC)
def test_fake_trtexec_refuses(
    catalog: Catalog, files: Mapping[str, Path], option: str, value: str, words: str
) -> None:
    argv = accepted(catalog, files, "facenet", "open")
    kept = [word for word in argv if not word.startswith(f"{option}=")]
    done = call("trtexec.py", [*kept, f"{option}={value}"])
    assert done.returncode == 1
    assert words in done.stdout
    assert not files["engine"].exists()


def test_fake_trtexec_of_11_knows_no_precision(
    catalog: Catalog, files: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "110201")
    done = call("trtexec.py", accepted(catalog, files, "facenet", "open"))
    assert done.returncode == 1
    assert "Unknown option: --fp16" in done.stdout

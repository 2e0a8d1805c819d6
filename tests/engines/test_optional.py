from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from facekit.contract import OPTIONAL_MODELS
from facekit.engines.manifest import engine_path, manifest_path
from facekit.engines.optional import skipped_models
from tests.engines.engine_files import KIT, add_mask_detector, engine_repository, write


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return engine_repository(tmp_path / "models")


def test_repository_without_a_mask_detector_leaves_nothing_out(repository: Path) -> None:
    assert skipped_models(repository, "") is None


def test_mask_detector_with_an_engine_is_served(repository: Path) -> None:
    add_mask_detector(repository, engine=True)
    assert skipped_models(repository, "") is None


def test_mask_detector_that_nobody_made_an_engine_for_is_left_out(repository: Path) -> None:
    add_mask_detector(repository, engine=False)
    for config in ("", "open"):
        found = skipped_models(repository, config)
        assert found is not None and found.models == OPTIONAL_MODELS
    words = found.message
    assert words.startswith("not served: facemask_ensemble, facemask_preprocess, ")
    assert words.endswith("docker compose run --rm converter all facemask --weights open")


@pytest.mark.parametrize("kept", [engine_path, manifest_path])
def test_half_an_engine_is_no_reason_to_leave_it_out(
    repository: Path, kept: Callable[[Path, str], Path]
) -> None:
    add_mask_detector(repository, engine=True)
    for path in (engine_path(repository, "facemask"), manifest_path(repository, "facemask")):
        if path != kept(repository, "facemask"):
            path.unlink()
    assert skipped_models(repository, "") is None


def test_mask_detector_on_the_cpu_needs_no_engine() -> None:
    assert not engine_path(KIT, "facemask").exists()
    assert skipped_models(KIT, "cpu") is None
    found = skipped_models(KIT, "")
    assert found is not None and found.models == OPTIONAL_MODELS


def test_mask_detector_without_its_network_is_left_out_on_the_cpu(repository: Path) -> None:
    add_mask_detector(repository, engine=False)
    cpu = (KIT / "facemask" / "configs" / "cpu.pbtxt").read_text("utf-8")
    write(repository / "facemask" / "configs" / "cpu.pbtxt", cpu)
    network = repository / "facemask" / "1" / "model.onnx"
    found = skipped_models(repository, "cpu")
    assert found is not None and found.models == OPTIONAL_MODELS
    assert f"because {network} is missing; restore it" in found.message
    assert "git checkout model_repository/facemask" in found.message
    assert f"export -m CHECKPOINT -o {network}" in found.message
    write(network, "a network")
    assert skipped_models(repository, "cpu") is None

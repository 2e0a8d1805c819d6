from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from facekit.contract import OPTIONAL_MODELS
from facekit.engines.manifest import engine_path, manifest_path
from facekit.engines.optional import left_out, left_out_words
from tests.engines.engine_files import KIT, add_mask_detector, engine_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return engine_repository(tmp_path / "models")


def test_repository_without_a_mask_detector_leaves_nothing_out(repository: Path) -> None:
    assert left_out(repository, "") == ()


def test_mask_detector_with_an_engine_is_served(repository: Path) -> None:
    add_mask_detector(repository, engine=True)
    assert left_out(repository, "") == ()


def test_mask_detector_that_nobody_made_an_engine_for_is_left_out(repository: Path) -> None:
    add_mask_detector(repository, engine=False)
    for config in ("", "open"):
        assert left_out(repository, config) == OPTIONAL_MODELS
    words = left_out_words(OPTIONAL_MODELS)
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
    assert left_out(repository, "") == ()


def test_mask_detector_on_the_cpu_needs_no_engine() -> None:
    assert not engine_path(KIT, "facemask").exists()
    assert left_out(KIT, "cpu") == ()
    assert left_out(KIT, "") == OPTIONAL_MODELS

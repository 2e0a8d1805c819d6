"""The bench that engines are built on."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion.catalog import Catalog
from tests.conversion.engines.bench import FAKES, Bench


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> Path:
    """The folder of an engine, for the tests that begin with one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FACEKIT_TRTEXEC", str(FAKES / "trtexec.py"))
        bench = Bench(tmp_path_factory.mktemp("built"), catalog)
        bench.build()
    return bench.engine.parent


@pytest.fixture
def bench(tmp_path: Path, catalog: Catalog, built: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("FACEKIT_TRTEXEC", str(FAKES / "trtexec.py"))
    return Bench(tmp_path, catalog, built)

"""The bench that engines are built on."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion.catalog import Catalog
from tests.conversion.engines.bench import FAKES, Bench


@pytest.fixture
def bench(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("FACEKIT_TRTEXEC", str(FAKES / "trtexec.py"))
    return Bench(tmp_path, catalog)

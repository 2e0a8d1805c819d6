"""What the tests share: one embedded server for all of them in a process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.serving.embedded import EmbeddedServer
from tests.shared import restart_ended, shared


def pytest_sessionstart() -> None:
    """Let Ctrl-C reach the programs under test, which a shell's background jobs ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The real embedded Triton on the kit's own model repository."""
    with shared(EmbeddedServer(http_port=0)) as running:
        yield running


@pytest.fixture(autouse=True)
def servers_live() -> Iterator[None]:
    """Fail the test during which a shared server ended."""
    yield
    if said := restart_ended():
        pytest.fail(said, pytrace=False)


@pytest.fixture
def public_path(tmp_path: Path) -> Path:
    """The test's own folder, which other users may enter too."""
    for folder in (tmp_path, *tmp_path.parents):
        # Any of them may be shut again: another run of pytest shuts the folder of all runs.
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)
    return tmp_path

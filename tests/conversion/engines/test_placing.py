"""A new engine put in place: whole, or not at all."""

from __future__ import annotations

import errno
import os
import pkgutil
from collections.abc import Callable

import pytest

from conversion.errors import BuildError
from facekit.engines.manifest import read_manifest
from tests.conversion.engines.bench import Bench

# The steps of putting a new engine in place, as what they call.
STEPS = [
    ("shutil.copyfile", 1),
    ("pathlib.Path.write_text", 1),
    ("os.fsync", 1),
    ("os.fsync", 2),
    ("pathlib.Path.replace", 1),
    ("pathlib.Path.replace", 2),
]


def fail_at(
    monkeypatch: pytest.MonkeyPatch, step: str, number: int, fault: Callable[[], None]
) -> None:
    """Let the call of that number fail, and half of what it would write be written."""
    function, calls = pkgutil.resolve_name(step.replace("pathlib.Path", "pathlib:Path")), []

    def failing(*arguments: object, **options: object) -> object:
        calls.append(step)
        if len(calls) != number:
            return function(*arguments, **options)
        if step in ("shutil.copyfile", "pathlib.Path.write_text"):
            function(*arguments, **options)
            written = arguments[1] if step == "shutil.copyfile" else arguments[0]
            os.truncate(str(written), 100)
        return fault()

    monkeypatch.setattr(step, failing)


def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("fault", [disk_full, interrupted])
@pytest.mark.parametrize(("step", "number"), STEPS)
def test_engine_that_cannot_be_put_in_place_leaves_the_old_pair(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
    fault: Callable[[], None],
) -> None:
    bench.begin_with_engine()
    before = {path.name: path.read_bytes() for path in bench.engine.parent.iterdir()}
    with monkeypatch.context() as patched:
        fail_at(patched, step, number, fault)
        with pytest.raises((BuildError, KeyboardInterrupt)):
            bench.build()
    assert {path.name: path.read_bytes() for path in bench.engine.parent.iterdir()} == before


def test_first_engine_that_cannot_be_put_in_place_leaves_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, "pathlib.Path.replace", 2, disk_full)
        assert "No space left on device; check that there is free space" in bench.failure()
    assert [path.name for path in bench.engine.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(("step", "number"), STEPS)
def test_run_killed_while_it_puts_an_engine_in_place_shows_no_half_of_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    old = bench.begin_with_engine()
    child = os.fork()
    if child == 0:
        fail_at(monkeypatch, step, number, lambda: os._exit(9))
        bench.build()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert read_manifest(bench.repository, "facenet") == old
    assert bench.engine.read_bytes().endswith(b"END\n")
    if (step, number) == STEPS[-1]:
        assert "the one that its plan.json describes (SHA-256)" in (bench.reason() or "")
    else:
        assert bench.reason() is None
    bench.build()
    assert bench.reason() is None
    assert len(list(bench.engine.parent.iterdir())) == 3

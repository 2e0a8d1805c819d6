from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from facekit.client.connection import Connection
from facekit.errors import DeadlineError, FacekitError, ServerUnavailableError
from facekit.serving import EmbeddedServer
from facekit.serving.health import ModelHealth, Prober, check
from facekit.serving.probing import BackgroundProber
from tests.addresses import Proxy, own_address
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for


def first_failure(
    server: EmbeddedServer, cpu_s: Callable[[], float], timeout_s: float = 30
) -> tuple[str, FacekitError] | None:
    connection = Connection(server.grpc_url, timeout_s=0.5)
    with BackgroundProber(connection, 0.05, cpu_s, wanted_s=lambda: 0.0) as prober:
        wait_for(lambda: prober.failure is not None, timeout_s)
        return prober.failure


def test_working_server_has_no_failure(tiny_server: EmbeddedServer, tiny_model: Path) -> None:
    assert first_failure(tiny_server, lambda: 0.0, timeout_s=1) is None


def test_error_of_the_model_is_a_failure(tiny_server: EmbeddedServer, tiny_model: Path) -> None:
    (tiny_model / "fail").touch()

    failure = first_failure(tiny_server, lambda: 0.0)

    assert failure is not None
    assert failure[0] == "faces"
    assert "it fails" in str(failure[1])


def test_hanging_and_idle_backend_is_a_failure(
    tiny_server: EmbeddedServer, tiny_model: Path
) -> None:
    (tiny_model / "hang").touch()

    failure = first_failure(tiny_server, lambda: 7.0)

    assert failure is not None
    assert isinstance(failure[1], DeadlineError)


def test_busy_backend_is_given_time(tiny_server: EmbeddedServer, tiny_model: Path) -> None:
    (tiny_model / "hang").touch()
    busy = itertools.count(0.0, 0.5)

    # Three missed deadlines are no failure yet, and eight are.
    assert first_failure(tiny_server, lambda: next(busy), timeout_s=1.8) is None
    failure = first_failure(tiny_server, lambda: next(busy))

    assert failure is not None
    assert isinstance(failure[1], DeadlineError)


@pytest.mark.parametrize("starved", [True, False])
def test_server_that_does_not_tell_its_statistics(
    starved: bool, tiny_server: EmbeddedServer, tiny_model: Path
) -> None:
    assert tiny_server.pid is not None
    wanted = itertools.count(0.0, 0.5 if starved else 0.0)
    connection = Connection(tiny_server.grpc_url, timeout_s=0.5)
    with BackgroundProber(connection, 0.05, lambda: 7.0, lambda: next(wanted)) as prober:
        time.sleep(0.3)
        os.kill(tiny_server.pid, signal.SIGSTOP)
        try:
            failed = wait_for(lambda: prober.failure is not None, 1.5 if starved else 30)
        finally:
            os.kill(tiny_server.pid, signal.SIGCONT)

        assert failed is not starved
        failure = prober.failure
        if failure is not None:
            assert isinstance(failure[1], DeadlineError)


def test_own_address_is_probed_past_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "elsewhere.example")
        with EmbeddedServer(tiny_repository(tmp_path), address=own_address()) as server:
            assert first_failure(server, lambda: 0.0, timeout_s=0.5) is None
            assert check(server.grpc_url).ok
            with Prober(server.connection(10)) as prober:
                assert sum(prober.counts(10)["faces"]) > 2
        assert not proxy.asked


class Script:
    """Stands in for ``Prober``: plays back what each kind of call gives, then what is usual."""

    def __init__(self, **calls: list[object]) -> None:
        self.calls = calls
        self.asked: list[tuple[str, float]] = []
        self.totals = {"faces": 0, "photo_check": 0}

    def served(self, timeout_s: float) -> tuple[str, ...]:
        self._next("served", timeout_s)
        return ("faces",)

    def counts(self, timeout_s: float) -> dict[str, tuple[int, int]]:
        self._next("counts", timeout_s)
        return {name: (total, 0) for name, total in self.totals.items()}

    def probe(self, name: str, timeout_s: float) -> ModelHealth:
        try:
            self._next("probe", timeout_s)
        except FacekitError as error:
            return ModelHealth(name, 0.0, error)
        self.totals[name] += 1
        return ModelHealth(name, 0.0, None)

    def close(self) -> None:
        pass

    def _next(self, call: str, timeout_s: float) -> None:
        self.asked.append((call, timeout_s))
        step = self.calls[call].pop(0) if self.calls.get(call) else None
        if callable(step):
            step = step(self)
        if isinstance(step, FacekitError):
            raise step


LATE = DeadlineError("no answer")
REFUSED = ServerUnavailableError("connection refused")


def played(
    monkeypatch: pytest.MonkeyPatch,
    script: Script,
    cpu_s: Callable[[], float] = lambda: 0.0,
    wanted_s: Callable[[], float] = lambda: 0.0,
    calls: int = 40,
) -> tuple[str, FacekitError] | None:
    """Return the failure that the script makes, ``None`` if so many calls make none."""
    monkeypatch.setattr("facekit.serving.probing.Prober", lambda connection: script)
    connection = Connection("127.0.0.1:8001", timeout_s=15)
    with BackgroundProber(connection, 0.001, cpu_s, wanted_s) as prober:
        assert wait_for(lambda: prober.failure is not None or len(script.asked) >= calls)
        assert prober.remark is None
        return prober.failure


@pytest.mark.parametrize("call", ["served", "counts", "probe"])
def test_one_slow_call_gets_a_second_look(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(**{call: [LATE]})

    assert played(monkeypatch, script) is None
    first = [timeout_s for asked, timeout_s in script.asked if asked == call][:2]
    assert first == [15, 5]


@pytest.mark.parametrize("call", ["served", "counts", "probe"])
def test_second_slow_call_of_an_idle_server_is_a_failure(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = played(monkeypatch, Script(**{call: [LATE, LATE]}))

    assert failure == ("faces" if call == "probe" else "", LATE)


@pytest.mark.parametrize("call", ["served", "counts", "probe"])
@pytest.mark.parametrize("step_s", [(0.6, 0.0), (0.0, 2.6)], ids=["computes", "starved"])
def test_slow_calls_of_a_busy_server_are_no_failure_until_the_eighth(
    call: str, step_s: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between two looks of 5 s: more than a tenth of a core used, or half of one wanted.
    def late(count: int) -> tuple[str, FacekitError] | None:
        cpu, wanted = (itertools.count(0.0, step) for step in step_s)
        script = Script(**{call: [LATE] * count})
        # Statistics are asked for in between as well, in vain where they are what is late.
        return played(monkeypatch, script, lambda: next(cpu), lambda: next(wanted))

    assert late(6) is None
    assert late(40) is not None


@pytest.mark.parametrize("step_s", [(0.4, 0.0), (0.0, 2.4)])
def test_heartbeats_are_no_work(
    step_s: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, wanted = (itertools.count(0.0, step) for step in step_s)
    script = Script(probe=[LATE, LATE])

    assert played(monkeypatch, script, lambda: next(cpu), lambda: next(wanted)) is not None


@pytest.mark.parametrize(("counted", "failed"), [("faces", False), ("photo_check", True)])
def test_answers_to_others_excuse_a_slow_one_but_not_its_own_first_steps(
    counted: str, failed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(script: Script) -> FacekitError:
        script.totals[counted] += 1
        return LATE

    script = Script(probe=[late] * 40)

    assert (played(monkeypatch, script, calls=100) is not None) is failed


@pytest.mark.parametrize("call", ["served", "counts", "probe"])
def test_refused_call_is_a_failure_at_the_second_look(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = itertools.count(0.0, 9.0)

    assert played(monkeypatch, Script(**{call: [REFUSED]})) is None
    script = Script(**{call: [REFUSED, REFUSED]})
    failure = played(monkeypatch, script, lambda: next(busy), lambda: next(busy))

    assert failure == ("faces" if call == "probe" else "", REFUSED)

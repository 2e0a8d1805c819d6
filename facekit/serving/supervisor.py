"""Keeps a server working: notices a dead or broken one and starts it again.

Triton never replaces a backend process that died; it goes on reporting that it is ready and fails
every request of that model. So the processes are watched here, and real inferences are run while no
caller's requests show that the models work.
"""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from facekit.engines.releases import known_holes
from facekit.errors import ConfigError, DeadlineError, FacekitError
from facekit.serving import processes
from facekit.serving.health import Prober
from facekit.serving.probing import BackgroundProber
from facekit.serving.server import TritonServer
from facekit.serving.watching import Bell, EndWatch

START_TIMEOUT_S = 300.0
"""Seconds that a start may take."""

# Seconds between two inferences of its own while nobody sends requests.
_PROBE_INTERVAL_S = 2.0
# A call without an answer for so long gets a second look, and then counts as failed unless the
# server is seen to work or to be starved; see `BackgroundProber`.
_PROBE_TIMEOUT_S = 15.0
_VERSION_TIMEOUT_S = 2.0
# How often the TLS files are looked at.
_RENEWAL_S = 1.0
# What a killed process may take to end.
_DYING_S = 0.5
# Waits before the first, second, ... restart in a row; the last one repeats.
_BACK_OFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# A server that lived this long was not broken by what broke its predecessor.
_STABLE_S = 60.0

_RENEWED = "the TLS certificate was renewed"
_SERVER_DIED = "the server process died"
_GATEWAY_DIED = "the HTTP gateway died"


class _Stopped(BaseException):
    """A signal came while a start still checked."""


class Supervisor:
    """Runs a server, not started yet, until it is told to stop; tells ``say`` all that happens."""

    def __init__(self, server: TritonServer, say: Callable[[str], None]) -> None:
        self._server = server
        self._say = say
        self._signals = 0
        self._bell = Bell()

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP; a second one ends everything at once.

        Raises FacekitError or OSError if the first start failed; later ones are retried for ever.
        """
        processes.adopt_orphans()
        handlers = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            # `nohup` has that one ignored.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        }
        # When a child ends, there is only to wake up, by the bell, and reap it.
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        # A signal that reaches another thread interrupts no wait of this one; the bell does.
        wakeup = signal.set_wakeup_fd(self._bell.writer, warn_on_full_buffer=False)
        try:
            try:
                self._start()
            except (FacekitError, OSError, _Stopped):
                if not self._stopping():
                    raise
            if not self._stopping():
                self._say(self._where("ready"))
                if holes := self._known_holes():
                    self._say(holes)
                self._keep_up()
        finally:
            try:
                if self._stopping():
                    self._say("stopping")
            finally:
                self._server.stop()
                processes.reap_orphans()
                signal.set_wakeup_fd(wakeup)
                for number, handler in handlers.items():
                    signal.signal(number, handler)

    def stop(self) -> None:
        """Make ``run`` return, as the first signal does."""
        self._signals += 1
        self._bell.ring()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            self._server.abort()
        if self._server.checking:
            # The check may never end: a driver that hangs, a disk that is gone.
            self._server.checking = False
            raise _Stopped

    def _stopping(self) -> bool:
        return self._signals > 0

    def _start(self) -> None:
        self._server.start()
        self._server.wait_ready(START_TIMEOUT_S, self._stopping, keep_gateway=True)
        if not self._stopping():
            for note in self._server.notes:
                self._say(note)

    def _known_holes(self) -> str:
        with Prober(self._server.connection(_VERSION_TIMEOUT_S)) as prober:
            return known_holes(prober.version(_VERSION_TIMEOUT_S))

    def _keep_up(self) -> None:
        """Watch the server, and restart it as often as needed, until a signal comes."""
        failures = 0  # starts in a row that were needed
        problem: str | None = None
        while not self._stopping():
            if problem is None:
                started = time.monotonic()
                problem = self._watch()
                if problem is None:
                    return
                if time.monotonic() - started > _STABLE_S:
                    failures = 0
            wait_s = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
            when = f"in {wait_s:g} s" if wait_s else "now"
            what = "it" if problem == _GATEWAY_DIED else "the server"
            self._say(f"{problem}; {what} is restarted {when}")
            noticed = time.monotonic()
            if problem == _RENEWED:
                self._server.stop()
            elif problem != _GATEWAY_DIED:
                self._server.kill(gateway=False)
            self._pause(wait_s)
            failures += 1
            if self._stopping():
                return
            try:
                if problem == _GATEWAY_DIED:
                    self._server.start_gateway()
                else:
                    self._start()
            except (FacekitError, OSError) as error:
                problem = _line(error)
            except _Stopped:
                return
            else:
                problem = None
                if not self._stopping():
                    self._say(self._where(f"ready again after {time.monotonic() - noticed:.1f} s"))

    def _watch(self) -> str | None:
        """Return what broke the server, or None at a signal."""
        pid = self._server.pid
        if pid is None:
            return "the server ended while it started"
        children = processes.children(pid)
        names = {child.pid: processes.model_instance(child.pid) for child in children}
        stubs = [child for child in children if child.alive and names[child.pid]]
        server, itself = processes.read(pid), processes.read(os.getpid())
        if server is None or itself is None:
            return _SERVER_DIED
        gateway = None
        if self._server.gateway is not None:
            gateway = processes.read(self._gateway_pid() or 0)
            if gateway is None:
                return _GATEWAY_DIED
        works = [*stubs, server] if self._server.computes else stubs
        try:
            connection = self._server.connection(_PROBE_TIMEOUT_S)
        except ConfigError as error:
            return f"the server cannot be reached: {error}"
        with (
            EndWatch(list(filter(None, [server, *stubs, gateway])), self._bell) as watch,
            BackgroundProber(
                connection,
                _PROBE_INTERVAL_S,
                cpu_s=lambda: processes.cpu_seconds(works),
                wanted_s=lambda: processes.wanted_seconds([server, *stubs, itself]),
                notify=self._bell.ring,
            ) as prober,
        ):
            remark = None
            while not self._stopping():
                ended = watch.wait(_RENEWAL_S if self._server.encrypted else None)
                failure = prober.failure
                if failure is not None and not ended:
                    # The connections of a process that dies end before the process does.
                    ended = watch.wait(_DYING_S)
                processes.reap_orphans(keep=(pid, self._gateway_pid()))
                if self._stopping():
                    break
                if server in ended:
                    return _SERVER_DIED
                if gateway in ended:
                    return _GATEWAY_DIED
                for stub in ended:
                    return f"the backend process of {names[stub.pid]} died"
                if self._server.renewed():
                    return _RENEWED
                if failure is not None:
                    return _described(failure)
                if prober.remark != remark:
                    remark = prober.remark
                    self._say(f"{remark}; only the processes are watched")
        return None

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with EndWatch((), self._bell) as nothing:
            while (left_s := deadline - time.monotonic()) > 0 and not self._stopping():
                nothing.wait(left_s)
                processes.reap_orphans(keep=(self._gateway_pid(),))

    def _gateway_pid(self) -> int | None:
        return None if self._server.gateway is None else self._server.gateway.pid

    def _where(self, state: str) -> str:
        server = self._server
        scheme = "https" if server.encrypted else "http"
        http = f"HTTP {scheme}://{server.http_url}, " if server.gateway else ""
        token = "; callers need a token" if server.asks_for_tokens else ""
        return f"{state}: gRPC {server.grpc_url}, {http}metrics {server.metrics_url}{token}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _described(failure: tuple[str, FacekitError]) -> str:
    name, error = failure
    if not name:
        problem = "asking the server for its models and statistics failed"
        return f"{problem}: {_line(error)}"
    if isinstance(error, DeadlineError):
        return f"a real inference of {name} got {error}, nor was any other request answered"
    return f"a real inference of {name} failed: {_line(error)}"

"""Runs inferences in the background, as few as needed to know that the models work."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType

from facekit.client.connection import Connection
from facekit.errors import DeadlineError, FacekitError
from facekit.serving.health import PROBED, Prober

# A backend that hangs uses no processor time; one that computes uses a core.
_IDLE_SHARE = 0.1
# Unanswered inferences in a row that are too many even then: some loop does not end.
_MISSES = 8
# The second look at a model that did not answer may be shorter than the first.
_SECOND_LOOK = 1 / 3
# What callers send shows that a model works, but not that it works for all of them.
_PROBE_ANYWAY_S = 10.0


class BackgroundProber:
    """A thread that asks one model after the other, but for those that answer callers anyway.

    Args:
        connection: where the server is, and how long an inference may take.
        interval_s: seconds between two inferences.
        cpu_s: returns the processor time that the server's backend processes have used.
    """

    def __init__(
        self, connection: Connection, interval_s: float, cpu_s: Callable[[], float]
    ) -> None:
        self._prober = Prober(connection)
        self._timeout_s = connection.timeout_s
        self._cpu_s = cpu_s
        self._misses = 0
        self._interval_s = interval_s
        self._failure: tuple[str, FacekitError] | None = None
        self._remark: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facekit-probe", daemon=True)

    def failure(self) -> tuple[str, FacekitError] | None:
        """Return the model that failed and its error, once there is one."""
        return self._failure

    def remark(self) -> str | None:
        """Return why nothing is probed, if so."""
        return self._remark

    def __enter__(self) -> BackgroundProber:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; an inference under way is given up."""
        self._closing.set()
        self._prober.close()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        try:
            self._probe_on()
        except FacekitError as error:
            self._report("", error)
        except Exception as error:
            # Some of them are what gRPC raises if the connection is closed meanwhile.
            if not self._closing.is_set():
                self._remark = f"the probing of the models ended by {error!r}"

    def _probe_on(self) -> None:
        names = self._prober.served()
        if not names:
            self._remark = f"none of {', '.join(PROBED)} is served, so none is probed"
        seen: dict[str, tuple[int, int]] = {}
        probed: dict[str, float] = {}
        for name in itertools.cycle(names):
            successes, failures = self._prober.counts().get(name, (0, 0))
            before = seen.get(name)
            # What callers sent shows as well that the model works.
            answers = before is not None and successes > before[0] and failures == before[1]
            due = time.monotonic() - probed.get(name, 0.0) > _PROBE_ANYWAY_S
            if due or not answers:
                # A single failure may have a passing reason; a restart ends every request.
                failure = self._failed(name, self._timeout_s)
                if failure is not None:
                    failure = self._failed(name, self._timeout_s * _SECOND_LOOK)
                if failure is not None:
                    self._report(name, failure)
                    return
                probed[name] = time.monotonic()
                successes, failures = self._prober.counts().get(name, (0, 0))
            seen[name] = successes, failures
            if self._closing.wait(self._interval_s):
                return

    def _failed(self, name: str, timeout_s: float) -> FacekitError | None:
        successes, cpu_s = self._successes(), self._cpu_s()
        error = self._prober.probe(name, timeout_s).error
        if not isinstance(error, DeadlineError):
            self._misses = 0
            return error
        # No answer in time: the server hangs, or works off what others sent, one request of which
        # may be a minute's work.
        self._misses += 1
        if self._successes() > successes:
            self._misses = 0
            return None
        works = self._cpu_s() - cpu_s > _IDLE_SHARE * timeout_s
        return None if works and self._misses < _MISSES else error

    def _successes(self) -> int:
        return sum(successes for successes, _ in self._prober.counts().values())

    def _report(self, name: str, error: FacekitError) -> None:
        if not self._closing.is_set():
            self._failure = (name, error)

"""Runs inferences in the background, as few as needed to know that the models work."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from types import TracebackType

from facekit.client.connection import Connection
from facekit.errors import DeadlineError, FacekitError
from facekit.serving.health import Prober

# A backend that hangs uses no processor time; one that computes uses a core.
_IDLE_SHARE = 0.1
# Unanswered inferences in a row that are too many even then: some loop does not end.
_MISSES = 8


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
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facekit-probe", daemon=True)

    def failure(self) -> tuple[str, FacekitError] | None:
        """Return the model that failed and its error, once there is one."""
        return self._failure

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
            seen: dict[str, int] = {}
            for name in itertools.cycle(self._prober.served()):
                answered = self._prober.successes().get(name, 0)
                # What callers sent shows as well that the model works.
                if seen.get(name) in (None, answered):
                    failure = self._failed(name)
                    if failure is not None:
                        self._report(name, failure)
                        return
                    answered = self._prober.successes().get(name, 0)
                seen[name] = answered
                if self._closing.wait(self._interval_s):
                    return
        except FacekitError as error:
            self._report("its statistics", error)
        except ValueError:
            # What gRPC raises if the connection is closed meanwhile.
            if not self._closing.is_set():
                raise

    def _failed(self, name: str) -> FacekitError | None:
        successes, cpu_s = sum(self._prober.successes().values()), self._cpu_s()
        error = self._prober.probe(name).error
        if not isinstance(error, DeadlineError):
            self._misses = 0
            return error
        # No answer in time: the server hangs, or works off what others sent, one request of which
        # may be a minute's work.
        self._misses += 1
        if sum(self._prober.successes().values()) > successes:
            self._misses = 0
            return None
        works = self._cpu_s() - cpu_s > _IDLE_SHARE * self._timeout_s
        return None if works and self._misses < _MISSES else error

    def _report(self, name: str, error: FacekitError) -> None:
        if not self._closing.is_set():
            self._failure = (name, error)

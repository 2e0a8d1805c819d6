"""Runs inferences in the background, as few as needed to know that the models work."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from facekit.client.connection import Connection
from facekit.closing import Closing
from facekit.errors import DeadlineError, FacekitError
from facekit.serving.health import PROBED, Prober

# A backend that hangs uses no processor time; one that computes uses a core.
_IDLE_SHARE = 0.1
# What a server does that is starved of processor time moves from thread to thread: at most times
# one of them runs or waits for a core. The heartbeats of one that hangs add up to much less, unless
# the machine is starved as well.
_STARVED_SHARE = 0.5
# Unanswered calls in a row that are too many even then: some loop does not end.
_MISSES = 8
# The second look at what did not answer may be shorter than the first.
_SECOND_LOOK = 1 / 3
# Statistics that are asked for beside a call that did not answer may not take as long again.
_GLANCE_S = 1.0
# What callers send shows that a model works, but not that it works for all of them.
_PROBE_ANYWAY_S = 10.0

Answer = TypeVar("Answer")


class BackgroundProber(Closing):
    """A thread that asks one model after the other, but for those that answer callers anyway.

    One rule holds for every call, an inference or not: what fails is asked once more at once. What
    does not answer then either has failed, unless others got answers meanwhile, or the server is
    seen to compute or to be starved of processor time; and then too after ``_MISSES`` in a row.

    Args:
        connection: Where the server is, and how long a call may take.
        interval_s: Seconds between two inferences.
        cpu_s: Returns the processor time that the server's backend processes have used.
        wanted_s: Returns the time that all processes which an answer takes have used or waited for.
        notify: Called by the thread when there is a failure or a remark.

    Attributes:
        failure: Which model failed, and its error; "" for the model where the server did not
            answer what it serves or has done. None until then.
        remark: Why no model is probed, if so.
    """

    def __init__(
        self,
        connection: Connection,
        interval_s: float,
        cpu_s: Callable[[], float],
        wanted_s: Callable[[], float],
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self.failure: tuple[str, FacekitError] | None = None
        self.remark: str | None = None
        self._prober = Prober(connection)
        self._timeout_s = connection.timeout_s
        self._interval_s = interval_s
        self._cpu_s, self._wanted_s, self._notify = cpu_s, wanted_s, notify
        self._misses: Counter[str] = Counter()
        self._answered = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facekit-probe", daemon=True)

    def __enter__(self) -> BackgroundProber:
        """Start."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop; an inference under way is given up."""
        self._closing.set()
        self._prober.close()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        try:
            self._probe_on()
        except FacekitError:  # `failure` has it
            pass
        except Exception as error:
            # Some of them are what gRPC raises if the connection is closed meanwhile.
            self.remark = f"the probing of the models ended by {error!r}"
        if not self._closing.is_set():
            self._notify()

    def _probe_on(self) -> None:
        while (names := self._asked("", self._prober.served)) is None:
            if self._closing.wait(self._interval_s):
                return
        if not names:
            self.remark = f"none of {', '.join(PROBED)} is served, so none is probed"
        seen: dict[str, tuple[int, int]] = {}
        probed: dict[str, float] = {}
        for name in itertools.cycle(names):
            counts = self._asked("", self._counts)
            before = seen.pop(name, None)
            successes, failures = (counts or {}).get(name, (0, 0))
            # What callers sent shows as well that the model works.
            answers = before is not None and successes > before[0] and failures == before[1]
            due = time.monotonic() - probed.get(name, 0.0) > _PROBE_ANYWAY_S
            if (due or not answers) and self._asked(name, partial(self._probe, name)):
                probed[name] = time.monotonic()
                # Its own inference does not count as a caller's.
                successes += 1
            if counts is not None:
                seen[name] = successes, failures
            if self._closing.wait(self._interval_s):
                return

    def _asked(self, model: str, ask: Callable[[float], Answer]) -> Answer | None:
        """Return what a call gives, or None if it gave nothing for reasons that may pass.

        ``ask`` takes the seconds that it may last; ``model`` is for ``failure``, which is set when
        FacekitError is raised: the server or the model does not work.
        """
        try:
            return self._met(model, ask, self._timeout_s)
        except FacekitError:
            # It may have a passing reason, and a restart ends every request.
            cpu_s, wanted_s = self._cpu_s(), self._wanted_s()
        timeout_s = self._timeout_s * _SECOND_LOOK
        try:
            return self._met(model, ask, timeout_s)
        except FacekitError as error:
            # Without an answer the server hangs, or is slow: it works off what others sent, one
            # request of which may be a minute's work, or gets no processor time.
            if isinstance(error, DeadlineError):
                if self._others_answered():
                    self._misses[model] = 0
                    return None
                slow = (
                    self._cpu_s() - cpu_s > _IDLE_SHARE * timeout_s
                    or self._wanted_s() - wanted_s > _STARVED_SHARE * timeout_s
                )
                if slow and self._misses[model] < _MISSES:
                    return None
            self.failure = (model, error)
            raise

    def _met(self, model: str, ask: Callable[[float], Answer], timeout_s: float) -> Answer:
        try:
            answer = ask(timeout_s)
        except DeadlineError:
            self._misses[model] += 1
            raise
        self._misses[model] = 0
        return answer

    def _probe(self, name: str, timeout_s: float) -> bool:
        error = self._prober.probe(name, timeout_s).error
        if error is not None:
            raise error
        return True

    def _counts(self, timeout_s: float) -> dict[str, tuple[int, int]]:
        counts = self._prober.counts(timeout_s)
        self._answered = _answered(counts)
        return counts

    def _others_answered(self) -> bool:
        """Return whether any model has answered since the statistics were last seen."""
        try:
            counts = self._prober.counts(min(_GLANCE_S, self._timeout_s * _SECOND_LOOK))
        except FacekitError:
            return False
        return _answered(counts) > self._answered


def _answered(counts: dict[str, tuple[int, int]]) -> int:
    # Not those of an ensemble's steps: the probe of one whose last step hangs passes the first.
    return sum(successes for name, (successes, _) in counts.items() if name in PROBED)

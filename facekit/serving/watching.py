"""Waits for the end of processes without looking at them again and again."""

import contextlib
import os
import select
import weakref
from collections.abc import Sequence

from facekit.closing import Closing
from facekit.serving.processes import Process, still_runs

# How often a process is looked at whose end the kernel does not report.
_LOOK_S = 0.2


class Bell:
    """Ends an ``EndWatch.wait`` of another thread, or of the one that a signal interrupts.

    While it rings, the descriptor ``reader`` is readable; each byte to ``writer`` rings, as
    ``signal.set_wakeup_fd`` wants it.
    """

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # With the object, since whoever rings may not know that nobody waits any more.
        weakref.finalize(self, _close, self.reader, self.writer)

    def ring(self) -> None:
        """End the wait under way, or else the next one."""
        with contextlib.suppress(BlockingIOError):  # then it rings already
            os.write(self.writer, b"\0")

    def silence(self) -> None:
        """Forget every ring so far."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, 4096):
                pass


class EndWatch(Closing):
    """Waits until one of some processes ends, or the bell rings.

    The kernel reports both, so that waiting costs nothing.
    """

    def __init__(self, watched: Sequence[Process], bell: Bell) -> None:
        self._bell = bell
        self._poll = select.poll()
        self._poll.register(bell.reader, select.POLLIN)
        self._reported: dict[int, Process] = {}
        self._unreported: list[Process] = []
        for process in watched:
            descriptor = _descriptor(process)
            if descriptor is None:
                self._unreported.append(process)
            else:
                self._reported[descriptor] = process
                self._poll.register(descriptor, select.POLLIN)

    def wait(self, timeout_s: float | None = None) -> list[Process]:
        """Wait for an end, the bell or the timeout; return the processes that have ended."""
        if self._unreported:
            timeout_s = _LOOK_S if timeout_s is None else min(timeout_s, _LOOK_S)
        ready = self._poll.poll(None if timeout_s is None else timeout_s * 1e3)
        self._bell.silence()
        ended = [self._reported[each] for each, _ in ready if each in self._reported]
        return ended + [process for process in self._unreported if not still_runs(process)]

    def close(self) -> None:
        """Close the descriptors."""
        _close(*self._reported)


def _descriptor(process: Process) -> int | None:
    """Return what becomes readable when the process ends; None if there is no such thing."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (OSError, AttributeError):
        # It has ended, or the kernel is older than 5.3, or a sandbox forbids it; or this Python was
        # built where the kernel's headers did not have the call.
        return None
    if still_runs(process):
        return descriptor
    # Perhaps that of a later process of the same id.
    os.close(descriptor)
    return None


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)

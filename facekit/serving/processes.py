"""Processes: started as children that end with this one, and read from Linux's ``/proc``."""

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from facekit.errors import SetupError
from facekit.serving.limits import ProcessLimits

_PROC = Path("/proc")
_LAUNCHER = Path(__file__).with_name("launcher.py")
_STUB = "triton_python_backend_stub"
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Process:
    """One process; ``started`` tells it from a later process of the same id."""

    pid: int
    parent: int
    state: str
    """One letter, as Linux has it."""
    started: str
    cpu_s: float
    """Processor time used, in seconds."""

    @property
    def alive(self) -> bool:
        """Whether it still runs: a zombie has a process id, and is dead."""
        return self.state not in ("Z", "X", "x")


def spawn(
    command: list[str], environment: dict[str, str], output: int, limits: ProcessLimits
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches only this process.

    The kernel ends the child with the *thread* that started it, so one thread stays with it. The
    descriptor ``output`` becomes its standard output and standard error. Raises SetupError if it
    can't be started.
    """
    started: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
    launcher += [str(limits.stack_bytes), str(limits.open_files), "--"]

    def keep() -> None:
        try:
            process = subprocess.Popen(
                [*launcher, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            started.put(error)
        else:
            started.put(process)
            process.wait()

    threading.Thread(target=keep, name="facekit-server", daemon=True).start()
    result = started.get()
    if isinstance(result, OSError):
        raise SetupError(f"Cannot start {command[0]}: {result.strerror}.") from result
    return result


def read(pid: int) -> Process | None:
    """Return the process with this id, if there is one."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets, and may hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Process(
        pid=pid,
        parent=int(fields[1]),
        state=fields[0],
        started=fields[19],
        cpu_s=ticks / os.sysconf("SC_CLK_TCK"),
    )


def children(parent: int) -> list[Process]:
    """Return the child processes of a process."""
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    found = [process for pid in pids if (process := read(pid)) is not None]
    return [process for process in found if process.parent == parent]


def still_runs(process: Process) -> bool:
    """Return whether the very process that was read before is alive now."""
    now = read(process.pid)
    return now is not None and now.alive and now.started == process.started


def cpu_seconds(group: Iterable[Process]) -> float:
    """Return the processor time that these processes have used by now."""
    return sum(now.cpu_s for process in group if (now := read(process.pid)) is not None)


def wanted_seconds(group: Iterable[Process]) -> float:
    """Return the time that threads of these processes have run or waited for a free core by now.

    A thread that is starved of processor time waits for it; one that hangs asks for none.
    """
    wanted_ns = 0
    for process in group:
        for thread in (_PROC / str(process.pid) / "task").glob("*/schedstat"):
            # A thread may have just ended, or the kernel keep no such counts.
            with contextlib.suppress(OSError, ValueError):
                # Time on a core, time waiting for one, number of turns (kernel: sched-stats.rst).
                ran_ns, waited_ns, *_ = thread.read_text("ascii").split()
                wanted_ns += int(ran_ns) + int(waited_ns)
    return wanted_ns / 1e9


def arguments(pid: int) -> list[str]:
    """Return a process's command line; nothing if it is gone."""
    try:
        text = (_PROC / str(pid) / "cmdline").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.split("\0")[:-1]


def model_instance(pid: int) -> str:
    """Return the model instance that a process of Triton's Python backend serves.

    It is "" of any other process, and of one that is dead, which has no arguments.
    """
    command = arguments(pid)
    # The last argument but one.
    return command[-2] if len(command) > 1 and Path(command[0]).name == _STUB else ""


def exit_reason(code: int) -> str:
    """Return how a process ended, from its exit code, which is negative after a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    hint = " (is there enough memory?)" if -code == signal.SIGKILL else ""
    try:
        name = signal.Signals(-code).name
    except ValueError:  # most real-time signals have no name
        name = f"signal {-code}"
    return f"was ended by {name}{hint}"


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that it can reap them.

    In a container this process is often the first one, and no other would.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(keep: Collection[int | None] = ()) -> None:
    """Reap the zombies among this process's children, except those of the ids ``keep``."""
    try:
        # Usually there is none, and to look through all processes for it would cost much more.
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
    except ChildProcessError:
        return
    for process in children(os.getpid()):
        if process.pid not in keep and not process.alive:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)

"""The operating system's limits under which a server is started: thread stacks and open files."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from facekit.errors import SetupError

MIB = 2**20
# Triton's HTTP front ends, of which the metrics' is open to this machine, copy a form-encoded body
# to the stack of their thread, twice, and a list of the chunks of a chunked body (16 bytes each).
# What does not fit ends the whole server. It is address space: only what a request touches becomes
# memory.
STACK_BYTES = 512 * MIB
# Stacks below this are too small for one photo of the largest size sent as a form.
_STACK_WANTED = 80 * MIB
# glibc's usual stack, for "unlimited": it would take 2 MiB then.
_STACK_DEFAULT = 8 * MIB
# The server's threads with every model of the kit: 696, on any number of cores.
_THREADS = 1000
# Every connection takes one; the server itself takes 82 with every model of the kit.
_OPEN_FILES = 65536
_OPEN_FILES_MINIMUM = 256
_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessLimits:
    """Soft limits for a server process: of every thread's stack, and of open files.

    ``note`` is a sentence for the user where the stack is too small for large requests, or "".
    """

    stack_bytes: int
    open_files: int
    note: str = ""


def process_limits() -> ProcessLimits:
    """Choose the limits of a server from those of this process.

    Raises SetupError if too few files may be open at a time.
    """
    soft, hard = map(_finite, resource.getrlimit(resource.RLIMIT_NOFILE))
    if hard < _OPEN_FILES_MINIMUM:
        raise SetupError(
            f"A process may open {hard} files here and the server needs {_OPEN_FILES_MINIMUM}, and "
            f"one more for each connection: raise the limit, as with ulimit -n 4096 (Docker: "
            f"--ulimit nofile=4096; systemd: LimitNOFILE=4096)."
        )
    stack_bytes, note = _stack()
    return ProcessLimits(stack_bytes, max(soft, min(hard, _OPEN_FILES)), note)


def _stack() -> tuple[int, str]:
    """Return the bytes of a thread's stack, and a note if that is little."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    hard = _finite(hard)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # The kernel refuses a mapping that is larger than the memory, and a body that fills a quarter
    # of it with stack takes more than all of it altogether.
    sizes = {
        "hard limit of the stack (ulimit -Hs)": hard,
        "memory": memory // 4,
        "limit of the address space (ulimit -v, ulimit -d, vm.overcommit_memory)": (
            _address_space() // 2 // _THREADS
        ),
    }
    reason, size = min(sizes.items(), key=lambda item: item[1])
    # Never less than what was given, which is what the server would have without this.
    given = _STACK_DEFAULT if soft == resource.RLIM_INFINITY else soft
    size = min(max(min(size, STACK_BYTES), given), hard) // MIB * MIB or given
    if size >= _STACK_WANTED:
        return size, ""
    return size, (
        f"threads get {size // MIB} MiB of stack because of this machine's {reason}: an HTTP body "
        f"sent as a form ends the server above {size // (2 * MIB)} MiB, so send Content-Type: "
        f"application/octet-stream"
    )


def _address_space() -> int:
    """Return how many bytes of stacks may be reserved, which count in full where they count."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    room = min(_finite(resource.getrlimit(kind)[0]) for kind in kinds)
    try:
        if (_PROC / "sys/vm/overcommit_memory").read_text("utf-8").strip() == "2":
            lines = (_PROC / "meminfo").read_text("utf-8").splitlines()
            kib = {line.split()[0]: int(line.split()[1]) for line in lines}
            room = min(room, max(0, kib["CommitLimit:"] - kib["Committed_AS:"]) * 1024)
    except (OSError, KeyError):  # a sandbox without these files does not keep account
        pass
    return room


def _finite(limit: int) -> int:
    return 2**62 if limit == resource.RLIM_INFINITY else limit

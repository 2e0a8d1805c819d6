"""Replaces itself by another program, bound to end with its parent, and with limits of its own.

::

    python -I -S launcher.py PARENT [STACK_BYTES OPEN_FILES] -- COMMAND...

It must start fast and import nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, soft_limits: list[int], command: list[str]) -> None:
    """Execute ``command``; it dies when the process ``parent``, which starts this one, does.

    ``soft_limits`` are of the stack in bytes and of open files; without any, those there are stay.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above took effect
        sys.exit(1)
    for kind, soft in zip(
        (resource.RLIMIT_STACK, resource.RLIMIT_NOFILE), soft_limits, strict=False
    ):
        resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))
    os.execv(command[0], command)


if __name__ == "__main__":
    end = sys.argv.index("--")
    main(int(sys.argv[1]), [int(text) for text in sys.argv[2:end]], sys.argv[end + 1 :])

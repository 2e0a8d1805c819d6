"""Replaces itself by the server, with its limits set and bound to end with its parent.

Run as a file with ``python -I -S``: it must start fast and import nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, stack_bytes: int, open_files: int, command: list[str]) -> None:
    """Execute ``command`` under these soft limits; it dies when the process ``parent`` does."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above took effect
        sys.exit(1)
    for kind, soft in ((resource.RLIMIT_STACK, stack_bytes), (resource.RLIMIT_NOFILE, open_files)):
        resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])

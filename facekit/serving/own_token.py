"""The token by which ``facekit status`` asks a server of its own user on this machine.

Health checks of a container run beside the server, and know no token of a caller's.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from facekit.client.connection import on_this_machine


def write_own_token(grpc_port: int, token: str) -> None:
    """Leave the token for other processes of this user; without a place for it, do nothing."""
    with suppress(OSError):
        path = _file(grpc_port)
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(token)


def read_own_token(url: str) -> str | None:
    """Return the token of this user's server at ``host:port`` on this machine, if it left one."""
    if not on_this_machine(url):
        return None
    try:
        path = _file(int(url.rpartition(":")[2]))
        status = path.lstat()
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
            return None
        return path.read_text("ascii")
    except (OSError, ValueError):
        return None


def remove_own_token(grpc_port: int) -> None:
    """Take the token away."""
    with suppress(OSError):
        _file(grpc_port).unlink()


def _file(grpc_port: int) -> Path:
    return Path(tempfile.gettempdir()) / f"facekit-{os.geteuid()}-{grpc_port}.token"

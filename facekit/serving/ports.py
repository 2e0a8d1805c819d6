"""Free and taken TCP ports."""

from __future__ import annotations

import socket

from facekit.errors import SetupError


def choose_ports(address: str, wanted: dict[str, int]) -> dict[str, int]:
    """Replace every 0 by a free port and check that the others are free.

    Args:
        address: the IPv4 address to listen on.
        wanted: port by the name of the option that sets it, as errors name it.

    Raises:
        SetupError: a port is out of range, given twice or in use, or the address is not one of
            this machine.
    """
    given: dict[int, str] = {}
    for option, port in wanted.items():
        if not 0 <= port <= 65535:
            raise SetupError(f"{option} is {port}; a port lies in 1..65535 (0: any free one).")
        if port in given and port:
            raise SetupError(f"{given[port]} and {option} are both {port}: give each its own port.")
        given[port] = option
    held: list[socket.socket] = []
    try:
        # All are held open together, so that no free port is handed out twice.
        chosen = {}
        for option, port in wanted.items():
            listener = _bind(address, port, option)
            held.append(listener)
            chosen[option] = int(listener.getsockname()[1])
        return chosen
    finally:
        for listener in held:
            listener.close()


def resolve(address: str) -> str:
    """Return the IPv4 address of a host name or address; the server listens on no other kind.

    Raises:
        SetupError: it has none.
    """
    try:
        found = socket.getaddrinfo(address, None, socket.AF_INET, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise SetupError(f"{address!r} is no IPv4 address to listen on: {error}.") from None
    return str(found[0][4][0])


def _bind(address: str, port: int, option: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As the server does: connections of its predecessor that linger in TIME_WAIT do not count.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"Cannot listen on {address}:{port} ({option}): {error.strerror}. "
            f"Stop what listens there or choose another port (0: any free one)."
        ) from None
    return listener

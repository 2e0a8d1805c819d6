"""IP addresses and TCP ports to listen on: how they are written, and which are free."""

import contextlib
import errno
import ipaddress
import socket

from facekit.errors import SetupError


def choose_ports(address: str, wanted: dict[str, int]) -> dict[str, int]:
    """Replace every 0 by a free port and check that the others are free.

    The IP address is as ``resolve`` returns it; ``wanted`` has ports by the name of the option that
    sets it. Raises SetupError if a port is out of range, given twice or in use, or the address is
    not one of this machine.
    """
    given: dict[int, str] = {}
    for option, port in wanted.items():
        if not 0 <= port <= 65535:
            raise SetupError(f"{option} is {port}; a port lies in 1..65535 (0: any free one).")
        if port in given and port:
            raise SetupError(f"{given[port]} and {option} are both {port}: give each its own port.")
        given[port] = option
    with contextlib.ExitStack() as held:
        # All are held open together, so that no free port is handed out twice.
        return {
            option: int(held.enter_context(listen(address, port, option)).getsockname()[1])
            for option, port in wanted.items()
        }


def listen(address: str, port: int, option: str) -> socket.socket:
    """Return a socket that listens on an IP address, as ``resolve`` returns it.

    ``option`` set the port; 0 is any free one. Raises SetupError if that can't be done.
    """
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.ExitStack() as on_error:
            # With the protocol named: asyncio turns off Nagle's algorithm only for such sockets,
            # and with it each answer waits 40 ms for an acknowledgment.
            listener = on_error.enter_context(
                socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            )
            # As the server does: connections of its predecessor in TIME_WAIT do not count.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address == "::":
                # So that a port counts as free only if nobody has it over IPv4 either, whatever
                # the system's default is: gRPC listens on both, and callers of a name may try both.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((address, port))
            listener.listen(1)
            on_error.pop_all()
            return listener
    except OSError as error:
        where = f"{host_in_url(address)}:{port} ({option})"
        raise SetupError(f"Cannot listen on {where}: {_reason(error, address)}") from None


def resolve(address: str) -> str:
    """Return the IP address that a host name or address, IPv6 in brackets or not, stands for.

    Each front end listens on one address, so a name that has both gives its IPv4 address.
    Raises SetupError if there is none that this machine and Triton can listen on.
    """
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        found = socket.getaddrinfo(bare, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise SetupError(f"{address!r} is not an IP address to listen on: {error}.") from None
    # Stable: within each family the name server's order.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    chosen = str(found[0][4][0])
    if ":" not in chosen:
        return chosen
    parsed = ipaddress.IPv6Address(chosen)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed.is_link_local:
        raise SetupError(
            f"Cannot listen on the link-local address {address}: Triton does not know of "
            f"interfaces. Give another address of this machine, or :: for all of them."
        )
    if parsed.is_unspecified:
        # Probes come by the loopback address, which containers without IPv6 lack.
        listen("::1", 0, "--address ::").close()
    return str(parsed)


def host_in_url(address: str) -> str:
    """Return an IP address as it stands before ``:port``: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def reached_at(address: str) -> str:
    """Return the address at which this machine reaches a server that listens on ``address``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def loopback(address: str) -> str:
    """Return the address of this machine alone, of the family of ``address``."""
    return "::1" if ":" in address else "127.0.0.1"


def _reason(error: OSError, address: str) -> str:
    no_ipv6 = error.errno == errno.EADDRNOTAVAIL and address == "::1"
    if no_ipv6 or error.errno == errno.EAFNOSUPPORT:
        return "IPv6 is not available on this machine. Give an IPv4 address, such as 0.0.0.0."
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address. Give one of its own, or 0.0.0.0 for all."
    return f"{error.strerror}. Stop what listens there or choose another port (0: any free one)."

import asyncio
import errno
import os
import socket

import pytest

from facekit.errors import SetupError
from facekit.serving.ports import choose_ports, listen, resolve
from tests.addresses import has_ipv6

OPTIONS = ("--http-port", "--grpc-port", "--metrics-port")


def test_choose_ports_of_zero_gives_different_free_ones() -> None:
    chosen = choose_ports("127.0.0.1", dict.fromkeys(OPTIONS, 0))

    assert set(chosen) == set(OPTIONS)
    assert len(set(chosen.values())) == 3
    for port in chosen.values():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_choose_ports_in_use_names_the_option() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(SetupError, match=rf"127\.0\.0\.1:{port} \(--grpc-port\).*in use"):
            choose_ports("127.0.0.1", {"--http-port": 0, "--grpc-port": port})


@pytest.mark.parametrize("port", [-1, 65536])
def test_choose_ports_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(SetupError, match=f"--http-port is {port}"):
        choose_ports("127.0.0.1", {"--http-port": port})


def test_choose_ports_given_twice_is_refused() -> None:
    with pytest.raises(SetupError, match="--http-port and --grpc-port are both 18000"):
        choose_ports("127.0.0.1", {"--http-port": 18000, "--grpc-port": 18000})


def test_choose_ports_of_a_foreign_address_is_refused() -> None:
    with pytest.raises(SetupError, match=r"192\.0\.2\.1:.* does not have that address"):
        choose_ports("192.0.2.1", {"--http-port": 0})


@pytest.mark.parametrize("address", ["no such host", "[127.0.0.1", "a" * 300])
def test_resolve_of_no_address_is_refused(address: str) -> None:
    with pytest.raises(SetupError, match="is not an IP address to listen on"):
        resolve(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
    ],
)
def test_resolve_gives_the_address(address: str, expected: str) -> None:
    assert resolve(address) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [(["2001:db8::7", "192.0.2.7"], "192.0.2.7"), (["2001:db8::7", "2001:db8::8"], "2001:db8::7")],
)
def test_resolve_of_a_name_prefers_ipv4(
    found: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: str, port: None, type: int) -> list[tuple[object, ...]]:
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in each], type, 6, "", (each, 0)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    assert resolve("faces.example") == expected


def test_resolve_of_a_link_local_address_is_refused() -> None:
    # Triton's HTTP would listen on every address in its place.
    with pytest.raises(SetupError, match="link-local address fe80::7"):
        resolve("fe80::7")


@pytest.mark.parametrize("address", ["::", "::1"])
@pytest.mark.parametrize("missing", ["kernel", "loopback"])
def test_machine_without_ipv6_is_told_what_to_do(
    address: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Socket(socket.socket):
        def __init__(self, family: int = -1, *rest: int) -> None:
            if missing == "kernel" and family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(socket.AF_INET, *rest)

        def bind(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    monkeypatch.setattr(socket, "socket", Socket)
    with pytest.raises(
        SetupError, match=r"IPv6 is not available.*IPv4 address, such as 0\.0\.0\.0"
    ):
        choose_ports(resolve(address), {"--http-port": 0})


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_choose_ports_for_both_families_sees_who_listens_on_ipv4() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(SetupError, match=rf"\[::\]:{port} \(--grpc-port\).*in use"):
            choose_ports("::", {"--grpc-port": port})
        assert choose_ports("::1", {"--grpc-port": port}) == {"--grpc-port": port}


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_choose_ports_for_ipv6_names_the_address_in_brackets() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]

        for address, written in (("::", r"\[::\]"), ("::1", r"\[::1\]")):
            with pytest.raises(SetupError, match=rf"{written}:{port} \(--grpc-port\).*in use"):
                choose_ports(address, {"--grpc-port": port})


def test_answers_are_not_held_back() -> None:
    # Nagle's algorithm would keep the second part of each for 40 ms.
    async def accept() -> bool:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        listener = listen("127.0.0.1", 0, "--http-port")
        async with await asyncio.start_server(lambda _, w: accepted.set_result(w), sock=listener):
            with socket.create_connection(listener.getsockname()):
                writer = await asyncio.wait_for(accepted, 30)
                connection: socket.socket = writer.get_extra_info("socket")
                held_back = not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                writer.close()
                await writer.wait_closed()
        return held_back

    assert not asyncio.run(accept())

import socket

import pytest

from facekit.errors import SetupError
from facekit.serving.ports import choose_ports, resolve

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
    with pytest.raises(SetupError, match=r"Cannot listen on 192\.0\.2\.1:"):
        choose_ports("192.0.2.1", {"--http-port": 0})


@pytest.mark.parametrize("address", ["no such host", "::1", "a" * 300])
def test_resolve_without_an_ipv4_address_is_refused(address: str) -> None:
    with pytest.raises(SetupError, match="is no IPv4 address to listen on"):
        resolve(address)


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1"])
def test_resolve_gives_the_address(address: str) -> None:
    assert resolve(address) == "127.0.0.1"

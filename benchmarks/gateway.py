"""The gateway beside Triton's own HTTP and gRPC, in turns: ``python -m benchmarks.gateway``.

Triton's HTTP is open meanwhile, on this machine's own address.
"""

from __future__ import annotations

import argparse
import functools
import http.client
import itertools
import json
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

from benchmarks.load import Sender, read_answer, request
from benchmarks.memory import memory
from benchmarks.photos import PhotoSet, mosaics
from benchmarks.rates import PAIRS, Turn, in_turns, measure
from facekit.command import run_command
from facekit.errors import ServerError
from facekit.serving.embedded import EmbeddedServer
from facekit.serving.ports import choose_ports
from facekit.serving.processes import Process, cpu_seconds, read
from facekit.text import show

CONCURRENCY = (1, 4, 16)
_TIMEOUT_S = 60.0
_SAMPLES = 10


class Call(NamedTuple):
    """A request over HTTP that is made once and sent often."""

    path: str
    body: bytes
    headers: dict[str, str]


def kserve_call(photo: bytes) -> Call:
    """Return the call of ``faces`` in binary form, whose answer is in binary form too."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, len(photo)]}
    inputs = [{**tensor, "parameters": {"binary_data_size": len(photo)}}]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return Call("/v2/models/faces/infer", head + photo, length)


def rest_call(photo: bytes) -> Call:
    """Return the call of REST."""
    return Call("/v1/faces", photo, {"Content-Type": "image/jpeg"})


class Caller:
    """Sends calls to ``host:port`` over HTTP, with a connection for each thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()

    def send(self, call: Call) -> bytes:
        """Return the body of an answer; raises ServerError for one that is an error."""
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self._url, timeout=_TIMEOUT_S)
            self._all.append(self._own.connection)
        connection: http.client.HTTPConnection = self._own.connection
        connection.request("POST", call.path, call.body, call.headers)
        answer = connection.getresponse()
        body: bytes = answer.read()
        if answer.status != http.client.OK:
            raise ServerError(f"{call.path}: {answer.status}: {body[:200]!r}")
        return body


Job = Callable[[], object]


def turn(jobs: Sequence[Job], concurrency: int, seconds: float, gateway: Process) -> Turn:
    """Measure jobs with so many at a time; the processor time is the gateway's alone."""
    turns = itertools.cycle(jobs)

    def work() -> None:
        next(turns)()

    rate = measure([work] * concurrency, seconds=seconds, cpu_s=lambda: cpu_seconds([gateway]))
    return Turn(rate.turn("a request").per_second, rate.cpu_ms)


def compare(server: EmbeddedServer, triton: str, photo_set: PhotoSet, seconds: float) -> None:
    """Measure both ways of the gateway beside Triton's, and show a line for each."""
    ours, theirs, grpc = Caller(server.http_url), Caller(triton), Sender(server.grpc_url)
    with closing(ours), closing(theirs), closing(grpc):
        photos = [photo.tobytes() for photo in photo_set.photos]
        kserve = [kserve_call(photo) for photo in photos]
        messages = [request("faces", {"image": photo[None]}) for photo in photo_set.photos]
        for call, message in zip(kserve, messages, strict=True):
            if ours.send(call) != theirs.send(call):
                raise ServerError("the gateway and Triton answer differently")
            faces = json.loads(ours.send(rest_call(photos[kserve.index(call)])))["faces"]
            found = int(read_answer(grpc.send(message), ["count"])["count"][0, 0])
            if len(faces) != found:
                raise ServerError(f"REST finds {len(faces)} faces, gRPC {found}")
        ways: dict[str, tuple[list[Job], list[Job]]] = {
            "KServe's protocol beside Triton's HTTP": (
                [functools.partial(ours.send, call) for call in kserve],
                [functools.partial(theirs.send, call) for call in kserve],
            ),
            "REST beside gRPC": (
                [functools.partial(ours.send, rest_call(photo)) for photo in photos],
                [functools.partial(grpc.send, message) for message in messages],
            ),
        }
        gateway = gateway_process(server)
        for (name, both), concurrency in itertools.product(ways.items(), CONCURRENCY):
            one, other = (
                functools.partial(turn, jobs, concurrency, seconds, gateway) for jobs in both
            )
            turns = in_turns(one, other, pairs=PAIRS)
            show(
                f"{name}, {concurrency} at a time: {turns.ours:.1f} and {turns.theirs:.1f} a "
                f"second, ratio {turns.ratio:.3f} ({min(turns.ratios):.3f} to "
                f"{max(turns.ratios):.3f}), {turns.our_cpu_ms:.2f} ms of the gateway a request",
                sys.stdout,
            )


def gateway_process(server: EmbeddedServer) -> Process:
    """Return the process of a server's gateway; raises ServerError if it has ended."""
    pid = server.gateway.pid if server.gateway is not None else None
    found = read(pid) if pid is not None else None
    if found is None:
        raise ServerError("the gateway has ended")
    return found


def soak(server: EmbeddedServer, photo_set: PhotoSet, requests: int) -> None:
    """Send so many requests, four at a time, and show the gateway's memory meanwhile."""
    caller = Caller(server.http_url)
    photos = [photo.tobytes() for photo in photo_set.photos]
    calls = itertools.cycle([make(p) for p in photos for make in (kserve_call, rest_call)])
    pid = gateway_process(server).pid

    def send(count: int) -> None:
        for _ in range(count):
            caller.send(next(calls))

    sizes = []
    for _ in range(_SAMPLES):
        threads = [
            threading.Thread(target=send, args=(requests // _SAMPLES // 4,)) for _ in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        sizes.append(round(memory(pid).rss_mib))
    show(f"memory of the gateway over {requests:,} requests, MiB: {sizes}", sys.stdout)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and return 0."""
    port = choose_ports("127.0.0.1", {"--http-port": 0})["--http-port"]
    options = ("--allow-http=true", "--http-address=127.0.0.1", f"--http-port={port}")
    photo_set = mosaics((1280, 720), 8)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(http_port=0, extra_args=options))
        compare(server, f"127.0.0.1:{port}", photo_set, args.seconds)
        if args.soak:
            soak(server, photo_set, args.soak)
    return 0


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    parser.add_argument(
        "--soak", type=int, default=0, metavar="N", help="then send N requests and show memory"
    )
    args = parser.parse_args()
    return run_command(lambda: run(args), parser.prog, extra="server,bench")


if __name__ == "__main__":
    sys.exit(main())

"""Sends broken requests to a gateway for minutes: ``python -m tests.gateway.fuzz --minutes 10``.

Good callers go on meanwhile, and all of theirs must be answered. Neither the gateway nor the server
behind it may end, and the gateway's memory may not grow.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from facekit.data import probe_photo
from facekit.gateway.settings import GatewayLimits
from tests.gateway.callers import GET, Gateway, ints, post
from tests.gateway.echo import server_with_http
from tests.gateway.limited import limited_gateway
from tests.gateway.test_attacks import ATTACKS, CHUNKED

_AT_A_TIME = 4
_LOOK_S = 10.0
_LENGTH = "Inference-Header-Content-Length"
_PIECES = (b"\r\n", b"\n", b"\0", b":", b"0", b"-1", b"9" * 20, b"[" * 99, b'"', b"{", b"\xff\xfe")


def seeds() -> list[bytes]:
    """Return good requests of every kind, and the short ones of the attacks."""
    head = ints(binary_data_size=4)
    photo = probe_photo()[:2000]
    form = b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\n' + photo + b"\r\n--x--\r\n"
    faces = post(photo).replace(b"v2/models/echo/infer", b"v1/faces?min_score=0.5&draw=1")
    found = [
        post(ints(shape=[3], data=[1, 2, 3])),
        post(head + b"abcd", f"{_LENGTH}: {len(head)}"),
        post(b"abcd", f"{_LENGTH}: 0").replace(b"models/echo", b"models/batched"),
        CHUNKED + b"%x\r\n" % len(ints()) + ints() + b"\r\n0\r\n\r\n",
        faces,
        post(form, "Content-Type: multipart/form-data; boundary=x").replace(b"v2", b"v1/faces?"),
        *(GET.replace(b"health/live", path) + b"\r\n" for path in (b"models/echo/config", b"")),
    ]
    for name, (sent, _) in ATTACKS.items():
        if any(word in name for word in ("slow", "endless", "no request", "without an end")):
            continue
        request = b"".join(sent())
        if len(request) < 20_000:
            found.append(request)
    return found


def broken(seed: bytes, random_: random.Random) -> bytes:
    """Return a request with some of its bytes changed, left out, repeated or put elsewhere."""
    data = bytearray(seed)
    for _ in range(random_.randint(1, 6)):
        at, end = sorted(random_.randrange(len(data) + 1) for _ in range(2))
        end = min(end, at + random_.choice((1, 4, 16, 256)))
        data[at:end] = random_.choice(
            (
                b"",
                bytes(data[at:end]) * random_.randint(2, 9),
                random_.choice(_PIECES),
                random_.randbytes(end - at),
                bytes(data[at:end]).swapcase(),
            )
        )
    return bytes(data)


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * 4096


def requests(seed: int) -> Iterator[bytes]:
    """Yield broken requests for ever; the same ones for the same seed."""
    random_, known = random.Random(seed), seeds()
    while True:
        yield broken(random_.choice(known), random_)


def main() -> int:
    """Run, and return 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    limits = GatewayLimits(header_timeout_s=1.0, idle_timeout_s=1.0)
    statuses: Counter[int] = Counter()
    sizes: list[int] = []
    with tempfile.TemporaryDirectory() as folder, server_with_http(Path(folder)) as (server, _):
        with limited_gateway(server.grpc_url, limits) as (port, pid):
            with Gateway(port, pid) as gateway, ThreadPoolExecutor(_AT_A_TIME) as pool:
                end = time.monotonic() + 60 * args.minutes

                def attack(seed: int) -> None:
                    for request in requests(seed):
                        statuses[gateway.status([request])] += 1
                        if time.monotonic() > end:
                            return

                attacks = [pool.submit(attack, args.seed + k) for k in range(_AT_A_TIME)]
                while time.monotonic() < end:
                    time.sleep(_LOOK_S)
                    sizes.append(resident_bytes(pid) >> 20)
                for each in attacks:
                    each.result()
            ended = server.exit_reason()
    text = f"{sum(statuses.values())} broken requests: {dict(sorted(statuses.items()))}\n"
    text += f"{gateway.answered} good ones, failed: {gateway.failures[:3]}\n"
    text += f"server: {ended or 'runs'}; memory of the gateway in MiB: {sizes}\n"
    sys.stdout.write(text)
    return int(bool(gateway.failures or ended or 500 in statuses))


if __name__ == "__main__":
    sys.exit(main())

"""The state of the servers, and the gateway's counts."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import requests

from facekit import __version__
from facekit.contract import MODELS
from facekit.data import probe_photo
from facekit.serving.embedded import EmbeddedServer
from tests.gateway.gateways import gateway
from tests.serving.tiny import tiny_repository


def status(url: str) -> dict[str, Any]:
    answer = requests.get(f"{url}/v1/status", timeout=30)
    assert answer.status_code == 200
    value: dict[str, Any] = answer.json()
    return value


def test_models_and_requests_are_counted(server: EmbeddedServer) -> None:
    # Of its own, so that what other tests ask is not counted.
    with gateway("--url", f"{server.grpc_url},127.0.0.1:9") as url:
        before = status(url)
        assert requests.post(f"{url}/v1/faces", probe_photo(), timeout=30).status_code == 200
        assert requests.post(f"{url}/v1/faces", b"text", timeout=30).status_code == 415
        # What the servers say is asked for once a second.
        while (after := status(url))["servers"] == before["servers"]:
            pass

    assert after["facekit"] == __version__
    began = datetime.now(timezone.utc) - datetime.fromisoformat(after["since"])
    assert 0 <= began.total_seconds() < 300
    assert after["refused"] == {"format": 1}
    assert after["requests"]["total"] >= 4
    assert (after["requests"]["in_flight"], after["requests"]["waiting"]) == (1, 0)
    assert after["requests"]["per_s"] > 0
    here, away = after["servers"]
    assert away == {"url": "2", "ready": False, "triton": "", "models": []}
    assert (here["url"], here["ready"]) == ("1", True)
    assert here["triton"].startswith("2.")
    assert {each["name"] for each in here["models"]} == set(MODELS)
    assert {each["state"] for each in here["models"]} == {"READY"}
    counts = {each["name"]: each for each in here["models"]}
    old = {each["name"]: each for each in before["servers"][0]["models"]}
    assert counts["faces"]["requests"] >= old["faces"]["requests"] + 1
    assert counts["faces"]["compute_ms"] > 0 <= counts["faces"]["queue_ms"]


def test_state_of_a_server_whose_management_is_restricted(tmp_path: Any) -> None:
    with EmbeddedServer(tiny_repository(tmp_path), restrict_management=True, http_port=0) as server:
        (here,) = status(f"http://{server.http_url}")["servers"]
        assert here["ready"]
        assert {each["state"] for each in here["models"]} == {"READY"}
        # The index is refused there, which is nothing to write a line about each second.
        assert "restricted" not in "\n".join(server.log_tail(50))

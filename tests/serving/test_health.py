import json
import os
import signal
from pathlib import Path

import pytest

from facekit.cli import main
from facekit.errors import ConfigError, ServerUnavailableError
from facekit.serving import EmbeddedServer, processes
from facekit.serving.health import PROBED, ModelHealth, Prober, check
from facekit.serving.ports import choose_ports
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for


@pytest.fixture
def nobody() -> str:
    return f"127.0.0.1:{choose_ports('127.0.0.1', {'port': 0})['port']}"


def test_check_of_the_kit_probes_every_model(server: EmbeddedServer) -> None:
    health = check(server.grpc_url)

    assert health.ok, health
    assert tuple(model.name for model in health.models) == PROBED
    assert all(model.latency_ms > 0 for model in health.models)


def test_status_of_a_working_server_exits_with_zero(
    server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--url", server.grpc_url]) == 0
    out = capsys.readouterr().out
    assert f"{server.grpc_url} works.\nTriton 2.51.0 has known holes" in out

    assert main(["status", "--url", server.grpc_url, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    # The embedded server's, whose wheel has no newer one.
    assert report["version"] == "2.51.0"
    assert report["known_holes"].startswith("Triton 2.51.0 has known holes (19 CVEs, ")
    assert set(report["models"]) == set(PROBED)


def test_check_of_a_failing_model_reports_its_error(
    tiny_server: EmbeddedServer, tiny_model: Path
) -> None:
    (tiny_model / "fail").touch()

    (model,) = check(tiny_server.grpc_url).models

    assert not model.ok
    assert "it fails" in str(model.error)
    assert model.to_dict()["error"] == str(model.error)


def test_check_without_a_server_is_a_result(
    nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    health = check(nobody, timeout_s=5)

    assert not health.ok
    assert not health.claims_ready
    assert health.models == ()
    assert main(["status", "--url", nobody, "--timeout", "5"]) == 1
    assert "does not work" in capsys.readouterr().out


def test_check_of_a_server_without_known_models_is_not_ok(tmp_path: Path) -> None:
    repository = tiny_repository(tmp_path)
    config = (repository / "faces" / "config.pbtxt").read_text("utf-8")
    (repository / "faces").rename(repository / "other")
    (repository / "other" / "config.pbtxt").write_text(config.replace('"faces"', '"other"'))
    with EmbeddedServer(repository) as server:
        health = check(server.grpc_url)

    assert health.claims_ready
    assert not health.ok
    assert health.error is not None and "serves none of faces" in health.error


def test_check_of_a_wrong_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="host:port"):
        check("http://localhost:8001")


def test_status_asks_every_instance_unless_once_and_finds_the_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    probe = Prober.probe

    def counted(prober: Prober, name: str, timeout_s: float) -> ModelHealth:
        asked.append(name)
        return probe(prober, name, timeout_s)

    monkeypatch.setattr(Prober, "probe", counted)
    with EmbeddedServer(tiny_repository(tmp_path, instances=3)) as server:
        status = ["status", "--url", server.grpc_url]
        assert main([*status, "--once"]) == 0
        assert asked == ["faces"]
        assert main(status) == 0
        assert asked == ["faces"] * 4
        assert server.pid is not None
        stub = processes.children(server.pid)[0]
        os.kill(stub.pid, signal.SIGKILL)
        assert wait_for(lambda: not processes.still_runs(stub))

        found = [check(server.grpc_url) for _ in range(3)]
        # The ready flag disagrees.
        assert [(health.ok, health.claims_ready) for health in found] == [(False, True)] * 3
        assert isinstance(found[0].models[0].error, ServerUnavailableError)
        assert main(status) == 1
        assert "reports that it is ready, but its inferences fail" in capsys.readouterr().out

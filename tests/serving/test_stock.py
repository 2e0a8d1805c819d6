"""The native path, with a Triton assembled as an image has it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from facekit.contract import OPTIONAL_MODELS
from facekit.engines.manifest import engine_path
from facekit.errors import SetupError
from facekit.serving import StockServer
from facekit.serving.health import check
from facekit.serving.limits import process_limits
from tests.engines.engine_files import KIT, add_mask_detector, change, engine_repository
from tests.fakes import nvidia
from tests.serving.stock import stock_triton
from tests.serving.test_supervisor import Served
from tests.serving.tiny import tiny_repository

PARTS = ("_preprocess", "_postprocess", "_ensemble")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stock_triton(tmp_path_factory.mktemp("opt") / "tritonserver")


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    if nvidia.COMPILER is None:
        pytest.skip("no C compiler (cc)")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvidia.build(tmp_path / "nvidia")))
    monkeypatch.setenv("FAKE_GPUS", "NVIDIA A10:8.6")
    return monkeypatch


def test_stock_server_serves_the_kit_s_models_with_its_own_backends(
    root: Path, tmp_path: Path
) -> None:
    # The models of one ensemble use each of the backends.
    for name in ("photo_reduce", *(f"facenet{part}" for part in ("", *PARTS))):
        (tmp_path / name).symlink_to(KIT / name)
    before = sorted(root.rglob("*.so"))
    with StockServer(tmp_path, root=root, config_name="cpu") as server:
        health = check(server.grpc_url)
        log = "\n".join(server.log_tail(500))
        limits = Path(f"/proc/{server.pid}/limits").read_text("utf-8")

    assert health.ok, health
    assert re.search(rf"^Max stack size +{process_limits().stack_bytes} ", limits, re.MULTILINE)
    assert [model.name for model in health.models] == ["facenet_ensemble"]
    assert str(root / "backends" / "python") in log
    assert sorted(root.rglob("*.so")) == before


def test_stock_server_elsewhere_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no Triton in .*bin/tritonserver is missing.*--native"):
        StockServer(tiny_repository(tmp_path / "models"), root=tmp_path).start()


def test_stock_server_without_engines_says_what_makes_them(root: Path, tmp_path: Path) -> None:
    repository = engine_repository(tmp_path / "models")
    engine_path(repository, "facenet").unlink()

    with pytest.raises(SetupError) as caught:
        StockServer(repository, root=root).start()

    lines = str(caught.value).splitlines()
    assert lines[0] == "These models cannot be served here:"
    assert any("facenet: the engine" in line and "is missing" in line for line in lines)
    assert any("no TensorRT" in line or "no NVIDIA GPU" in line for line in lines)


def test_stock_server_with_an_engine_of_another_tensorrt_refuses(
    root: Path, tmp_path: Path, gpu: pytest.MonkeyPatch
) -> None:
    repository = engine_repository(tmp_path / "models")
    gpu.setenv("FAKE_TENSORRT", "100001")

    with pytest.raises(SetupError) as caught:
        StockServer(repository, root=root).start()

    assert str(caught.value).count("built by TensorRT 8.6.3, and this server has 10.0.1") == 2


def test_stock_server_with_fitting_engines_gets_to_triton(
    root: Path, tmp_path: Path, gpu: pytest.MonkeyPatch
) -> None:
    # This Triton has no TensorRT backend: that it says so shows that the check let it pass.
    with (
        pytest.raises(SetupError, match="exit code 1 at its start"),
        StockServer(engine_repository(tmp_path / "models"), root=root),
    ):
        pass


def test_stock_server_refuses_mixed_configurations(
    root: Path, tmp_path: Path, gpu: pytest.MonkeyPatch
) -> None:
    repository = engine_repository(tmp_path / "models")
    change(repository, "facenet", config="open")
    server = StockServer(repository, root=root)

    with pytest.raises(SetupError, match="facenet: its engine is for configs/open.pbtxt"), server:
        pass


def test_stock_server_leaves_out_a_mask_detector_without_an_engine(
    root: Path, tmp_path: Path
) -> None:
    repository = tiny_repository(tmp_path / "models")
    add_mask_detector(repository, engine=False)
    with StockServer(repository, root=root) as server:
        assert [note.partition(",")[0] for note in server.notes] == [
            "not served: facemask_ensemble"
        ]
        served = [model.name for model in check(server.grpc_url).models]
        log = "\n".join(server.log_tail(500))
    assert "facemask" not in log and "facemask_ensemble" not in served
    assert sorted(path.name for path in repository.glob("facemask*")) == sorted(OPTIONAL_MODELS)


def test_stock_server_refuses_a_mask_detector_whose_engine_does_not_fit(
    root: Path, tmp_path: Path, gpu: pytest.MonkeyPatch
) -> None:
    repository = engine_repository(tmp_path / "models")
    add_mask_detector(repository, engine=True)
    change(repository, "facemask", tensorrt="8.6.1")

    with pytest.raises(SetupError) as caught:
        StockServer(repository, root=root).start()

    (problem,) = str(caught.value).splitlines()[1:]
    assert "built by TensorRT 8.6.1" in problem and problem.endswith("facemask --weights open")


def test_native_server_says_what_it_leaves_out_at_every_start(root: Path, tmp_path: Path) -> None:
    served = Served(tmp_path, f"--native={root}")
    words = "because facemask has no engine; make it with: docker compose"
    try:
        assert served.ready() and words not in served.said
        add_mask_detector(served.folder, engine=False)
        os.kill(served.server().pid, signal.SIGKILL)
        assert served.ready(2), served.said
        assert served.said.count(words) == 1
        assert served.finish() == 0
    finally:
        served.process.kill()
        served.process.wait()


def test_native_server_is_supervised_and_checked_at_every_start(
    root: Path, tmp_path: Path, gpu: pytest.MonkeyPatch
) -> None:
    served = Served(tmp_path, f"--native={root}", "--log-file=-", "--restrict-management")
    try:
        assert served.ready(), served.said
        assert "Started GRPCInferenceService" in served.said
        # What appears while it serves is seen at its next start.
        facenet = engine_repository(tmp_path / "engines") / "facenet"
        (facenet / "1" / "model.plan").unlink()
        facenet.rename(served.folder / "facenet")
        os.kill(served.server().pid, signal.SIGKILL)

        assert served.says(
            "model.plan is missing; repair it with: docker compose run --rm converter"
        )
        (served.folder / "facenet").rename(tmp_path / "gone")
        assert served.ready(2), served.said
        assert served.answers()
        assert served.finish() == 0
    finally:
        served.process.kill()
        served.process.wait()


def test_native_server_that_cannot_serve_ends_with_the_words(root: Path, tmp_path: Path) -> None:
    engine_repository(tmp_path / "models")

    served = Served(tmp_path, f"--native={root}")

    assert served.process.wait(60) == 2
    assert "These models cannot be served here:" in served.said
    assert "docker compose" in served.said
    assert "Traceback" not in served.said


def test_native_server_in_a_color_names_the_real_repository(root: Path, tmp_path: Path) -> None:
    plan = engine_path(engine_repository(tmp_path / "models"), "facenet")
    plan.unlink()

    served = Served(tmp_path, f"--native={root}", "--color=rgb")

    assert served.process.wait(60) == 2
    assert f"facenet: the engine {plan} is missing" in served.said
    assert "facekit-server-" not in served.said

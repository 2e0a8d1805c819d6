"""A short run against the real server: everything is there, and both sides find the same."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import run as benchmarks
from benchmarks.bound import BoundWorker, bound_process, find_boxes, turn
from benchmarks.configuration import ServerInfo, Settings, configuration_text
from benchmarks.load import Sender, request
from benchmarks.photos import PhotoSet, mosaics
from benchmarks.plot import write_plot
from benchmarks.postprocess import UnequalError
from benchmarks.rates import PAIRS
from benchmarks.results import (
    BARE_REQUESTS,
    NOTEBOOK_LOOP,
    SEED_LOOP,
    new_results,
    promises,
    results_text,
    to_json,
)
from benchmarks.run import MODELS, Bench
from benchmarks.workflow import FPENET_OUTPUTS, seed_job
from facekit.cli import bench as door
from facekit.cli import build_parser, main
from facekit.errors import FacekitError, PhotoError, ServerError
from facekit.serving.embedded import EmbeddedServer
from facekit.serving.processes import read
from tests.addresses import Proxy
from tests.fake_triton import FakeTriton
from tests.photo_files import encode

FACES = 4


def options(*argv: str) -> argparse.Namespace:
    return build_parser().parse_args(["bench", *argv])


@pytest.fixture(scope="module")
def photos() -> PhotoSet:
    return mosaics((640, 480), FACES)


@pytest.fixture
def sender(server: EmbeddedServer) -> Any:
    with contextlib.closing(Sender(server.grpc_url)) as sender:
        yield sender


@pytest.fixture(scope="module")
def settings(server: EmbeddedServer) -> Settings:
    with contextlib.closing(ServerInfo(server.grpc_url)) as info:
        return info.settings()


@pytest.fixture(scope="module")
def results(server: EmbeddedServer, photos: PhotoSet) -> dict[str, Any]:
    args = options("--seconds", "0.1", "--concurrency", "1,2", "--soak", "40")
    advanced = []
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.closing(Bench(server.grpc_url, server.pid, (photos,), args)) as bench,
    ):
        patch.setattr(benchmarks, "ANNOTATE_PAIRS", 1)
        patch.setattr(benchmarks, "ANNOTATED", 3)
        bench.run(lambda: advanced.append(1))
        assert len(advanced) == bench.steps()
    return bench.results


def test_json_is_complete_and_finite(results: dict[str, Any]) -> None:
    data = json.loads(json.dumps(to_json(results), allow_nan=False))
    assert [(row["model"], row["concurrency"]) for row in data["throughput"]] == [
        (model, concurrency) for model in MODELS for concurrency in (1, 2)
    ]
    for row in data["throughput"]:
        rate = row["rate"]
        assert rate["errors"] == 0
        assert 0 < rate["p50_ms"] <= rate["p95_ms"] <= rate["p99_ms"]
        assert rate["per_second"] > 0
    assert {stage["model"] for stage in data["stages"]["facenet_ensemble"]} == {
        "facenet_ensemble", "photo_reduce", "facenet_preprocess", "facenet", "facenet_postprocess"
    }  # fmt: skip
    assert {stage["model"] for stage in data["stages"]["facemask_ensemble"]} == {
        "facemask_ensemble", "photo_reduce", "facemask_preprocess", "facemask",
        "facemask_postprocess",
    }  # fmt: skip
    assert [row["what"] for row in data["bound"]] == ["facenet_ensemble", "faces"]
    for row in [*data["bound"], *data["seed"]]:
        assert len(row["ratios"]) == PAIRS
        assert min(row["ratios"]) <= row["ratio"] <= max(row["ratios"])
    assert [row["against"] for row in data["annotate"]] == [NOTEBOOK_LOOP, BARE_REQUESTS]
    assert all(row["found"] == [FACES] and row["ratio"] > 0 for row in data["annotate"])
    assert len(data["postprocess"]) == 2
    memory = data["memory"]
    assert (memory["requests"], memory["refused"]) == (40, 2)
    assert memory["samples"][0]["requests"] == 0
    pss = [sample["pss_mib"] for sample in memory["samples"]]
    assert memory["samples"][-1]["requests"] == 40
    assert (memory["start_mib"], memory["end_mib"]) == (pss[0], pss[-1])
    assert memory["peak_mib"] == max(pss)
    assert math.isfinite(memory["growth_mib_per_1000"])
    assert data["skipped"] == {}
    assert len(data["promises"]) == 8
    assert set(data["configuration"]) == {
        "machine", "packages", "server", "model files", "photos", "run"
    }  # fmt: skip


def test_server_may_do_without_the_mask_detector(server: EmbeddedServer) -> None:
    with FakeTriton() as fake, contextlib.closing(ServerInfo(fake.url)) as info:
        assert [name for name in MODELS if info.serves(name)] == [
            "facenet_ensemble", "fpenet_ensemble", "faces"
        ]  # fmt: skip
    with contextlib.closing(ServerInfo(server.grpc_url)) as info:
        assert all(info.serves(name) for name in MODELS)


def test_servers_of_this_machine_are_measured_past_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Proxy() as proxy, FakeTriton() as fake:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        with contextlib.closing(ServerInfo(fake.url)) as info:
            assert info.serves("faces")
            with contextlib.suppress(ServerError):  # the fake has no statistics
                info.counters()
        with contextlib.closing(Sender(fake.url)) as sender:
            assert sender.send(request("faces", {"image": np.zeros((1, 8), np.uint8)}, ["boxes"]))
        assert not proxy.asked


@pytest.mark.parametrize(("found", "kept"), [([8, 8], True), ([8, 7], False)])
def test_promise_holds_only_with_the_faces_that_were_asked_for(
    found: list[int], kept: bool
) -> None:
    row = {"what": "faces", "against": SEED_LOOP, "photos": "p", "faces": 8, "found": found,
           "concurrency": 2, "their_concurrency": 2, "ours": 50.0, "theirs": 10.0, "ratio": 5.0,
           "ratios": [5.0], "our_cpu_ms": 1.0, "their_cpu_ms": 1.0}  # fmt: skip
    results = {**new_results({}), "seed": [row]}

    assert [promise["kept"] for promise in promises(results)] == [kept]
    assert ("NO: 8, 7 faces found, not 8" in results_text(results)) is not kept


def test_without_the_process_bound_and_memory_are_skipped_and_named(
    server: EmbeddedServer, photos: PhotoSet
) -> None:
    args = options("--only", "bound,memory")
    with contextlib.closing(Bench(server.grpc_url, None, (photos,), args)) as bench:
        assert bench.steps() == 0
        results = bench.run(lambda: None)
    assert not results["bound"] and results["memory"] is None
    text = results_text(results)
    assert "Not measured" in text and "another machine" in text


def test_beside_measures_another_server_in_turns(server: EmbeddedServer, photos: PhotoSet) -> None:
    args = options(
        "--only", "beside", "--beside", server.grpc_url, "--seconds", "0.1", "--concurrency", "1"
    )
    advanced = []
    with contextlib.closing(Bench(server.grpc_url, None, (photos,), args)) as bench:
        results = bench.run(lambda: advanced.append(1))
        assert len(advanced) == bench.steps() == 2 * PAIRS
    (row,) = results["beside"]
    assert row["against"] == f"faces of {server.grpc_url}"
    assert set(row["found"]) == {FACES}
    assert min(row["ours"], row["theirs"], *row["ratios"]) > 0
    assert row["against"] in results_text(results)


def test_beside_refuses_a_server_that_finds_other_faces(
    server: EmbeddedServer, photos: PhotoSet
) -> None:
    nothing = {
        "true_boxes": np.zeros((1, 0, 4), np.float32),
        "true_proba": np.zeros((1, 0, 1), np.float32),
        "true_image_size": np.array([[480, 640, 3]]),
        "true_count": np.zeros((1, 1), np.int32),
    }
    with FakeTriton(lambda model, inputs, context: nothing) as fake:
        args = options("--only", "beside", "--beside", fake.url)
        with (
            contextlib.closing(Bench(server.grpc_url, None, (photos,), args)) as bench,
            pytest.raises(UnequalError, match=f"{fake.url} find different faces"),
        ):
            bench.run(lambda: None)


def test_bound_must_find_the_server_s_boxes(
    server: EmbeddedServer, photos: PhotoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def shifted(*_: object) -> Any:
        yield lambda function, model, photo: worker.detect(photo).boxes_xyxy + 0.5

    args = options("--only", "bound")
    with contextlib.closing(Bench(server.grpc_url, server.pid, (photos,), args)) as bench:
        with contextlib.closing(ServerInfo(server.grpc_url)) as info:
            worker = BoundWorker(server.model_repository, info.settings())
        monkeypatch.setattr(benchmarks, "bound_process", shifted)
        with pytest.raises(UnequalError, match="facenet_ensemble: server and bound"):
            bench.run(lambda: None)


def test_bound_process_has_the_server_s_environment(
    server: EmbeddedServer, settings: Settings, photos: PhotoSet
) -> None:
    assert server.pid is not None
    with bound_process(server.pid, server.model_repository, settings, 1) as ask:
        for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS"):
            assert ask(os.getenv, name).isdecimal()
        assert ask(turn, "faces", photos.photos, 0.05).per_second > 0
        assert len(ask(find_boxes, "faces", photos.photos[0])) == FACES
        with pytest.raises(PhotoError):
            ask(find_boxes, "faces", photos.photos[0][:100])
        with pytest.raises(ServerError, match="the bound failed: BrokenProcessPool"):
            ask(os.abort)


KILLED = """
import os, signal
from pathlib import Path
from benchmarks.bound import bound_process
with bound_process(os.getpid(), Path(), None, 0) as ask:
    print(ask(os.getpid), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_bound_process_ends_with_a_killed_parent() -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while (child := read(int(done.stdout))) and child.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    assert child is None or not child.alive


def test_bound_process_names_missing_models(
    server: EmbeddedServer, settings: Settings, tmp_path: Path
) -> None:
    assert server.pid is not None
    with (
        pytest.raises(FacekitError, match="facenet_preprocess"),
        bound_process(server.pid, tmp_path, settings, 1),
    ):
        pass


def test_text_names_every_part(results: dict[str, Any]) -> None:
    text = configuration_text(results["configuration"]) + results_text(results)
    for part in ("onnxruntime x", "Throughput", "Steps of faces", "medians", "growth", "Promised"):
        assert part in text


def test_plot_is_a_picture(results: dict[str, Any], tmp_path: Path) -> None:
    write_plot(results, tmp_path / "bench.png")
    with Image.open(tmp_path / "bench.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_plot_of_one_section_says_what_is_missing(results: dict[str, Any], tmp_path: Path) -> None:
    part = {**new_results(results["configuration"]), "postprocess": results["postprocess"]}
    write_plot(part, tmp_path / "part.png")
    assert (tmp_path / "part.png").stat().st_size > 10_000
    assert len(promises(part)) == 2


def test_seed_way_gives_the_landmarks_of_faces(sender: Sender, photos: PhotoSet) -> None:
    photo = photos.photos[0]
    answer = sender.ask("faces", {"image": photo[None]})
    boxes = sender.find_boxes(photo)
    assert len(boxes) == answer["count"][0, 0] > 0
    for k, box in enumerate(boxes):
        inputs = {"raw_image_data": photo[None], "true_boxes": box[None]}
        points = sender.ask("fpenet_ensemble", inputs)["keypoints"][0]
        # The published way cuts boxes to whole pixels: the crop moves by up to one.
        error = np.linalg.norm(points - answer["keypoints"][0, k], axis=1).mean()
        assert error < 0.05 * (box[2:] - box[:2]).max()


def test_seed_job_resends_the_photo_for_every_face(sender: Sender, photos: PhotoSet) -> None:
    photo = photos.photos[0]
    job = seed_job(sender, photo)
    assert len(job) == 1 + len(sender.find_boxes(photo))
    assert all(photo.tobytes() in data for data in job)
    assert all(name.encode() in job[1] for name in FPENET_OUTPUTS)


def test_bound_does_what_the_server_does(
    server: EmbeddedServer, settings: Settings, sender: Sender, photos: PhotoSet
) -> None:
    worker = BoundWorker(server.model_repository, settings)
    for photo in photos.photos[:2]:
        answer = sender.ask("faces", {"image": photo[None]})
        found, points, peaks = worker.faces(photo)
        np.testing.assert_allclose(found.boxes_xyxy, answer["boxes"][0], atol=1e-2)
        np.testing.assert_allclose(points, answer["keypoints"][0], atol=0.1)
        np.testing.assert_allclose(peaks, answer["keypoint_scores"][0], atol=1e-2)
        detected = worker.detect(photo)
        np.testing.assert_allclose(detected.boxes_xyxy, found.boxes_xyxy, atol=1e-3)


def test_photos_without_faces_are_named(sender: Sender) -> None:
    gray = encode(Image.new("L", (320, 240), 128), "JPEG")
    empty = PhotoSet("gray", (np.frombuffer(gray, np.uint8),))
    with pytest.raises(PhotoError, match="gray: no face found, so fpenet_ensemble"):
        sender.jobs("fpenet_ensemble", empty)


def test_sender_tells_the_server_s_reason(sender: Sender) -> None:
    with pytest.raises(ServerError, match="INVALID_ARGUMENT.*text"):
        sender.ask("faces", {"image": np.frombuffer(b"no photo at all", np.uint8)[None]})


def test_cli_writes_json_and_plot(
    server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "--url", server.grpc_url, "--only", "postprocess", "--seconds", "0.05",
                 "--photo-size", "320x240", "--faces", "2", "--json", "-",
                 "--plot", str(tmp_path / "p.png")]  # fmt: skip
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert data["configuration"]["run"]["sections"] == ["postprocess"]
    assert all(math.isfinite(row["ratio"]) for row in data["postprocess"])
    assert "scikit-learn" in err
    assert (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--photo-size", "12x", "expected WIDTHxHEIGHT"),
        ("--only", "speed", "no section 'speed'"),
        ("--seconds", "0", "above 0"),
        ("--concurrency", "1,x", "whole number >= 1, got x"),
    ],
)
def test_cli_refuses_wrong_options(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["bench", option, value])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_cli_replaces_no_file_of_others(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"images": []}')
    assert main(["bench", "--url", "127.0.0.1:9", option, str(path)]) == 2
    assert f"{path}: exists and was not written by facekit" in capsys.readouterr().err
    assert path.read_text() == '{"images": []}'


def test_cli_no_server(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert main(["bench", "--url", "127.0.0.1:9", "--photos", str(tmp_path)]) == 2
    assert "facekit:" in capsys.readouterr().err


def test_installation_without_the_clone_says_where_the_benchmarks_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_CLONE", tmp_path)
    assert main(["bench"]) == 2
    assert "in a clone of the repository" in capsys.readouterr().err

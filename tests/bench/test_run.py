"""A short run against the real server: everything is there, and both ways find the same."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from facekit.bench.bound import BoundWorker
from facekit.bench.bound_process import BoundProcess
from facekit.bench.load import PAIRS
from facekit.bench.measure import Rate
from facekit.bench.options import Options
from facekit.bench.photos import PhotoSet, mosaics
from facekit.bench.plot import write_plot
from facekit.bench.postprocess import UnequalError
from facekit.bench.report import configuration_text, results_text
from facekit.bench.results import (
    BARE_REQUESTS,
    NOTEBOOK_LOOP,
    SEED_LOOP,
    Comparison,
    Results,
)
from facekit.bench.run import MODELS, Bench
from facekit.bench.seed import OUTPUTS, find_boxes, seed_job
from facekit.bench.server import ServerInfo
from facekit.bench.wire import Sender, request
from facekit.cli import main
from facekit.errors import FacekitError, PhotoError, ServerError
from facekit.serving.embedded import EmbeddedServer
from tests.addresses import Proxy
from tests.fake_triton import FakeTriton

FACES = 4


@pytest.fixture(scope="module")
def photos() -> PhotoSet:
    return mosaics((640, 480), FACES)


@pytest.fixture
def sender(server: EmbeddedServer) -> Any:
    sender = Sender(server.grpc_url)
    yield sender
    sender.close()


@pytest.fixture(scope="module")
def results(server: EmbeddedServer, photos: PhotoSet) -> Results:
    options = Options(
        (photos,), server.model_repository, seconds=0.1, concurrency=(1, 2), soak=40, annotated=3
    )
    bench = Bench(server.grpc_url, server.pid, options)
    advanced = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facekit.bench.run.ANNOTATE_PAIRS", 1)
        bench.run(lambda: advanced.append(1))
        assert len(advanced) == bench.steps()
    bench.close()
    return bench.results


def test_json_is_complete_and_finite(results: Results) -> None:
    data = json.loads(json.dumps(results.to_dict(), allow_nan=False))
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


def _comparison(found: tuple[int, ...]) -> Comparison:
    return Comparison("faces", SEED_LOOP, "p", 8, found, 2, 2, 50.0, 10.0, 5.0, (5.0,), 1.0, 1.0)


def test_server_may_do_without_the_mask_detector(server: EmbeddedServer) -> None:
    with FakeTriton() as fake:
        info = ServerInfo(fake.url)
        assert [name for name in MODELS if info.serves(name)] == [
            "facenet_ensemble", "fpenet_ensemble", "faces"
        ]  # fmt: skip
        info.close()
    info = ServerInfo(server.grpc_url)
    assert all(info.serves(name) for name in MODELS)
    info.close()


def test_servers_of_this_machine_are_measured_past_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Proxy() as proxy, FakeTriton() as fake:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        info = ServerInfo(fake.url)
        assert info.serves("faces")
        with contextlib.suppress(ServerError):  # the fake has no statistics
            info.counters()
        info.close()
        sender = Sender(fake.url)
        photo = np.zeros((1, 8), np.uint8)
        assert sender.send(request("faces", {"image": photo}, ["boxes"]))
        sender.close()
        assert not proxy.asked


def test_promise_holds_only_with_the_faces_that_were_asked_for() -> None:
    assert [p.kept for p in Results({}, seed=[_comparison((8, 8))]).promises()] == [True]
    results = Results({}, seed=[_comparison((8, 7))])
    assert [p.kept for p in results.promises()] == [False]
    assert "NO: 8, 7 faces found, not 8" in results_text(results)


def test_without_the_process_bound_and_memory_are_skipped_and_named(
    server: EmbeddedServer, photos: PhotoSet
) -> None:
    options = Options((photos,), server.model_repository, only=("bound", "memory"))
    bench = Bench(server.grpc_url, None, options)
    assert bench.steps() == 0
    text = results_text(bench.run(lambda: None))
    bench.close()
    assert not bench.results.bound and bench.results.memory is None
    assert "Not measured" in text and "another machine" in text


def test_beside_measures_another_server_in_turns(server: EmbeddedServer, photos: PhotoSet) -> None:
    options = Options(
        (photos,), server.model_repository, 0.1, (1,), only=("beside",), beside=server.grpc_url
    )
    advanced = []
    with contextlib.closing(Bench(server.grpc_url, None, options)) as bench:
        results = bench.run(lambda: advanced.append(1))
        assert len(advanced) == bench.steps() == 2 * PAIRS
    (row,) = results.beside
    assert row.against == f"faces of {server.grpc_url}"
    assert set(row.found) == {FACES}
    assert min(row.ours, row.theirs, *row.ratios) > 0
    assert row.against in results_text(results)


def test_beside_refuses_a_server_that_finds_other_faces(
    server: EmbeddedServer, photos: PhotoSet
) -> None:
    nothing = {
        "true_boxes": np.zeros((1, 0, 4), np.float32),
        "true_proba": np.zeros((1, 0, 1), np.float32),
        "true_image_size": np.array([[480, 640, 3]]),
        "true_count": np.zeros((1, 1), np.int32),
    }
    options = Options((photos,), server.model_repository, only=("beside",))
    with (
        FakeTriton(lambda model, inputs, context: nothing) as fake,
        contextlib.closing(
            Bench(server.grpc_url, None, replace(options, beside=fake.url))
        ) as bench,
        pytest.raises(UnequalError, match=f"{fake.url} find different faces"),
    ):
        bench.run(lambda: None)


def test_compare_refuses_rates_with_failures(server: EmbeddedServer, photos: PhotoSet) -> None:
    bench = Bench(server.grpc_url, None, Options((photos,), server.model_repository, seconds=0.01))
    right = Rate(1.0, 1.0, 1.0, 1.0, 1, 0, 1.0, 1.0)
    wrong = replace(right, per_second=0.0, errors=3, first_error="out of memory")
    with pytest.raises(ServerError, match="a beside b: 3 failed, the first with: out of memory"):
        bench._load.compare(
            ("a", "b"), photos, [], (1, 1), lambda s: right, lambda s: wrong, lambda: None
        )
    bench.close()


def test_bound_must_find_the_server_s_boxes(server: EmbeddedServer, photos: PhotoSet) -> None:
    class Shifted:
        def boxes(self, model: str, photo_set: int, photo: int) -> Any:
            key = "boxes" if model == "faces" else "true_boxes"
            name = "image" if model == "faces" else "input_image_data"
            return bench._load.sender.ask(model, {name: photos.photos[photo][None]})[key][0] + 0.5

    bench = Bench(server.grpc_url, None, Options((photos,), server.model_repository))
    for model in ("facenet_ensemble", "faces"):
        with pytest.raises(UnequalError, match=f"{model}: server and bound"):
            bench._check_bound(cast(BoundProcess, Shifted()), model, 0)
    bench.close()


def test_bound_process_has_the_server_s_environment(
    server: EmbeddedServer, photos: PhotoSet
) -> None:
    assert server.pid is not None
    info = ServerInfo(server.grpc_url)
    settings = info.settings()
    info.close()
    arguments = (server.model_repository, settings, [photos], 1)
    with contextlib.closing(BoundProcess(server.pid, *arguments)) as bound:
        for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS"):
            assert (bound.variable(name) or "").isdecimal()
        assert bound.rate("faces", 0, 0.05).per_second > 0
        with pytest.raises(ServerError, match="the bound failed: IndexError"):
            bound.boxes("faces", 7, 0)


def test_bound_process_names_missing_models(server: EmbeddedServer, tmp_path: Path) -> None:
    info = ServerInfo(server.grpc_url)
    settings = info.settings()
    info.close()
    assert server.pid is not None
    with pytest.raises(FacekitError, match="facenet_preprocess"):
        BoundProcess(server.pid, tmp_path, settings, [], 1)


def test_text_names_every_part(results: Results) -> None:
    text = configuration_text(results.configuration) + results_text(results)
    for part in ("onnxruntime x", "Throughput", "Steps of faces", "medians", "growth", "Promised"):
        assert part in text


def test_plot_is_a_picture(results: Results, tmp_path: Path) -> None:
    write_plot(results, tmp_path / "bench.png")
    with Image.open(tmp_path / "bench.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_plot_of_one_section_says_what_is_missing(results: Results, tmp_path: Path) -> None:
    part = Results(results.configuration, postprocess=results.postprocess)
    write_plot(part, tmp_path / "part.png")
    assert (tmp_path / "part.png").stat().st_size > 10_000
    assert len(part.promises()) == 2


def test_seed_way_gives_the_landmarks_of_faces(sender: Sender, photos: PhotoSet) -> None:
    photo = photos.photos[0]
    answer = sender.ask("faces", {"image": photo[None]})
    boxes = find_boxes(sender, photo)
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
    assert len(job) == 1 + len(find_boxes(sender, photo))
    assert all(photo.tobytes() in data for data in job)
    assert all(name.encode() in job[1] for name in OUTPUTS)


def test_bound_does_what_the_server_does(
    server: EmbeddedServer, sender: Sender, photos: PhotoSet
) -> None:
    info = ServerInfo(server.grpc_url)
    worker = BoundWorker(server.model_repository, info.settings())
    info.close()
    for photo in photos.photos[:2]:
        answer = sender.ask("faces", {"image": photo[None]})
        found, points, peaks = worker.faces(photo)
        np.testing.assert_allclose(found.boxes_xyxy, answer["boxes"][0], atol=1e-2)
        np.testing.assert_allclose(points, answer["keypoints"][0], atol=0.1)
        np.testing.assert_allclose(peaks, answer["keypoint_scores"][0], atol=1e-2)
        detected = worker.detect(photo)
        np.testing.assert_allclose(detected.boxes_xyxy, found.boxes_xyxy, atol=1e-3)


def test_photos_without_faces_are_named(
    server: EmbeddedServer, photos: PhotoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the network makes of a photo is not what is tested here.
    nothing = np.empty((0, 4), np.int32)
    monkeypatch.setattr("facekit.bench.load.find_boxes", lambda sender, photo: nothing)
    options = Options((photos,), server.model_repository)
    bench = Bench(server.grpc_url, None, options)
    with pytest.raises(PhotoError, match="4 faces: no face found, so fpenet_ensemble"):
        bench._load.jobs("fpenet_ensemble", options.photo_sets[0])
    bench.close()


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
        ("--concurrency", "1,x", "above 0"),
    ],
)
def test_cli_refuses_wrong_options(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["bench", option, value])
    assert message in capsys.readouterr().err


def test_cli_no_server(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert main(["bench", "--url", "127.0.0.1:9", "--photos", str(tmp_path)]) == 2
    assert "facekit:" in capsys.readouterr().err


def test_sender_tells_the_server_s_reason(sender: Sender) -> None:
    with pytest.raises(ServerError, match="INVALID_ARGUMENT.*text"):
        sender.ask("faces", {"image": np.frombuffer(b"no photo at all", np.uint8)[None]})

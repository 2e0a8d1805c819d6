"""Servers, photos and files that fail, before the work and in the midst of it."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from facekit.cli import evaluate, main
from tests.cli.evaluate.three_faces import FACE, HEIGHT, PROBE, WIDTH, faces_of, kitti, rows
from tests.fake_triton import FakeTriton


def test_two_servers_are_compared_on_the_photos_that_both_answered(
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Image.new("RGB", (WIDTH, HEIGHT), "white")
    broken.save(data / "images" / "b.png")
    marked = (data / "images" / "b.png").read_bytes()

    def worse(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        if inputs["image"].tobytes() == marked:
            context.abort(grpc.StatusCode.INTERNAL, "a bad day")
        answer = faces_of(model, inputs, context)
        answer["boxes"] = answer["boxes"] + np.float32(300)
        return answer

    (data / "images" / "text.png").write_text("no photo")
    (data / "labels" / "text.txt").write_text("")
    path = tmp_path / "out.json"
    with FakeTriton(worse) as other:
        argv = ["evaluate", "--labels", str(data), "--url", url, "--url", other.url]
        assert main([*argv, "--json", str(path)]) == 1
    out = capsys.readouterr().out
    found = rows(out, "any face")
    assert [row[3] for row in found[:2]] == ["at", "at"]
    assert [row[4] for row in found[:2]] == [url, other.url]
    assert found[0][5] == found[1][5] == "2"
    assert float(found[0][6]) > 0.6 and float(found[1][6]) == 0
    assert "1 photo with 2 faces" in out
    # Each failure says whose it is.
    assert out.split("Left out, 2 in all:\n")[1].splitlines() == [
        f"  faces at {other.url}: {data}/images/b.png: faces: a bad day (INTERNAL)",
        f"  faces at {url}: {data}/images/text.png: not a photo but text",
        f"  faces at {other.url}: {data}/images/text.png: not a photo but text",
    ]
    failures = json.loads(path.read_text("utf-8"))["failures"]
    names = [f"faces at {one}" for one in (other.url, url, other.url)]
    assert [failure["server"] for failure in failures] == names


def test_what_cannot_be_used_is_reported_and_stops_nothing(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = data / "images", data / "labels"
    (labels / "broken.txt").write_text(kitti(("Mask", FACE)) + "Mask 0 0\n")
    (labels / "gone.txt").write_text("")
    (labels / "text.txt").write_text("")
    (images / "text.png").write_text("no photo")
    (labels / "far.txt").write_text(kitti(("Mask", [800, 10, 900, 100])))
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "far.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "broken.png")
    assert main(["evaluate", "--labels", str(data), "--url", url]) == 1
    out = capsys.readouterr().out
    assert "2 photos with 5 faces." in out
    failures = out.split("Left out, 4 in all:\n")[1]
    assert "broken.txt:2: " in failures
    assert "gone.txt: no photo gone.*" in failures
    assert "text.png: not a photo but text" in failures
    assert "far.txt: box 1 (800, 10, 900, 100) lies outside its photo of 736x416" in failures


def test_all_servers_and_models_must_answer_before_one_is_asked(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_masks(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        if model == "facemask_ensemble":
            context.abort(grpc.StatusCode.INTERNAL, "out of memory")
        return faces_of(model, inputs, context)

    argv = ["evaluate", "--labels", str(data)]
    with FakeTriton(faces_of) as good:
        with FakeTriton(no_masks) as bad:
            both = ["--url", good.url, "--url", bad.url]
            assert main([*argv, *both, "--model", "faces", "--model", "facemask_ensemble"]) == 2
            # The kit's own photo, and none of the data's.
            sent = [
                photo for _, inputs in (good.received + bad.received) for photo in inputs.values()
            ]
            assert {photo.tobytes() for photo in sent} == {PROBE}
            err = capsys.readouterr().err
            assert f"facemask_ensemble at {bad.url} does not answer: " in err
            assert "out of memory" in err
        good.received.clear()
        assert main([*argv, *both]) == 2
        assert good.received == []
        assert f"no server is ready at {bad.url}" in capsys.readouterr().err


def test_a_model_that_is_not_served_ends_the_run(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        context.abort(
            grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{model}' is not found"
        )
        raise AssertionError("abort raises")

    for number in range(40):
        (data / "labels" / f"more{number}.txt").write_text("")
        Image.new("RGB", (8, 8)).save(data / "images" / f"more{number}.png")
    with FakeTriton(missing) as fake:
        argv = ["evaluate", "--labels", str(data), "--url", fake.url]
        assert main([*argv, "--model", "facemask_ensemble"]) == 2
        assert len(fake.received) == 1
    assert "facemask_ensemble" in capsys.readouterr().err


def test_json_that_cannot_be_written_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.json"

    def meanwhile(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        target.mkdir(exist_ok=True)
        return faces_of(model, inputs, context)

    with FakeTriton(meanwhile) as fake:
        argv = ["evaluate", "--labels", str(data), "--url", fake.url, "--json", str(target)]
        assert main(argv) == 2
    out, err = capsys.readouterr()
    # What was measured is not lost with it.
    assert "any face" in out and f"{target}: cannot be written: Is a directory" in err


def test_an_error_of_the_system_names_its_file(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "/some/folder")

    monkeypatch.setattr(evaluate, "run", run)
    assert main(["evaluate", "--labels", str(data)]) == 2
    assert capsys.readouterr().err == "facekit: /some/folder: Permission denied\n"

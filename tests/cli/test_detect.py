from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

import facekit
from facekit.cli import build_parser, main
from facekit.client.calls import DETECTORS
from facekit.data import probe_photo
from facekit.draw import CLASS_COLORS
from tests.fake_triton import FakeTriton, slow

NO_SERVER = "127.0.0.1:1"


def detect_parser() -> argparse.ArgumentParser:
    subparsers = build_parser()._subparsers
    assert subparsers is not None
    parser: argparse.ArgumentParser = subparsers._group_actions[0].choices["detect"]  # type: ignore[index]
    return parser


def test_models_of_detect_are_the_client_s() -> None:
    action = next(a for a in detect_parser()._actions if a.dest == "model")
    assert sorted(action.choices or ()) == sorted(DETECTORS) and action.default == "faces"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND"),
        (["nothing"], "invalid choice: 'nothing'"),
        (["detect"], "PHOTO"),
        (["detect", "a.jpg", "--min-score", "2"], "expected a number from 0 to 1, got 2"),
        (["detect", "a.jpg", "--min-score", "x"], "expected a number from 0 to 1, got x"),
        (["detect", "a.jpg", "--model", "fpenet"], "invalid choice: 'fpenet'"),
        (["detect", "a.jpg", "--timeout", "0"], "expected seconds > 0 and <= 86,400, got 0"),
        (["detect", "a.jpg", "--timeout", "inf"], "expected seconds > 0 and <= 86,400, got inf"),
        (["status", "--timeout", "1e12"], "expected seconds > 0 and <= 86,400, got 1e12"),
        (["status", "--timeout", "nan"], "expected seconds > 0 and <= 86,400, got nan"),
        (["status", "--timeout", "x"], "expected seconds > 0 and <= 86,400, got x"),
    ],
)
def test_wrong_options_are_named(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_detect_prints_a_table(
    url: str,
    photo: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photo.parent)
    assert main(["detect", photo.name, "--url", url]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[2].split() == ["photo.jpg", "360x300", "2", "0.50-0.90", "94x106"]
    assert out.splitlines()[-1] == "2 faces in 1 photo" and err == ""


def test_detect_with_the_mask_detector_counts_draws_and_writes_the_classes(
    url: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "faces.json"
    argv = ["detect", str(photo), "--url", url, "--model", "facemask_ensemble"]
    assert main([*argv, "--json", str(path), "--draw", str(tmp_path / "drawn")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[2:5] == ["faces", "mask", "no-mask"]
    assert out[2].split()[1:5] == ["360x300", "2", "1", "1"]
    assert out[-1] == "2 faces in 1 photo: 1 mask, 1 no-mask"
    (entry,) = json.loads(path.read_text("utf-8"))["photos"]
    assert [face["class_name"] for face in entry["faces"]] == ["no-mask", "mask"]
    picture = np.asarray(Image.open(entry["drawing"]), int)
    for color in CLASS_COLORS[:2]:
        assert (np.abs(picture - color).sum(axis=2) < 60).sum() > 30


def test_detect_bad_photos_are_reported_and_stop_nothing(
    url: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no photo")
    empty = tmp_path / "empty"
    empty.mkdir()
    given = [text, photo, tmp_path / "missing.jpg", empty, photo.parent, tmp_path / "blank"]
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank/a.jpg").touch()
    assert main(["detect", *map(str, given), "--url", url]) == 1
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == 7
    assert "failed: not a photo but text" in lines[0]
    assert "360x300" in lines[1] and "360x300" in lines[4]
    assert "failed: No such file or directory" in lines[2]
    assert "failed: a folder without photos" in lines[3]
    assert lines[5].endswith("failed: empty: it contains no bytes")
    assert lines[6] == "4 faces in 2 photos; 4 photos failed"


def test_detect_paths_that_cannot_be_looked_at_are_reported_and_stop_nothing(
    url: str,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = tmp_path / "closed" / "photo.jpg"
    is_dir = Path.is_dir

    def refuse(path: Path) -> bool:
        # What a folder that may not be entered answers; an administrator may enter all.
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert main(["detect", "x" * 300, str(closed), str(photo), "--url", url]) == 1
    lines = capsys.readouterr().out.splitlines()[2:]
    assert "failed: File name too long" in lines[0]
    assert "failed: Permission denied" in lines[1]
    assert "360x300" in lines[2]
    assert lines[3] == "2 faces in 1 photo; 2 photos failed"


def test_detect_folder_gives_its_photos_in_order_and_names_what_it_cannot_read(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.JPG", "a.jpeg", "a.jpe", ".hidden.jpg", "no-suffix", "a.faces.jpg"):
        (tmp_path / name).write_bytes(probe_photo())
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(30))
    (tmp_path / "smile.gif").write_bytes(b"GIF89a" + bytes(30))
    (tmp_path / "sub.jpg").mkdir()
    assert main(["detect", str(tmp_path), "--url", url]) == 1
    *rows, total = capsys.readouterr().out.splitlines()[2:]
    found = [(Path(row.split()[0]).name, "failed" in row) for row in rows]
    assert [name for name, failed in found if not failed] == [
        "a.jpe",
        "a.jpeg",
        "b.JPG",
        "no-suffix",
    ]
    heic, gif = (row.partition("failed: ")[2] for row in rows if "failed" in row)
    assert heic.startswith("not a photo but an HEIC or AVIF picture; JPEG, PNG")
    assert gif.startswith("not a photo but a GIF; ")
    assert total == "8 faces in 4 photos; 2 photos failed"


def test_detect_without_any_photo_needs_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "missing.jpg", "--url", NO_SERVER]) == 1
    assert "failed: No such file or directory" in capsys.readouterr().out


def test_detect_with_no_server_there_says_so(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeTriton() as gone:
        pass
    assert main(["detect", str(photo), "--url", gone.url, "--timeout", "5"]) == 2
    assert capsys.readouterr().err == (
        f"facekit: no server is ready at {gone.url} (gRPC, not the HTTP port; an encrypted one "
        "needs tls_certificate, or --tls-cert). If it is starting, try again; else start one with "
        "scripts/serve, or leave out --url\n"
    )


@pytest.mark.parametrize("command", [["detect"], ["annotate", "--coco", "out.json"]])
def test_without_models_a_running_server_is_advised(
    photo: Path,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photo.parent)
    monkeypatch.setenv("FACEKIT_MODEL_REPOSITORY", "nowhere")
    given = str(photo if command == ["detect"] else photo.parent)
    assert main([command[0], given, *command[1:]]) == 2
    err = capsys.readouterr().err
    assert "nowhere does not exist: name a running server with --url" in err
    assert "--model-repository" not in err


def test_detect_wrong_url_is_refused(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(photo), "--url", "http://localhost:8000"]) == 2
    assert "such as localhost:8001; got http://localhost:8000" in capsys.readouterr().err


def test_missing_extra_is_named(url: str, photo: Path) -> None:
    code = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'PIL':\n"
        "            raise ModuleNotFoundError('blocked', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from facekit.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "detect", str(photo), "--url", url, *more],
            capture_output=True, text=True, check=False, cwd=Path(facekit.__file__).parents[1],
        )  # fmt: skip

    plain = run()
    assert plain.returncode == 0, plain.stderr
    drawing = run("--draw", str(photo.parent))
    assert drawing.returncode == 2
    assert "PIL is not installed: install facekit-triton[draw] " in drawing.stderr


def test_interrupt_ends_the_run_at_once_though_requests_hang(photo: Path) -> None:
    with FakeTriton(slow(50)) as fake:
        process = subprocess.Popen(
            [sys.executable, "-m", "facekit.cli", "detect", *[str(photo)] * 20, "--url", fake.url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=Path(facekit.__file__).parents[1],
        )  # fmt: skip
        while not fake.received:
            assert process.poll() is None
            time.sleep(0.01)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, "", "facekit: stopped\n")
        assert time.monotonic() - start < 20  # The requests' own time is 30 s.


def test_reader_that_leaves_early_gets_no_traceback(url: str, photo: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "facekit.cli", "detect", str(photo), "--url", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(facekit.__file__).parents[1],
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1 and error == ""


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("facemask_ensemble", "facemask/1/model.onnx; then restart the server"),
        ("faces", "Its log says what it could not load"),
    ],
)
def test_detect_with_a_model_that_is_not_served_ends_at_once_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, words: str
) -> None:
    def refuse(
        name: str, _: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        context.abort(
            grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found"
        )
        raise AssertionError("abort raises")

    for number in range(20):
        (tmp_path / f"{number}.jpg").write_bytes(probe_photo())
    with FakeTriton(refuse) as fake:
        assert main(["detect", "--url", fake.url, "--model", model, str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    (line,) = (line for line in err.splitlines() if line.startswith("facekit: "))
    assert f"does not serve the model '{model}'" in line and line.endswith(words)
    assert out == "" and err.count("unknown model") == 1

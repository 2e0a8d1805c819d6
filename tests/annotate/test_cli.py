"""The command ``facekit annotate``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

from facekit.cli import main
from facekit.data import probe_photo
from tests.annotate.folders import by_content, coco_photos, counted, fill, put, read
from tests.fake_triton import FakeTriton


def run(folder: Path, *options: str) -> int:
    return main(["annotate", str(folder / "photos"), "--coco", str(folder / "i.json"), *options])


def test_the_last_line_says_what_came_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "photos", 5)
    put(tmp_path / "photos" / "a.gif", b"GIF89a")
    with FakeTriton(by_content()) as triton:
        assert run(tmp_path, "--url", triton.url, "--seed-fields") == 1
        faces = len(read(tmp_path / "i.json")["annotations"])
        said = capsys.readouterr()
        assert said.err == ""
        assert said.out == (
            f"5 photos, {faces} faces; 1 failed (6 new or changed, 0 unchanged, 0 removed); "
            f"written: {tmp_path}/i.json, {tmp_path}/i.failures.jsonl\n"
        )
        (tmp_path / "photos" / "a.gif").unlink()
        assert run(tmp_path, "--url", triton.url) == 0
    said = capsys.readouterr()
    assert "5 photos" in said.out
    assert "(0 new or changed, 5 unchanged, 1 removed)" in said.out
    assert not (tmp_path / "i.failures.jsonl").exists()


def test_urls_are_given_by_commas_and_by_repeating(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 30)
    answers = [counted(by_content(0.01)) for _ in range(3)]
    with (
        FakeTriton(answers[0][0]) as a,
        FakeTriton(answers[1][0]) as b,
        FakeTriton(answers[2][0]) as c,
    ):
        assert run(tmp_path, "--url", f"{a.url},{b.url}", "--url", c.url) == 0
    assert all(asked() > 3 for _, asked in answers)
    assert sum(asked() for _, asked in answers) == 30


def test_with_nothing_new_no_server_is_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 2)
    with FakeTriton(by_content()) as triton:
        assert run(tmp_path, "--url", triton.url) == 0
    assert run(tmp_path, "--url", triton.url) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--url", "127.0.0.1:9", "--server-wait", "0"], "no server is ready at 127.0.0.1:9"),
        (["--url", "nonsense"], "expected host:port"),
        (["--store", "mysql://x"], "mysql"),
        (["--jsonl", "/"], "is a folder"),
        (["--dataset", "x"], "needs --store"),
        (["--dataset", ""], "needs --store"),
        (["--dataset", "", "--store", "sqlite:///s.db"], "expected a name"),
    ],
)
def test_what_cannot_go_on_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    fill(tmp_path / "photos", 1)
    assert run(tmp_path, *options) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    "option",
    [["--min-score", "2"], ["--concurrency", "0"], ["--concurrency", "1.5"], ["--url", ","]],
)
def test_options_out_of_range_are_refused(tmp_path: Path, option: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, *option)
    assert caught.value.code == 2


def test_a_store_holds_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "photos", 4)
    with FakeTriton(by_content()) as triton:
        store = f"sqlite:///{tmp_path}/store.db"
        assert run(tmp_path, "--url", triton.url, "--store", store) == 0
    faces = len(read(tmp_path / "i.json")["annotations"])
    assert f"dataset photos: 4 photos, {faces} faces" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")
def test_an_encrypted_server_is_asked_with_its_certificate(tmp_path: Path) -> None:
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=faces.example -addext subjectAltName=DNS:faces.example"
        " -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    pair = (tmp_path / "key.pem").read_bytes(), (tmp_path / "cert.pem").read_bytes()
    fill(tmp_path / "photos", 3)
    with FakeTriton(by_content(), credentials=grpc.ssl_server_credentials([pair])) as triton:
        assert run(tmp_path, "--url", triton.url, "--tls-cert", str(tmp_path / "cert.pem")) == 0


def test_without_a_url_an_embedded_server_runs_meanwhile(tmp_path: Path) -> None:
    put(tmp_path / "photos" / "face.jpg", probe_photo())
    assert run(tmp_path) == 0
    assert coco_photos(tmp_path / "i.json") == {1: "face.jpg"}
    assert read(tmp_path / "i.json")["annotations"]


def test_tiles_and_rotations_are_asked_for_and_part_of_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "photos", 3)
    with FakeTriton(by_content()) as triton:
        closer = ("--url", triton.url, "--tiles", "auto", "--rotations", "90,180")
        assert run(tmp_path, *closer) == 0
        sent = {"tiles": "auto", "rotations": "90,180"}
        assert [given for given in triton.parameters if given] == [sent] * 3
        # The same again goes on; another search would mix results.
        assert run(tmp_path, *closer) == 0
        assert run(tmp_path, "--url", triton.url) == 2
        said = capsys.readouterr().err
        assert "of the model faces with tiles=auto and rotations=90,180, not of faces" in said
        assert run(tmp_path, "--url", triton.url, "--tiles", "none") == 2
    assert "tiles: expected off, auto or a number" in capsys.readouterr().err

"""Runs that are refused before any work, and leave everything as it was."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.annotate import Options, Outputs, annotate
from facekit.annotations.output import OUTPUT_MARK, config_path
from facekit.cli import main
from facekit.errors import DataError, ServerUnavailableError
from tests.annotate.folders import by_content, counted, failures, fill, photo, put
from tests.fake_triton import FakeTriton

# Files that a slip of the hand names as outputs, and that took somebody days.
OTHERS = {
    "coco": b'{"images": [], "annotations": [], "categories": []}',
    "diary": b"Dear diary",
    "jsonl": b'{"text": "mine"}\n',
    "failures": b'{"what": "else"}\n',
    "results": b"Dear results",
    "config": b"<View><Image/></View>",
}


@pytest.fixture
def triton() -> Iterator[FakeTriton]:
    with FakeTriton(by_content()) as running:
        yield running


def contents(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "options", "content"),
    [
        ("i.json", [], "coco"),
        ("i.json", [], "diary"),
        ("i.jsonl", ["--jsonl", "i.jsonl"], "jsonl"),
        ("i.parquet", ["--parquet", "i.parquet"], "diary"),
        ("ls.json", ["--label-studio", "ls.json"], "coco"),
        (config_path(Path("ls.json")).name, ["--label-studio", "ls.json"], "config"),
        ("fo.json", ["--fiftyone", "fo.json"], "coco"),
        ("i.failures.jsonl", [], "failures"),
        ("i.json.results", [], "results"),
    ],
)
def test_what_another_wrote_is_never_replaced(
    tmp_path: Path,
    triton: FakeTriton,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: list[str],
    content: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "photos", 2)
    put(tmp_path / "photos" / "bad.jpg", b"words")
    put(tmp_path / name, OTHERS[content])
    before = contents(tmp_path)
    triton.answer, asked = counted(triton.answer)
    assert main(["annotate", "photos", "--coco", "i.json", "--url", triton.url, *options]) == 2
    assert name in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert asked() == 0


def test_what_an_earlier_run_wrote_is_replaced(tmp_path: Path, triton: FakeTriton) -> None:
    pytest.importorskip("pyarrow")
    fill(tmp_path / "photos", 2)
    put(tmp_path / "photos" / 'a "\\ é.jpg', b"words")
    place = tmp_path / "out"
    names = ("i.json", "i.jsonl", "i.parquet", "ls.json", "fo.json")
    outputs = Outputs(*(place / name for name in names))
    for _ in range(2):
        assert annotate(tmp_path / "photos", outputs, Options(urls=(triton.url,))).failures == 1
        assert len(failures(outputs.coco)) == 1


@pytest.mark.parametrize("made", [False, True])
def test_a_refused_run_leaves_no_journal_and_no_folder(tmp_path: Path, made: bool) -> None:
    (tmp_path / "photos").mkdir()
    coco = tmp_path / "a" / "b" / "i.json"
    if made:
        coco.parent.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="contains no photos"):
        annotate(tmp_path / "photos", Outputs(coco))
    assert sorted(tmp_path.rglob("*")) == before
    put(tmp_path / "photos" / "a.jpg", photo(1))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ServerUnavailableError):
        annotate(
            tmp_path / "photos", Outputs(coco), Options(urls=("127.0.0.1:9",), server_wait_s=0)
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_photo_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (name,) = fill(tmp_path, 1, first=1)
    with pytest.raises(DataError, match=f"{name}: is a photo; give the folder .*: {tmp_path}$"):
        annotate(tmp_path / name, Outputs(tmp_path / "i.json"))


def test_a_pipe_in_place_of_a_list_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.txt")
    caught: list[Exception] = []

    def run() -> None:
        try:
            annotate(tmp_path / "list.txt", Outputs(tmp_path / "i.json"))
        except DataError as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert [str(error).partition(": ")[2] for error in caught] == [
        "is neither a folder nor a file with a list of addresses"
    ]


def test_a_folder_of_the_kits_own_pictures_is_told(tmp_path: Path) -> None:
    fill(tmp_path / "chips", 2)
    put(tmp_path / "chips" / OUTPUT_MARK, b"")
    with pytest.raises(DataError, match=r"marked by the file \.facekit-output"):
        annotate(tmp_path / "chips", Outputs(tmp_path / "i.json"))

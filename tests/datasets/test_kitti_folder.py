"""The folder that is filled: killed runs, two runs at once, long names, sizes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facekit.datasets.kitti_folder import KittiFolder, read_frame_size
from facekit.errors import DataError
from tests.datasets.face_sets import FRAME_WH, write_photo
from tests.datasets.tutorial_sets import SIZE, contents, convert, labels

# Writes two frames, and stops for good before the third one's picture has its name.
_RUN = """
import sys, time
from pathlib import Path
from facekit.datasets.kitti_folder import KittiFolder


replace = Path.replace
def stop(path, target):
    if target.name == "set_third.jpg":
        print("stuck", flush=True)
        time.sleep(600)
    return replace(path, target)
Path.replace = stop
with KittiFolder(Path(sys.argv[1]), (400, 400)) as folder:
    for name in ("first", "second", "third"):
        folder.write("set", name, name + ".png", name.encode(), "")
"""


@contextmanager
def stuck_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _RUN, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "stuck\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_the_run_after_a_killed_one_knows_its_files(tmp_path: Path) -> None:
    with KittiFolder(tmp_path, FRAME_WH) as folder:
        folder.write("other", "kept", "kept.png", b"kept", "")
    with stuck_run(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    left = files(tmp_path)
    assert "images/set_first.jpg" in left and "labels/set_third.txt" in left
    assert any(name.endswith(".part") for name in left)
    with KittiFolder(tmp_path, FRAME_WH) as folder:
        folder.write("set", "second", "second.png", b"second", "")
        assert folder.finish_set("set") == 2
    kept = ["other_kept", "set_second"]
    assert files(tmp_path) == [
        *(f"images/{name}.jpg" for name in kept),
        *(f"labels/{name}.txt" for name in kept),
        "sources.json",
    ]
    told = json.loads((tmp_path / "sources.json").read_text())
    assert told == {
        "photos": {"other_kept": "kept.png", "set_second": "second.png"},
        "size_wh": [400, 400],
    }


def test_a_journal_that_a_kill_cut_short_is_read_up_to_there(tmp_path: Path) -> None:
    with KittiFolder(tmp_path, FRAME_WH) as folder:
        folder.write("set", "a", "a.png", b"a", "")
    (tmp_path / "sources.journal").write_text('["set_b", "b.png"]\n["set_c", "c.p')
    with KittiFolder(tmp_path, FRAME_WH) as folder:
        assert folder.finish_set("set") == 2
    assert not (tmp_path / "sources.journal").exists()


def test_two_runs_cannot_fill_one_folder(tmp_path: Path) -> None:
    with stuck_run(tmp_path) as process:
        expected = f"is being filled by process {process.pid} on "
        with pytest.raises(DataError, match=expected) as caught, KittiFolder(tmp_path, FRAME_WH):
            pass
        assert caught.value.path == tmp_path
        # The run that holds it loses nothing by that.
        assert (tmp_path / "sources.journal").read_text().count("\n") == 3
    with KittiFolder(tmp_path, FRAME_WH):
        pass


def test_frames_of_one_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photo(tmp_path / "e" / "x.jpg")
    options = ("--empty-path", str(tmp_path / "e"))
    out = tmp_path / "out"
    assert convert(out, *options, *SIZE) == 0
    assert read_frame_size(out / "train") == FRAME_WH
    before = contents(out)
    assert convert(out, *options) == 2
    said = capsys.readouterr().err
    assert f"{out / 'train'}: contains frames of 400 x 400 pixels, not 960 x 544: use" in said
    assert contents(out) == before
    assert read_frame_size(tmp_path) is None


@pytest.mark.parametrize("text", ["[]", '{"size_wh": 3, "photos": {}}', '{"a": "b"}'])
def test_other_lists_of_sources_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.json").write_text(text)
    with (
        pytest.raises(DataError, match=r"sources.json: is not a list of sources; remove it"),
        KittiFolder(tmp_path, FRAME_WH),
    ):
        pass
    # The lock goes with it.
    assert files(tmp_path) == ["sources.json"]


def test_long_names_are_shortened_and_stay_apart(tmp_path: Path) -> None:
    names = ["n" * 249, "n" * 248 + "m", "é" * 124 + "x"]
    for seed, name in enumerate(names):
        write_photo(tmp_path / "e" / f"{name}.jpg", seed=seed)
    options = ("--empty-path", str(tmp_path / "e"), *SIZE)
    assert convert(tmp_path / "out", *options) == 0
    found = labels(tmp_path / "out" / "train")
    assert len(found) == 3
    assert all(len(os.fsencode(name)) <= 200 for name in found)
    assert sum(name.startswith("empty_" + "n" * 100) for name in found) == 2
    before = contents(tmp_path / "out")
    assert convert(tmp_path / "out", *options) == 0
    assert contents(tmp_path / "out") == before


def test_a_name_that_fits_stays(tmp_path: Path) -> None:
    with KittiFolder(tmp_path, FRAME_WH) as folder:
        assert folder.write("set", "n" * 196, "x", b"", "") == "set_" + "n" * 196
        assert len(folder.write("set", "n" * 197, "x", b"", "")) == 200


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("")
    with (
        pytest.raises(DataError, match="images: cannot be"),
        KittiFolder(tmp_path, FRAME_WH),
    ):
        pass
    (tmp_path / "images").unlink()
    with (
        KittiFolder(tmp_path, FRAME_WH) as folder,
        pytest.raises(DataError, match=r"set_a.jpg: cannot be written: Is a directory"),
    ):
        (tmp_path / "images" / "set_a.jpg").mkdir()
        folder.write("set", "a", "x", b"", "")


def test_files_are_written_whole_and_labels_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with KittiFolder(tmp_path, FRAME_WH) as folder:
        folder.write("set", "a", "a", b"old picture", "old label")
    replaced = []
    replace = Path.replace

    def fail_for_pictures(path: Path, target: Path) -> Path:
        if target.parent.name in ("images", "labels"):
            replaced.append(target.name)
            assert path.read_bytes() in (b"new picture", b"new label")
            assert target.read_bytes() in (b"old picture", b"old label")
        if target.suffix == ".jpg":
            raise OSError(28, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail_for_pictures)
    with (
        pytest.raises(DataError, match=r"set_a.jpg: cannot be written: No space left"),
        KittiFolder(tmp_path, FRAME_WH) as folder,
    ):
        folder.write("set", "a", "a", b"new picture", "new label")
    assert replaced == ["set_a.txt", "set_a.jpg"]
    assert (tmp_path / "images" / "set_a.jpg").read_bytes() == b"old picture"
    assert files(tmp_path) == ["images/set_a.jpg", "labels/set_a.txt", "sources.json"]


def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"sources\.journal: cannot be written: No space left"),
        KittiFolder(tmp_path, FRAME_WH) as folder,
    ):
        (tmp_path / "sources.journal").symlink_to("/dev/full")
        folder.write("set", "a", "a", b"picture", "label")

"""Folders of photos covered: names, resumption, originals that stay, and what is not written."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facekit.annotate import Options, PendingPhoto
from facekit.annotate.local import Finder, find_faces
from facekit.annotations import read_dataset
from facekit.annotations.record import PhotoRecord
from facekit.cli import main
from facekit.errors import ConfigError, DataError
from facekit.faces import Faces
from facekit.privacy import BlurSummary, Cover, blur_dataset, blur_photos
from facekit.privacy import run as module
from facekit.privacy.report import DOUBTFUL, doubtful
from tests.fake_triton import FakeTriton, faces_answer
from tests.photo_files import SIZE_WH, encode, picture

BOX = [60.0, 30.0, 100.0, 80.0]
PHOTO = encode(picture(), "PNG")


def faces(*scores: float, box: list[float] = BOX, label: int | None = None) -> Faces:
    empty = Faces.empty(SIZE_WH, 0)
    count = len(scores)
    named: dict[str, Any] = {}
    if label is not None:
        named = {"labels": np.full(count, label), "class_names": ("mask", "no-mask")}
    return Faces(
        boxes_xyxy=np.array([box] * count, np.float32).reshape(count, 4),
        scores=np.array(scores, np.float32),
        points_xy=np.zeros((count, 0, 2)),
        point_scores=np.zeros((count, 0)),
        size_wh=empty.size_wh,
        **named,
    )


class Detector:
    """Finds the same faces in every photo, and counts the photos."""

    def __init__(self, found: Faces | None = None) -> None:
        self.found, self.asked = faces(0.9) if found is None else found, 0

    def detect(self, photo: object, **how: object) -> Faces:
        self.asked += 1
        return self.found

    def finder(self, folder: Path) -> Finder:
        def find(pending: Iterator[PendingPhoto]) -> Generator[PhotoRecord, None, None]:
            return find_faces(pending, self, folder, concurrency=2)  # type: ignore[arg-type]

        return find


OPTIONS = Options(model="facenet_ensemble", threshold=0.05, min_score=0.15)


def blur(
    paths: Path | list[Path],
    out: Path,
    cover: Cover | None = None,
    detector: Detector | None = None,
) -> BlurSummary:
    given = [paths] if isinstance(paths, Path) else paths
    tops = [path if path.is_dir() else path.parent for path in given]
    finder = (detector or Detector()).finder(Path(os.path.commonpath(tops)))
    return blur_photos(given, out, cover or Cover(), OPTIONS, finder=finder)


def put(path: Path, data: bytes = PHOTO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files that a user sees."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "sub/b.png", "sub/deep/c.png"):
        put(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_a_folder_keeps_its_names_and_loses_its_faces(photos: Path, tmp_path: Path) -> None:
    before = tree(photos)
    summary = blur(photos, tmp_path / "out")
    assert tree(photos) == before
    written = tree(tmp_path / "out")
    assert written.keys() == before.keys()
    original, covered = (
        np.asarray(Image.open(io.BytesIO(each["sub/b.png"]))) for each in (before, written)
    )
    changed = (original != covered).any(axis=2)
    assert changed[55, 80]
    assert not changed[:, 120:].any()
    assert summary.text() == "3 photos written, 3 faces covered"
    assert [len(record.faces or ()) for record in summary.records] == [1, 1, 1]


def test_files_and_folders_are_named_below_what_contains_them(tmp_path: Path) -> None:
    one, two = put(tmp_path / "x" / "one.png"), put(tmp_path / "x" / "y" / "two.png")
    put(tmp_path / "x" / "not_this.png")
    blur([one, two.parent], tmp_path / "out")
    assert tree(tmp_path / "out").keys() == {"one.png", "y/two.png"}
    blur(one, tmp_path / "single")
    assert tree(tmp_path / "single").keys() == {"one.png"}


def test_the_same_call_goes_on_and_other_settings_cost_no_search(
    photos: Path, tmp_path: Path
) -> None:
    detector = Detector(faces(0.9, 0.2))
    blur(photos, tmp_path / "out", detector=detector)
    first = tree(tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    (tmp_path / "out" / "a.png").unlink()
    (tmp_path / "out" / "sub" / "b.png").write_bytes(b"damaged")
    summary = blur(photos, tmp_path / "out", detector=detector)
    assert tree(tmp_path / "out") == first
    assert summary.unchanged == 1
    kept = tmp_path / "out" / "sub" / "deep" / "c.png"
    assert kept.stat().st_mtime_ns == times[kept]
    blur(photos, tmp_path / "out", Cover(how="box"), detector)
    assert tree(tmp_path / "out") != first
    assert detector.asked == 3
    put(photos / "a.png", encode(picture().rotate(180), "PNG"))
    put(photos / "new.png")
    blur(photos, tmp_path / "out", Cover(how="box"), detector)
    assert detector.asked == 5
    assert len(tree(tmp_path / "out")) == 4


def test_metadata_go_where_no_face_is(tmp_path: Path) -> None:
    path = put(tmp_path / "p" / "a.jpg", encode(picture(), "JPEG", comment=b"Anna"))
    blur(path, tmp_path / "out", detector=Detector(faces()))
    assert b"Anna" not in (tmp_path / "out" / "a.jpg").read_bytes()


def test_a_photo_that_is_not_read_is_not_written(photos: Path, tmp_path: Path) -> None:
    put(photos / "cut.jpg", encode(picture(), "JPEG")[:700])
    put(photos / "film.gif", encode(picture(), "GIF"))
    put(photos / "deep.tif", encode(Image.fromarray(np.full((120, 200), 9, np.uint16)), "TIFF"))
    put(photos / "other_size.png", encode(picture((50, 40)), "PNG"))
    put(photos / "notes.txt", b"words")
    summary = blur(photos, tmp_path / "out")
    reasons = {record.photo: record.error for record in summary.failures}
    assert tree(tmp_path / "out").keys() == {"a.png", "sub/b.png", "sub/deep/c.png"}
    assert reasons.keys() == {"cut.jpg", "film.gif", "deep.tif", "other_size.png"}
    assert reasons["deep.tif"].startswith("a TIFF of 16 bits")
    assert reasons["other_size.png"].startswith("now 50 x 40 pixels, but 200 x 120")
    assert "truncated" in reasons["cut.jpg"]
    assert "4 NOT written; 1 other file left out" in summary.text()
    # What could not be covered is looked at again.
    put(photos / "deep.tif", encode(picture(), "TIFF"))
    assert len(blur(photos, tmp_path / "out").failures) == 3


def test_a_photo_that_changes_meanwhile_is_not_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.read_photo

    def changing(path: Path) -> Any:
        if path.name == "a.png":
            put(path, encode(picture().rotate(180), "PNG"))
        return real(path)

    monkeypatch.setattr(module, "read_photo", changing)
    summary = blur(photos, tmp_path / "out")
    assert [(each.photo, each.error) for each in summary.failures] == [
        ("a.png", "has changed since its faces were found: run it again")
    ]
    assert "a.png" not in tree(tmp_path / "out")


def test_a_folder_of_others_is_not_filled(photos: Path, tmp_path: Path) -> None:
    before = tree(photos)
    for out in (photos, photos / "sub"):
        with pytest.raises(DataError, match="contains other things than covered photos"):
            blur(photos, out)
    assert tree(photos) == before


def test_below_the_photos_it_is_not_taken_for_one_of_them(photos: Path) -> None:
    for _ in range(2):
        summary = blur(photos, photos / "blurred")
        assert len(summary.records) == 3
    assert tree(photos / "blurred").keys() == {"a.png", "sub/b.png", "sub/deep/c.png"}


@pytest.mark.parametrize("kind", ["symbolic", "hard", "folder"])
def test_originals_are_not_overwritten_through_links(
    kind: str, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    blur(put(tmp_path / "other" / "z.png"), out)
    before = tree(photos)
    if kind == "symbolic":
        (out / "a.png").symlink_to(photos / "a.png")
    elif kind == "hard":
        (out / "a.png").hardlink_to(photos / "a.png")
    else:
        (out / "sub").symlink_to(photos / "sub")
    summary = blur(photos, out)
    assert tree(photos) == before
    failed = {record.photo for record in summary.failures}
    assert failed == {"symbolic": {"a.png"}, "hard": set()}.get(
        kind, {"sub/b.png", "sub/deep/c.png"}
    )
    if kind == "hard":
        assert (out / "a.png").read_bytes() != before["a.png"]


def test_names_that_are_one_on_the_disk_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "photos" / "a.png")
    put(tmp_path / "photos" / "A.png")
    assert len(blur(tmp_path / "photos", tmp_path / "out").failures) == 0
    # A disk that takes both for one shows the journal under either name.
    upper = tmp_path / "out" / module.JOURNAL.upper()
    upper.write_bytes(b"")
    (failure,) = blur(tmp_path / "photos", tmp_path / "out").failures
    assert failure.photo == "a.png"
    assert failure.error.startswith("has the name of A.png on the disk")


def test_small_faces_and_kept_labels_stay(tmp_path: Path) -> None:
    path = put(tmp_path / "p" / "a.png")
    for name, cover, found in (
        ("size", Cover(min_size_px=41), faces(0.9)),
        ("label", Cover(keep_labels=("mask",)), faces(0.9, label=0)),
    ):
        blur(path, tmp_path / name, cover, Detector(found))
        assert np.array_equal(pixels(tmp_path / name / "a.png"), picture())
    other = faces(0.9, label=1)
    summary = blur(path, tmp_path / "out2", Cover(keep_labels=("mask",)), Detector(other))
    assert summary.text() == "1 photo written, 1 face covered"


def test_faces_below_the_threshold_stay(tmp_path: Path) -> None:
    path = put(tmp_path / "p" / "a.png")
    summary = blur(path, tmp_path / "out", detector=Detector(faces(0.14)))
    assert summary.text() == "1 photo written, 0 faces covered"


def test_boxes_that_a_person_corrected(photos: Path, tmp_path: Path) -> None:
    blur(photos, tmp_path / "out")
    data = json.loads((tmp_path / "out.instances.json").read_text())
    assert len(data["annotations"]) == 3
    data["annotations"] = data["annotations"][:1]
    data["annotations"][0]["bbox"] = [150, 80, 30, 30]
    corrected = tmp_path / "corrected.json"
    corrected.write_text(json.dumps(data))
    summary = blur_dataset(corrected, tmp_path / "again", Cover(margin=0.0))
    assert summary.text() == "3 photos written, 1 face covered"
    changed = pixels(tmp_path / "again" / "a.png") != np.asarray(picture())
    assert changed[95, 165].any()
    assert not changed[:, :149].any()
    assert blur_dataset(corrected, tmp_path / "again", Cover(margin=0.0)).unchanged == 3
    moved = photos.rename(tmp_path / "moved")
    blur_dataset(corrected, tmp_path / "third", Cover(), photo_folder=moved)
    assert tree(tmp_path / "third").keys() == tree(tmp_path / "again").keys()


def test_label_studio_gives_boxes_in_percent(photos: Path, tmp_path: Path) -> None:
    region = {
        "type": "rectanglelabels", "original_width": 200, "original_height": 120,
        "value": {"x": 75, "y": 50, "width": 10, "height": 25, "rectanglelabels": ["face"]},
    }  # fmt: skip
    path = tmp_path / "export.json"
    path.write_text(
        json.dumps([{"data": {"photo": "a.png"}, "annotations": [{"result": [region]}]}])
    )
    with pytest.raises(ConfigError, match="name it"):
        blur_dataset(path, tmp_path / "out", Cover())
    blur_dataset(path, tmp_path / "out", Cover(margin=0.0), photo_folder=photos)
    changed = pixels(tmp_path / "out" / "a.png") != np.asarray(picture())
    assert changed[75, 160].any()
    assert not changed[:60].any()


def test_a_dataset_with_crowds_or_outside_names_is_refused(photos: Path, tmp_path: Path) -> None:
    blur(photos, tmp_path / "out")
    data = json.loads((tmp_path / "out.instances.json").read_text())
    data["annotations"][0]["iscrowd"] = 1
    path = tmp_path / "crowd.json"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="crowds"):
        blur_dataset(path, tmp_path / "again", Cover())
    data["annotations"][0]["iscrowd"] = 0
    data["images"][0]["file_name"] = "../outside.png"
    path.write_text(json.dumps(data))
    put(tmp_path / "outside.png")
    summary = blur_dataset(path, tmp_path / "again", Cover())
    assert [record.photo for record in summary.failures] == ["../outside.png"]
    assert (tmp_path / "outside.png").read_bytes() == PHOTO


def test_the_report_and_its_sheet(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blur(photos, tmp_path / "out", detector=Detector(faces(0.9, 0.31)))
    put(tmp_path / "kept.csv", b"mine")
    command = ["blur", "--from", str(tmp_path / "out.instances.json"), "--out"]
    assert main([*command, str(tmp_path / "b"), "--report", str(tmp_path / "kept.csv")]) == 2
    (photos / "a.png").unlink()
    report = tmp_path / "report.csv"
    for _ in range(2):
        assert main([*command, str(tmp_path / "b"), "--report", str(report)]) == 1
    assert report.read_text().splitlines() == [
        "photo,faces,lowest_score,not_written_because",
        "a.png,,,No such file or directory",
        "sub/b.png,2,0.31,",
        "sub/deep/c.png,2,0.31,",
    ]
    assert pixels(tmp_path / "report.faces.jpg").shape[1] > 400
    assert "a.png: No such file or directory" in capsys.readouterr().err


def test_the_doubtful_are_low_scores_and_photos_without_a_face() -> None:
    def record(name: str, *scores: float) -> PhotoRecord:
        return PhotoRecord(name, module.FileStamp(0, 0), faces(*scores))

    low = [record(f"low{n}", 0.9, 0.2 + n / 1000) for n in range(30)]
    none = [record(f"none{n}") for n in range(50)]
    sure = [record("sure", 0.8)]
    shown = [pick.record.photo for pick in doubtful([*none, *sure, *low])]
    assert shown[: DOUBTFUL // 2] == [f"low{n}" for n in range(DOUBTFUL // 2)]
    assert len(shown) <= DOUBTFUL
    assert all(name.startswith("none") for name in shown[DOUBTFUL // 2 :])
    assert len(doubtful(low)) == DOUBTFUL
    assert doubtful(sure) == []


def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(30):
        # Large enough that covering takes a while.
        put(photos / f"{number:02}.png", encode(picture((900, 700 + number)), "PNG"))
    sums = {path: hashlib.sha256(path.read_bytes()).digest() for path in photos.iterdir()}

    def answer(model: str, inputs: Any, context: Any) -> dict[str, Any]:
        outputs = faces_answer(2)
        (data,) = inputs.values()
        height = int.from_bytes(data.tobytes()[20:24], "big")
        return outputs | {"image_size": np.array([[height, 900, 3]], np.int64)}

    rng = random.Random(3)
    with FakeTriton(answer) as triton:

        def command(out: Path) -> list[str]:
            options = ["--model", "faces", "--url", triton.url, "--out", str(out)]
            return [sys.executable, "-m", "facekit.cli", "blur", str(photos), *options]

        subprocess.run(command(tmp_path / "unbroken"), check=True, timeout=120)
        out = tmp_path / "killed"
        for _ in range(4):
            wanted = len(tree(out)) + rng.randint(1, 6) if out.exists() else 2
            process = subprocess.Popen(command(out), stderr=subprocess.DEVNULL)
            end = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < end:
                if out.exists() and len(tree(out)) >= wanted:
                    break
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        done = subprocess.run(command(out), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert len(triton.received) < 2 * 30 + 30
    assert tree(out) == tree(tmp_path / "unbroken")
    assert len(tree(out)) == 30
    assert not list(out.rglob("*.part"))
    assert sums == {path: hashlib.sha256(path.read_bytes()).digest() for path in photos.iterdir()}


def test_what_was_found_lies_beside_the_folder(photos: Path, tmp_path: Path) -> None:
    blur(photos, tmp_path / "out")
    dataset = read_dataset(tmp_path / "out.instances.json")
    assert [photo.record.photo for photo in dataset.photos] == [
        "a.png",
        "sub/b.png",
        "sub/deep/c.png",
    ]
    assert not list((tmp_path / "out").rglob("*.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give photos or folders"),
        (["nowhere"], "no such file or folder"),
        (["p", "--keep", "mask"], "has no class 'mask'"),
        (["p", "--threshold", "0.01"], "expected 0.05 to 1"),
        (["p", "q", "--from", "x.json"], "--from takes one PATH"),
    ],
)
def test_wrong_options_are_named(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "p" / "a.png")
    assert main(["blur", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "blurred").exists()

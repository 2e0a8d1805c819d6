"""`align_faces` and `facekit align` over folders of photos."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from facekit.annotations import DatasetInfo, NumberedPhoto, write_coco
from facekit.annotations.dataset import name_of
from facekit.annotations.output import OUTPUT_MARK
from facekit.chips import ChipOptions, SkippedFace, align_faces, eyes_center_xy
from facekit.chips.run import LISTING, SKIPPED, chip_name
from facekit.cli import main
from facekit.client import Client
from facekit.errors import ConfigError, DataError
from facekit.landmarks.pose import MEAN_FACE, rotations_of
from facekit.serving.embedded import EmbeddedServer
from tests import photo_files
from tests.face_shapes import faces_of, points_68, record_of

SIZE_WH = (400, 300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    picture = photo_files.picture(SIZE_WH)
    (photos / "a.jpg").write_bytes(photo_files.encode(picture, "JPEG"))
    (photos / "sub" / "b.jpg").write_bytes(photo_files.oriented_jpeg(picture, 6))
    return photos


def contents(folder: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files.pop(OUTPUT_MARK) == b""
    return files


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "chips.jsonl").read_text().splitlines()]


GOOD = [points_68((120, 120), 50, 20), points_68((280, 150), 40, -75)]


def test_chips_and_their_listing(folder: Path, tmp_path: Path) -> None:
    faces = faces_of(GOOD, SIZE_WH, [0.9, 0.4])
    records = [record_of(name, faces) for name in ("a.jpg", "sub/b.jpg")]
    summary = align_faces(records, folder, tmp_path / "out", ChipOptions(size=96))
    assert (summary.chips, summary.photos, summary.skipped) == (4, 2, ())
    listed = rows(tmp_path / "out")
    assert [row["chip"] for row in listed] == [
        "a.jpg.face1.jpg", "a.jpg.face2.jpg", "sub__b.jpg.face1.jpg", "sub__b.jpg.face2.jpg"
    ]  # fmt: skip
    assert {*contents(tmp_path / "out")} == {"chips.jsonl", *(str(r["chip"]) for r in listed)}
    assert [(r["photo"], r["face"], r["score"]) for r in listed[2:]] == [
        ("sub/b.jpg", 1, 0.9), ("sub/b.jpg", 2, 0.4)
    ]  # fmt: skip
    assert listed[0]["rotation"] == pytest.approx(20, abs=0.01)
    for row, points in zip(listed[:2], GOOD, strict=True):
        affine = np.array(row["affine"])
        eyes = points[36:48].mean(axis=0)
        np.testing.assert_allclose(
            affine[:, :2] @ eyes + affine[:, 2], eyes_center_xy(96), atol=0.01
        )
    # The turned file shows the same picture, so that its chips are the same but for the coding.
    first, turned = (
        np.asarray(Image.open(tmp_path / "out" / str(listed[k]["chip"])), float) for k in (0, 2)
    )
    assert first.shape == (96, 96, 3) and np.abs(first - turned).mean() < 2


def test_any_number_of_jobs_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    names = [f"{k}.jpg" for k in range(8)]
    for name in names:
        (folder / name).write_bytes((folder / "a.jpg").read_bytes())
    records = [record_of(name, faces_of(GOOD, SIZE_WH, [0.9, 0.4])) for name in names]
    for name, jobs in (("one", 1), ("two", 2), ("again", 2)):
        align_faces(records, folder, tmp_path / name, ChipOptions(size=64, jobs=jobs))
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "again")


def test_what_cannot_be_aligned_is_named_and_the_rest_is_done(folder: Path, tmp_path: Path) -> None:
    one_place = np.full((68, 2), 150.0)
    one_place[0], one_place[8], one_place[16] = (90, 90), (140, 260), (250, 100)
    faces = faces_of([one_place, GOOD[0]], SIZE_WH, [0.9, 0.8])
    (folder / "bad.jpg").write_bytes(photo_files.encode(photo_files.picture(), "JPEG")[:900])
    (folder / "new.jpg").write_bytes(photo_files.encode(photo_files.picture((90, 80)), "JPEG"))
    names = ("a.jpg", "bad.jpg", "gone.jpg", "new.jpg")
    records = [record_of(name, faces) for name in names]
    records.append(record_of("failed.jpg", None, "was no photo"))
    out = tmp_path / "out"
    summary = align_faces(records, folder, out, ChipOptions(size=64))
    assert {*contents(out)} == {"a.jpg.face2.jpg", "chips.jsonl", SKIPPED}
    told = [each for each in summary.skipped if each.face is None]
    assert [each.photo for each in told] == ["bad.jpg", "gone.jpg", "new.jpg"]
    assert "truncated" in told[0].reason and "No such file" in told[1].reason
    assert told[2].reason == "now 90 x 80 pixels, but 400 x 300 when its faces were found"
    assert SkippedFace("a.jpg", 1, "both eyes at one place") in summary.skipped
    assert str(summary.skipped[0]) == "a.jpg, face 1: both eyes at one place"
    lines = [json.loads(line) for line in (out / SKIPPED).read_text().splitlines()]
    assert [SkippedFace(**line) for line in lines] == list(summary.skipped)
    # Once all is well the report goes, and so do the chips that are no longer made.
    align_faces([record_of("sub/b.jpg", faces_of(GOOD, SIZE_WH, [1, 1]))], folder, out)
    assert {*contents(out)} == {"chips.jsonl", "sub__b.jpg.face1.jpg", "sub__b.jpg.face2.jpg"}


def test_weak_and_small_faces_are_left_out_without_a_word(folder: Path, tmp_path: Path) -> None:
    points = [points_68((200, 150), distance) for distance in (60, 50, 20)]
    record = record_of("a.jpg", faces_of(points, SIZE_WH, [0.9, 0.3, 0.9]))
    options = ChipOptions(size=64, min_score=0.9, min_size=41.5, format="png")
    summary = align_faces([record], folder, tmp_path / "out", options)
    assert summary.skipped == () and [r["face"] for r in rows(tmp_path / "out")] == [1, 3]
    options = ChipOptions(size=64, min_size=42.5)
    align_faces([record], folder, tmp_path / "out", options)
    assert [r["face"] for r in rows(tmp_path / "out")] == [1, 2]
    # The PNGs of before went with their listing.
    assert not list((tmp_path / "out").glob("*.png"))


def test_points_that_nobody_labeled_are_no_face(folder: Path, tmp_path: Path) -> None:
    faces = faces_of([GOOD[0]], SIZE_WH, [1.0])
    faces.points_xy[0, 5], faces.point_scores[0, 5] = 0, 0
    summary = align_faces([record_of("a.jpg", faces)], folder, tmp_path / "out")
    assert summary.skipped == (SkippedFace("a.jpg", 1, "landmarks that are missing or not finite"),)


def test_chips_of_a_run_that_was_killed_go_and_nothing_else_does(
    folder: Path, tmp_path: Path
) -> None:
    record = record_of("a.jpg", faces_of(GOOD, SIZE_WH, [1, 1]))
    fresh, out = tmp_path / "fresh", tmp_path / "out"
    for each in (fresh, out):
        align_faces([record], folder, each)
    (out / "chips.jsonl").unlink()
    for name in ("a.jpg.face2.png", "old.jpg.face1.jpg", ".a.jpg.face1.jpg.4711", "notes.txt"):
        (out / name).write_bytes(b"")
    align_faces([record], folder, out)
    assert contents(out) == {**contents(fresh), "notes.txt": b""}


def test_folder_of_photos_is_no_place_for_chips(folder: Path) -> None:
    """Its mark would hide them from `annotate`, and a chip may be named as one of them is."""
    (folder / "a.jpg.face1.jpg").write_bytes((folder / "a.jpg").read_bytes())
    before = sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())
    record = record_of("a.jpg", faces_of(GOOD, SIZE_WH, [1, 1]))
    for out in (folder, folder / "sub"):
        with pytest.raises(DataError, match="contains other things than chips: give a new"):
            align_faces([record], folder, out)
    assert before == sorted((p, p.read_bytes()) for p in folder.rglob("*") if p.is_file())


def test_full_disk_is_an_error_with_its_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, *, sync: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facekit.chips.run.write_whole", full)
    with pytest.raises(DataError, match="out: cannot be written: No space left.*free some space"):
        align_faces([record_of("a.jpg", faces_of(GOOD, SIZE_WH, [1, 1]))], folder, tmp_path / "out")


def test_names_never_collide() -> None:
    odd = [
        *("a/b.jpg", "a__b.jpg", "a_/b.jpg", "a/_b.jpg", "a?b.jpg", "a*b.jpg", "a_b.jpg"),
        *("x" * 300, "x" * 301, "a/x\udc80.jpg", "a/x\udc81.jpg", ".a.jpg", "ä.jpg", "日本/ö.jpg"),
        *("é" * 150, "a\nb.jpg", "a\tb.jpg", "~6842dc8b2338"),
    ]
    names = [chip_name(photo, 1, ".jpg") for photo in odd]
    assert len(set(names)) == len(odd)
    for name in names:
        assert len(name.encode()) <= 255 and "/" not in name and name.isprintable()
        assert not name.startswith(".")


@pytest.mark.parametrize(
    "wrong", [{"size": 8}, {"size": 5000}, {"margin": -0.1}, {"margin": float("nan")}, {"jobs": -1},
              {"format": "gif"}]
)  # fmt: skip
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ChipOptions(**wrong)


@pytest.mark.parametrize("turn", [-30, 0, 25])
def test_real_portrait_that_is_turned_comes_out_level(
    server: EmbeddedServer, tmp_path: Path, turn: int
) -> None:
    """The network finds the eyes again in the chip, level and where they belong."""
    portrait = Image.fromarray(skimage.data.astronaut())
    portrait.rotate(-turn, Image.Resampling.BICUBIC, center=(225, 115)).save(tmp_path / "a.png")
    with Client(server.grpc_url) as client:
        faces = client.detect(tmp_path / "a.png")
        out = tmp_path / "out"
        options = ChipOptions(size=400, margin=0.6, format="png")
        align_faces([record_of("a.png", faces[:1])], tmp_path, out, options)
        (row,) = rows(out)
        assert row["rotation"] == pytest.approx(turn, abs=8)
        again = client.detect(out / "a.png.face1.png")
    # The landmarks of a second look differ a little: two degrees, 2 % of the chip.
    assert abs(float(again.rotations_deg[0])) < 3
    assert np.abs(again.centers_xy[0] - eyes_center_xy(400, 0.6)).max() < 8


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = faces_of(GOOD, SIZE_WH, [0.9, 0.4])
    names = ["a.jpg", "sub/b.jpg", *(f"gone{k}.jpg" for k in range(30))]
    path = tmp_path / "instances.json"
    photos = [NumberedPhoto(k, record_of(name, faces)) for k, name in enumerate(names, 1)]
    write_coco(path, lambda: iter(photos[:2]), DatasetInfo(str(folder)))
    out = tmp_path / "out"
    assert main(["align", str(path), "--out", str(out), "--size", "64", "--format", "png"]) == 0
    assert f"4 chips of 2 photos in {out}\n" == capsys.readouterr().out
    with Image.open(out / "a.jpg.face1.png") as chip:
        assert chip.size == (64, 64)
    write_coco(path, lambda: iter(photos), DatasetInfo("/nowhere"))
    argv = ["align", str(path), "--out", str(out), "--photos", str(folder), "--min-score", "0.5"]
    assert main(argv) == 1
    printed = capsys.readouterr()
    assert f"2 chips of 2 photos in {out}; 30 left out\n" == printed.out
    assert "facekit: gone0.jpg: No such file" in printed.err
    assert f"and 10 more, all in {out / SKIPPED}" in printed.err
    assert main([*argv, "--size", "7"]) == 2
    assert "size: expected 16 to 2048 pixels" in capsys.readouterr().err


def test_command_refuses_a_data_set_without_landmarks(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "instances.json", tmp_path / "out"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "width": 400, "height": 300, "file_name": "a.jpg"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [9, 9, 50, 60]}],
                "categories": [{"id": 1, "name": "mask"}],
            }
        )
    )
    argv = ["align", str(path), "--photos", str(folder), "--out", str(out)]
    assert main(argv) == 2
    assert "instances.json: its faces have no landmarks of eyes" in capsys.readouterr().err
    assert not out.exists()


def test_damage_behind_the_header_stops_no_other_photo(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "damaged.jpg").write_bytes(photo_files.damaged_jpeg(SIZE_WH))
    os.mkfifo(folder / "pipe.jpg")
    faces = faces_of(GOOD, SIZE_WH, [0.9, 0.4])
    names = ("a.jpg", "damaged.jpg", "pipe.jpg", "sub/b.jpg")
    photos = [NumberedPhoto(k, record_of(name, faces)) for k, name in enumerate(names, 1)]
    path, out = tmp_path / "instances.json", tmp_path / "out"
    write_coco(path, lambda: iter(photos), DatasetInfo(str(folder)))
    assert main(["align", str(path), "--out", str(out), "--size", "64"]) == 1
    assert f"4 chips of 2 photos in {out}; 2 left out\n" == capsys.readouterr().out
    assert {str(row["photo"]) for row in rows(out)} == {"a.jpg", "sub/b.jpg"}
    missing = [json.loads(line) for line in (out / SKIPPED).read_text().splitlines()]
    assert [(each["photo"], each["face"]) for each in missing] == [
        ("damaged.jpg", None), ("pipe.jpg", None)
    ]  # fmt: skip
    assert missing[0]["reason"].startswith("truncated or corrupt JPEG: ")
    assert missing[1]["reason"] == "not a regular file"


def test_names_that_are_no_utf8_are_listed_with_their_bytes(folder: Path, tmp_path: Path) -> None:
    (folder / "\udcff.jpg").write_bytes((folder / "a.jpg").read_bytes())
    records = [
        record_of(name, faces_of(GOOD, SIZE_WH, [0.9, 0.4]))
        for name in ("\udcff.jpg", "\udcfe.jpg")
    ]
    out = tmp_path / "out"
    assert align_faces(records, folder, out, ChipOptions(size=64)).chips == 2
    listed = rows(out)
    assert [row["photo"] for row in listed] == ["\\udcff.jpg"] * 2
    assert listed[0]["photo_hex"] == b"\xff.jpg".hex()
    assert {name_of(row, "chip") for row in listed} <= {path.name for path in out.iterdir()}
    (line,) = (out / SKIPPED).read_text().splitlines()
    assert name_of(json.loads(line), "photo") == "\udcfe.jpg"
    for text in ((out / LISTING).read_text(), line):
        assert "\\ud" not in text.replace("\\\\ud", "")


@pytest.mark.parametrize(
    ("photos", "said"),
    [("nodir", "nodir: no such folder; name the"), ("empty", "empty: none of the photos is here")],
)
def test_command_tells_a_wrong_folder_of_photos_in_one_line(
    tmp_path: Path, photos: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    faces = faces_of(GOOD, SIZE_WH, [0.9, 0.4])
    found = [NumberedPhoto(k, record_of(f"{k}.jpg", faces)) for k in range(1, 9)]
    path, out = tmp_path / "instances.json", tmp_path / "out"
    write_coco(path, lambda: iter(found), DatasetInfo("/photos"))
    argv = ["align", str(path), "--photos", str(tmp_path / photos), "--out", str(out)]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "--photos DIR" in error
    assert not out.exists()


def test_command_cuts_the_chips_of_embedding_networks(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    angles = np.array([[10.0, 0.0, 15.0], [70.0, 0.0, 0.0]])
    points = (40 * MEAN_FACE @ rotations_of(angles).transpose(0, 2, 1))[..., :2]
    faces = replace(
        faces_of([*(points + [[[130, 120]], [[280, 150]]])], SIZE_WH, [0.9, 0.8]),
        sharpness=[0.4, 0.3],
    )
    coco = tmp_path / "faces.json"
    photos = [NumberedPhoto(1, record_of("a.jpg", faces))]
    write_coco(coco, lambda: iter(photos), DatasetInfo(str(folder)))
    out = tmp_path / "out"
    command = ["align", str(coco), "--out", str(out), "--template", "arcface112"]
    assert main([*command, "--max-yaw", "60"]) == 0
    (row,) = rows(out)
    assert np.asarray(Image.open(out / str(row["chip"]))).shape == (112, 112, 3)
    assert row["sharpness"] == 0.4
    np.testing.assert_allclose(row["pose"], angles[0], atol=0.05)
    affine = np.array(row["affine"])
    eyes = np.array([faces[0].part(f"{side}_eye").mean(axis=0) for side in ("right", "left")])
    np.testing.assert_allclose(
        eyes @ affine[:, :2].T + affine[:, 2], [[38.8, 52.2], [74.0, 52.0]], atol=4
    )
    assert main([*command, "--min-sharpness", "0.35", "--size", "64"]) == 0
    assert np.asarray(Image.open(out / str(rows(out)[0]["chip"]))).shape == (64, 64, 3)
    assert main([*command, "--margin", "0.2"]) == 2
    assert "--margin goes with --template eyes" in capsys.readouterr().err

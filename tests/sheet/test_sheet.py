"""Contact sheets and single photos, as pictures and as `facekit show`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.annotations import DatasetInfo, NumberedPhoto, write_coco
from facekit.cli import main
from facekit.draw import draw_faces
from facekit.errors import ConfigError, DataError, InputError
from facekit.sheet import Pick, contact_sheet, show_dataset, show_photo
from facekit.sheet.text import fitted, font_for, smaller, wrapped, writable
from facekit.sheet.tiles import GROUND, TileSize, broken_picture, draw_tile
from tests import photo_files
from tests.face_shapes import faces_of, points_68, record_of

SIZE_WH = (400, 300)
FACES = faces_of([points_68((150, 120), 60), points_68((320, 150), 30, 30)], SIZE_WH, [0.9, 0.4])
SIZE = TileSize(240)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    white = Image.new("RGB", SIZE_WH, "white")
    for name in ("a.jpg", "b.jpg", "sub/a.jpg", "sub/c.jpg"):
        (photos / name).write_bytes(photo_files.encode(white, "JPEG"))
    return photos


@pytest.fixture
def coco(folder: Path) -> Path:
    path = folder.parent / "instances.json"
    names = ("a.jpg", "b.jpg", "sub/a.jpg", "sub/c.jpg")
    photos = [NumberedPhoto(k, record_of(name, FACES)) for k, name in enumerate(names, 1)]
    write_coco(path, lambda: iter(photos), DatasetInfo(str(folder), "faces"))
    (folder / "bad.jpg").write_bytes(b"words")
    line = json.dumps({"photo": "bad.jpg", "reason": "not a photo but text"})
    path.with_name("instances.failures.jsonl").write_text(line + "\n")
    return path


def test_tile_shows_photo_faces_and_caption(folder: Path) -> None:
    tile = np.asarray(draw_tile(Pick(record_of("a.jpg", FACES), "many faces"), folder, SIZE), int)
    assert tile.shape == (SIZE.height, 240, 3)
    photo, caption = tile[:180], tile[180:]
    assert (photo[120:170, 5:40] == 255).all()
    # The box's yellow, where the box is; 240 pixels for 400.
    left = round(float(FACES.boxes_xyxy[0, 0]) * 0.6)
    column = photo[64:72, left - 2 : left + 3]
    assert ((column[..., 0] > 180) & (column[..., 2] < 140)).any(axis=1).all()
    assert (caption > 150).any() and (caption[-1] == GROUND).all()


@pytest.mark.parametrize("size_wh", [(100, 700), (700, 100)])
def test_tall_and_wide_photos_are_letterboxed(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    Image.new("RGB", size_wh, "white").save(tmp_path / "a.png")
    tile = draw_tile(Pick(record_of("a.png", faces_of([], size_wh, []))), tmp_path, SIZE)
    bright = (np.asarray(tile)[:180] == 255).all(axis=2)
    height, width = bright.any(axis=1).sum(), bright.any(axis=0).sum()
    assert width / height == pytest.approx(size_wh[0] / size_wh[1], rel=0.06)
    assert max(width / 240, height / 180) > 0.97


def test_tile_of_a_failure_is_dark_with_what_is_left_of_the_photo(folder: Path) -> None:
    rng = np.random.default_rng(0).integers(180, 256, (300, 400, 3), np.uint8)
    data = photo_files.encode(Image.fromarray(rng), "JPEG")
    (folder / "half.jpg").write_bytes(data[: len(data) // 2])
    tiles = [
        np.asarray(draw_tile(Pick(record_of(name, None, "truncated")), folder, SIZE), float)[:180]
        for name in ("half.jpg", "gone.jpg")
    ]
    corners = [tile[10:40, 10:60] for tile in tiles]
    assert corners[0].std() > 3 and corners[1].std(axis=(0, 1)).max() < 1
    assert all(corner.mean() < 110 for corner in corners)
    for tile in tiles:  # the reason, in bright letters
        assert (tile[90:120] > 200).all(axis=2).any()


def test_photo_that_is_gone_or_another_is_a_failure_too(folder: Path) -> None:
    (folder / "b.jpg").write_bytes(photo_files.encode(Image.new("RGB", (50, 50)), "JPEG"))
    gone, other, failed = (
        np.asarray(draw_tile(Pick(record), folder, SIZE))[100]
        for record in (
            record_of("gone.jpg", FACES), record_of("b.jpg", FACES), record_of("x", None, "why")
        )
    )  # fmt: skip
    assert (gone[5] == failed[5]).all()
    assert other.mean() < 80


def test_broken_pictures(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(photo_files.bad_photos()["gif"][0])
    found = broken_picture(path)
    assert found is not None and found.size == photo_files.SIZE_WH
    for name in ("bomb", "bomb below Pillow's own limit", "text", "noise", "png cut in half"):
        path.write_bytes(photo_files.bad_photos()[name][0])
        assert broken_picture(path) is None
    assert broken_picture(tmp_path / "gone") is None


def test_sheet_has_a_place_for_each(folder: Path) -> None:
    picks = [Pick(record_of("a.jpg", FACES))] * 5
    sheet = contact_sheet(picks, folder, "title", "more", columns=2, tile_px=240)
    gap = round(240 / 18)
    assert sheet.width == 2 * 240 + 3 * gap
    white = (np.asarray(sheet) == 255).all(axis=2)
    for k in range(6):
        x = gap + k % 2 * (240 + gap) + 40
        y = sheet.height - (3 - k // 2) * (SIZE.height + gap) + 140
        assert bool(white[y : y + 20, x : x + 10].all()) == (k < 5)
    assert (
        contact_sheet(picks[:1], folder, "t" * 500, columns=9, tile_px=240).width == 240 + 2 * gap
    )


def test_sheet_of_nothing_or_too_much_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no such photos to show"):
        contact_sheet([], folder, "title")
    with pytest.raises(ConfigError, match="too large"):
        contact_sheet([Pick(record_of("a.jpg", FACES))] * 1000, folder, "title", columns=1000)


def test_show_dataset_and_one_photo(coco: Path, folder: Path) -> None:
    assert show_dataset(coco, tile_px=200).size[0] > 600
    assert show_dataset(str(coco), how="failures", tile_px=200).width < 300
    one = show_photo(coco, "c.jpg")
    expected = draw_faces(folder / "sub/c.jpg", FACES)
    assert one.size == SIZE_WH
    assert np.abs(np.asarray(one, int) - np.asarray(expected)).mean() < 0.5
    failed = show_photo(coco, "bad.jpg")
    assert failed.size == (960 + 80, TileSize(960).height + 80)
    assert failed.getpixel((39, 60)) == GROUND != failed.getpixel((60, 60))
    # A whole path goes before the ends of others.
    assert show_photo(coco, "a.jpg").size == SIZE_WH
    (folder / "b.jpg").unlink()
    with pytest.raises(InputError, match=r"^b\.jpg: No such file"):
        show_photo(coco, "b.jpg")


@pytest.mark.parametrize(
    ("how", "said"),
    [("failures", "no photo that failed"), ("rotation", "no photo with a face"),
     ("mixture", "no photo")],
)  # fmt: skip
def test_nothing_to_show_is_said_in_words(coco: Path, how: str, said: str) -> None:
    coco.write_text('{"images":[],"annotations":[],"categories":[]}')
    coco.with_name("instances.failures.jsonl").unlink()
    with pytest.raises(ConfigError, match=rf"instances\.json: {said} to show"):
        show_dataset(coco, how=how)


def test_name_has_to_be_one_photos(coco: Path) -> None:
    data = json.loads(coco.read_text())
    data["images"][0]["file_name"] = "other/c.jpg"
    coco.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"2 photos are called c\.jpg: other/c\.jpg, sub/c\.jpg"):
        show_photo(coco, "c.jpg")
    with pytest.raises(ConfigError, match="no photo is called nobody"):
        show_photo(coco, "nobody")


def test_report_of_failures_that_is_none(coco: Path) -> None:
    coco.with_name("instances.failures.jsonl").write_text('{"photo":"x","reason":"y"}\n[1]\n')
    with pytest.raises(DataError, match=r"failures\.jsonl:2: does not name a photo and a reason"):
        show_dataset(coco)


def test_text_fits_and_can_be_written() -> None:
    name = "holiday/" + "long" * 40 + "/IMG_0001.jpg"
    short = fitted(name, 16, 200)
    assert font_for(short, 16).getlength(short) <= 200
    assert short.startswith("holi") and short.endswith("IMG_0001.jpg") and "..." in short
    assert fitted("short", 16, 200) == "short"
    title = "instances.json: 374 faces in 158 photos"
    letters = smaller(title, 33.6, 480, 20)
    assert 20 < letters < 33.6 and fitted(title, letters, 480) == title
    assert smaller(title, 33.6, 2000, 20) == 33.6 and smaller(title, 33.6, 10, 20) == 20
    lines = wrapped("one two three four five six seven eight " * 9, 16, 120, 3)
    assert len(lines) == 3 and all(font_for(t, 16).getlength(t) <= 120 for t in lines)
    assert writable("a\nb\u202ec\udc80") == "a?b?c?"
    assert writable("Größe") == "Größe" and font_for("Größe", 16) is not font_for("plain", 16)


def test_command_writes_the_same_picture_twice(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = [tmp_path / "one.png", tmp_path / "new" / "two.png"]
    for out in outs:
        argv = ["show", str(coco), "--out", str(out), "--count", "3", "--columns", "3"]
        assert main(argv) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with Image.open(outs[0]) as image:
        assert f"{outs[0]}: {image.width} x {image.height} pixels" in capsys.readouterr().out
    jpeg = tmp_path / "one.JPG"
    assert main(["show", str(coco), "--photo", "b.jpg", "--out", str(jpeg)]) == 0
    with Image.open(jpeg) as image:
        assert image.size == SIZE_WH and image.format == "JPEG"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--photo", "nobody"], "no photo is called nobody"),
        (["--photos", "elsewhere", "--photo", "b.jpg"], "no such folder; name"),
    ],
)
def test_command_says_what_cannot_be_shown(
    coco: Path, tmp_path: Path, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    assert main(["show", str(coco), "--out", str(out), *argv]) == 2
    assert said in capsys.readouterr().err and not out.exists()


def test_command_wants_a_picture(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["show", str(coco), "--out", "sheet.pdf"])
    assert "ends in .png or .jpg" in capsys.readouterr().err
    assert main(["show", str(coco), "--out", "/dev/null/x.png"]) == 2


def test_command_writes_over_no_photo(
    coco: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "b.jpg").read_bytes()
    assert main(["show", str(coco), "--photo", "b.jpg", "--out", str(folder / "b.jpg")]) == 2
    assert "b.jpg: is a photo of the dataset; give another name" in capsys.readouterr().err
    assert (folder / "b.jpg").read_bytes() == before


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_command_replaces_only_pictures_that_it_drew(
    coco: Path, folder: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"sheet{suffix}"
    argv = ["show", str(coco), "--out", str(out)]
    assert main(argv) == 0 and main(argv) == 0
    foreign = (folder / "b.jpg").read_bytes()
    out.write_bytes(foreign)
    assert main(argv) == 2
    assert f"{out}: exists and was not written by facekit" in capsys.readouterr().err
    assert out.read_bytes() == foreign


def test_command_says_what_no_jpeg_can_hold(
    coco: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "facekit.sheet.show_photo", lambda *args, **options: Image.new("RGB", (1, 65_501), "white")
    )
    argv = ["show", str(coco), "--photo", "b.jpg", "--out"]
    assert main([*argv, str(tmp_path / "x.png")]) == 0
    assert main([*argv, str(tmp_path / "x.jpg")]) == 2
    assert "no JPEG can hold 1 x 65501 pixels; give a name that ends" in capsys.readouterr().err


def test_command_shows_a_damaged_photo_and_a_pipe_as_failures(
    coco: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.jpg").write_bytes(photo_files.damaged_jpeg(SIZE_WH))
    (folder / "b.jpg").unlink()
    os.mkfifo(folder / "b.jpg")
    out = tmp_path / "sheet.png"
    assert main(["show", str(coco), "--out", str(out)]) == 0 and out.exists()
    for name, said in (("a.jpg", "truncated or corrupt JPEG: "), ("b.jpg", "not a regular file")):
        assert main(["show", str(coco), "--photo", name, "--out", str(tmp_path / "x.png")]) == 2
        assert f"facekit: {name}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("photos", "said"),
    [("nodir", "nodir: no such folder; name the"), ("empty", "empty: none of the photos is here")],
)
def test_command_tells_a_wrong_folder_of_photos(
    coco: Path, tmp_path: Path, photos: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "sheet.png"
    argv = ["show", str(coco), "--out", str(out), "--photos", str(tmp_path / photos)]
    assert main(argv) == 2
    assert said in capsys.readouterr().err and not out.exists()
    # Those that failed need no photo.
    assert main([*argv, "--pick", "failures"]) == 0


def test_one_missing_photo_is_no_wrong_folder(coco: Path, folder: Path) -> None:
    for name in ("a.jpg", "b.jpg", "sub/a.jpg"):
        (folder / name).unlink()
    assert show_dataset(coco, tile_px=200).size[0] > 600


def test_report_names_photos_by_their_bytes(coco: Path) -> None:
    line = json.dumps({"photo": "\\udcff.jpg", "photo_hex": "ff2e6a7067", "reason": "no photo"})
    coco.with_name("instances.failures.jsonl").write_text(line + "\n")
    assert show_photo(coco, "\udcff.jpg").size == (960 + 80, TileSize(960).height + 80)


def test_command_says_nothing_of_metadata_that_is_cut(
    coco: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    white = Image.new("RGB", SIZE_WH, "white")
    cut = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # five entries are announced
    (folder / "b.jpg").write_bytes(photo_files.encode(white, "JPEG", exif=cut))
    assert main(["show", str(coco), "--photo", "b.jpg", "--out", str(tmp_path / "x.png")]) == 0
    assert capfd.readouterr().err == ""

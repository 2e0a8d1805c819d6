"""Which labels count: crowds, lists, classes, and photos that are stored turned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from facekit.cli import main
from tests.cli.evaluate.three_faces import FACE, FALSE, HEIGHT, OTHER, WIDTH, kitti, rows


def test_coco_labels_with_a_crowd(
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coco.json"
    boxes = [FACE, [290, 90, 600, 210]]  # a face, and a crowd around the other two
    annotations = [
        {
            "id": number,
            "image_id": 7,
            "category_id": 3,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": number,
        }
        for number, (x1, y1, x2, y2) in enumerate(boxes)
    ]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "face"}],
    }
    path.write_text(json.dumps(content))
    argv = ["evaluate", "--labels", str(path), "--photos", str(data / "images"), "--url", url]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "1 photo with 1 face." in out
    assert "\n1 object marked as difficult, crowd, invalid or DontCare: neither missed" in out
    # That of b is no image of the file.
    assert "\n1 photo without a label file: not looked at." in out
    assert rows(out, "any face")[0][3:] == ["1", "1.000", "1.000", "1.000", "0.900"]


def test_a_list_and_a_split_choose_photos(
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("b.png\n")
    argv = ["evaluate", "--labels", str(data), "--url", url]
    assert main([*argv, "--list", str(listed)]) == 0
    assert "1 photo with 3 faces." in capsys.readouterr().out
    # Neither name's SHA-1 is a multiple of 7.
    assert main([*argv, "--split", "evaluation"]) == 2
    assert "contains none of the selected photos" in capsys.readouterr().err
    listed.write_text("z.png\n")
    assert main([*argv, "--list", str(listed)]) == 2
    assert "list.txt:1: no labels of a photo z" in capsys.readouterr().err


def test_unknown_classes_are_asked_about(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "labels" / "a.txt").write_text(kitti(("Mask", FACE), ("helmet", OTHER)))
    argv = ["evaluate", "--labels", str(data), "--url", url, "--model", "facemask_ensemble"]
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert "classes (mask, no-mask) leave open what these labels are: helmet" in err
    assert f"(helmet is in {data / 'labels' / 'a.txt'})" in err
    assert main([*argv, "--class-map", "with_maks=maask"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--class-map: with_maks is in no label file",
        "facekit: --class-map with_maks=maask: maask is not a class of the model (mask, no-mask)",
    ]
    assert main([*argv, "--class-map", "helmet=no-mask"]) == 0
    assert rows(capsys.readouterr().out, "no-mask")[0][2] == "1"
    assert main([*argv, "--class-map", "helmet="]) == 0
    assert rows(capsys.readouterr().out, "no-mask")[0][2:4] == ["0", "-"]


def test_photos_without_labels_are_counted(
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c", "d"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(data / "images" / f"{name}.png")
    path = tmp_path / "out.json"
    argv = ["evaluate", "--labels", str(data), "--url", url]
    assert main([*argv, "--json", str(path)]) == 0
    assert "\n2 photos without a label file: not looked at.\n" in capsys.readouterr().out
    assert json.loads(path.read_text("utf-8"))["photos_without_labels"] == 2
    # Of those asked for.
    listed = tmp_path / "list.txt"
    listed.write_text("a\nb\n")
    assert main([*argv, "--list", str(listed)]) == 0
    assert "without a label file" not in capsys.readouterr().out


def test_a_partly_annotated_face_is_not_a_missed_one(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = "".join(f"{x} {y}\n" for x, y in [FACE[:2], FACE[2:]] * 34)
    (tmp_path / "a.pts").write_text(f"version: 1\nn_points: 68\n{{\n{whole}}}\n")
    pupils = "-1 -1\n" * 68 + "3 4\n" * 12
    (tmp_path / "b.pts").write_text(f"version: 1\nn_points: 80\n{{\n{pupils}}}\n")
    for name in "ab":
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{name}.png")
    assert main(["evaluate", "--labels", str(tmp_path), "--url", url]) == 1
    out = capsys.readouterr().out
    assert rows(out, "faces missed") == [["faces", "missed", "0.00%"]]
    assert f"{tmp_path}/b.pts: the annotated points span no face box" in out


def turned(box: list[int], orientation: int) -> list[int]:
    """Return a box of the upright photo in the pixels as they are stored: 6 a turn, 3 half one."""
    x1, y1, x2, y2 = box
    if orientation == 3:
        return [WIDTH - x2, HEIGHT - y2, WIDTH - x1, HEIGHT - y1]
    return [y1, WIDTH - x2, y2, WIDTH - x1]


@pytest.mark.parametrize(
    ("kind", "orientation"),
    # Half a turn leaves the size as it is: then the pixels as stored are meant.
    [
        *((kind, k) for kind in ("kitti", "pts", "stored", "neither") for k in (3, 6)),
        ("upright", 6),
    ],
)
def test_labels_of_a_photo_that_is_stored_turned(
    tmp_path: Path, url: str, kind: str, orientation: int, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = (WIDTH, HEIGHT) if orientation == 3 else (HEIGHT, WIDTH)
    Image.new("RGB", stored).save(tmp_path / "a.png", exif=exif)
    boxes = [turned(box, orientation) for box in (FACE, OTHER, FALSE)]
    if kind == "kitti":
        (tmp_path / "a.txt").write_text(kitti(*(("face", box) for box in boxes)))
    elif kind == "pts":
        # Without the forehead, a fifth of the box and above the points once they are upright.
        faces = [[x1, y1 + (y2 - y1) // 5, x2, y2] for x1, y1, x2, y2 in (FACE, OTHER, FALSE)]
        for number, face in enumerate(faces):
            x1, y1, x2, y2 = turned(face, orientation)
            points = f"{x1} {y1}\n{x2} {y2}\n" * 34
            (tmp_path / f"a_{number}.pts").write_text(f"version: 1\n{{\n{points}}}\n")
    else:
        width, height = {"stored": stored, "upright": (WIDTH, HEIGHT), "neither": (9, 999)}[kind]
        boxes = [FACE, OTHER, FALSE] if kind == "upright" else boxes
        annotations = [
            {"image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for x1, y1, x2, y2 in boxes
        ]
        image = {"id": 1, "file_name": "a.png", "width": width, "height": height}
        categories = [{"id": 1, "name": "face"}]
        content = {"images": [image], "annotations": annotations, "categories": categories}
        (tmp_path / "a.json").write_text(json.dumps(content))
    argv = ["evaluate", "--labels", str(tmp_path), "--url", url, "--model", "facenet_ensemble"]
    argv += ["--iou", "0.99"]
    if kind == "neither":
        assert main(argv) == 2
        assert "labels of a photo of 9x999 pixels, but upright it has 736x416" in (
            capsys.readouterr().err
        )
        return
    assert main(argv) == 0
    assert rows(capsys.readouterr().out, "any face")[0][3:5] == ["3", "1.000"]

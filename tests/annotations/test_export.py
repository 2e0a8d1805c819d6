from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from pycocotools.coco import COCO

from facekit.annotations import DatasetInfo, NumberedPhoto, read_dataset, write_coco
from facekit.cli import main
from tests.annotations.random_photos import contents, random_photos, source
from tests.annotations.test_coco_reader import persons_file, seeds_file


def test_a_left_top_right_bottom_file_becomes_valid_coco(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.json").write_text(json.dumps(seeds_file()))
    out = tmp_path / "coco.json"
    code = main(["export", str(tmp_path / "old.json"), "--coco", str(out), "--seed-fields"])
    assert code == 0
    assert capsys.readouterr().err == f"2 faces in 2 photos: {out}\n"
    entry = COCO(str(out)).loadAnns([1])[0]
    assert entry["bbox"] == [10, 20, 100, 150] and entry["area"] == 15000
    old = read_dataset(tmp_path / "old.json").photos
    assert contents(read_dataset(out).photos) == contents(old)


def test_every_format_at_once(tmp_path: Path) -> None:
    photos = random_photos(6)
    write_coco(tmp_path / "in.json", source(photos), DatasetInfo("/photos", "faces"))
    options = ["coco", "jsonl", "parquet", "label-studio", "fiftyone"]
    arguments = [word for name in options for word in (f"--{name}", str(tmp_path / name))]
    arguments += ["--photos", "/elsewhere", "--image-url", "https://x/"]
    assert main(["export", str(tmp_path / "in.json"), *arguments]) == 0
    assert {*options, "label-studio.config.xml"} <= {file.name for file in tmp_path.iterdir()}
    assert read_dataset(tmp_path / "coco").info.photo_folder == "/elsewhere"
    assert pyarrow.parquet.read_table(tmp_path / "parquet").num_rows == 5
    assert len((tmp_path / "jsonl").read_bytes().splitlines()) == 5
    tasks = json.loads((tmp_path / "label-studio").read_bytes())
    assert tasks[0]["data"]["image"] == "https://x/plain.jpg"
    images = json.loads((tmp_path / "fiftyone").read_bytes())["images"]
    assert images[0]["file_name"] == "/elsewhere/plain.jpg"


def test_a_lowest_score_leaves_faces_out_and_keeps_photos(tmp_path: Path) -> None:
    photos = random_photos(7)
    write_coco(tmp_path / "in.json", source(photos), DatasetInfo("/photos", "faces"))
    scores = np.concatenate([faces.scores for _, _, faces in contents(photos)])
    limit = float(np.sort(scores)[2])  # itself stays
    out = str(tmp_path / "out.json")
    arguments = ["--coco", out, "--min-score", f"{limit:.4f}"]
    assert main(["export", str(tmp_path / "in.json"), *arguments]) == 0
    kept = contents(read_dataset(Path(out)).photos)
    assert len(kept) == 5
    found = np.concatenate([faces.scores for _, _, faces in kept])
    assert sorted(found) == sorted(scores)[2:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to write: give one of --coco, --jsonl,"),
        (["--jsonl", "OUT", "--seed-fields"], "--seed-fields goes with --coco"),
        (["--coco", "OUT", "--image-url", "x"], "--image-url goes with --label-studio"),
        (["--coco", "OUT", "--jsonl", "OUT"], "two formats can't be written to one file"),
        (["--coco", "OUT", "--boxes", "ltrb"], "annotations[0] has an empty box"),
    ],
)
def test_wrong_use_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    data = seeds_file()
    data["annotations"][0]["bbox"] = [100, 100, 50, 50]
    (tmp_path / "in.json").write_text(json.dumps(data))
    out = str(tmp_path / "out")
    words = [out if word == "OUT" else word for word in arguments]
    assert main(["export", str(tmp_path / "in.json"), *words]) == 2
    assert message in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["in.json"]


KINDS = ("coco", "jsonl", "parquet", "label-studio", "fiftyone")


def written_file(folder: Path) -> Path:
    write_coco(folder / "in.json", source(random_photos(6)), DatasetInfo("/photos", "faces"))
    return folder / "in.json"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("photos", [random_photos(6), []])
def test_what_the_kit_wrote_is_replaced(
    tmp_path: Path, kind: str, photos: list[NumberedPhoto]
) -> None:
    path, out = tmp_path / "in.json", tmp_path / "out"
    write_coco(path, source(photos), DatasetInfo("/photos", "faces"))
    for _ in range(2):
        assert main(["export", str(path), f"--{kind}", str(out)]) == 0
    first = out.read_bytes()
    out.write_bytes(b"")  # as `mktemp` leaves it
    assert main(["export", str(path), f"--{kind}", str(out)]) == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["Dear diary\n", "[]", json.dumps(persons_file())])
def test_what_others_wrote_is_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, text: str
) -> None:
    path, out = written_file(tmp_path), tmp_path / "mine.txt"
    out.write_text(text)
    assert main(["export", str(path), f"--{kind}", str(out)]) == 2
    assert capsys.readouterr().err == (
        f"facekit: {out}: exists and was not written by facekit: give another name, or remove it\n"
    )
    assert out.read_text() == text


@pytest.mark.parametrize("kind", KINDS)
def test_another_tools_file_of_the_same_format_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path, out = written_file(tmp_path), tmp_path / "out"
    assert main(["export", str(path), f"--{kind}", str(out)]) == 0
    if kind == "parquet":
        table = pyarrow.parquet.read_table(out)
        pyarrow.parquet.write_table(table.replace_schema_metadata({}), out)
    elif kind == "jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        out.write_text(json.dumps(json.loads(out.read_text())))
    before = out.read_bytes()
    assert main(["export", str(path), f"--{kind}", str(out)]) == 2
    assert out.read_bytes() == before


def test_a_labeling_configuration_of_ones_own_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, config = written_file(tmp_path), tmp_path / "tasks.config.xml"
    config.write_text("<View/>")
    assert main(["export", str(path), "--label-studio", str(tmp_path / "tasks.json")]) == 2
    assert "tasks.config.xml: exists and was not" in capsys.readouterr().err
    assert config.read_text() == "<View/>" and not (tmp_path / "tasks.json").exists()


def test_the_input_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written_file(tmp_path)
    before = path.read_bytes()
    (tmp_path / "link.json").symlink_to(path)
    for name in ("in.json", "link.json"):
        assert main(["export", str(path), "--coco", str(tmp_path / name)]) == 2
        assert f"{name}: is the file that is read" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_what_is_no_coco_file_is_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = written_file(tmp_path), tmp_path / "f.jsonl"
    assert main(["export", str(path), "--jsonl", str(lines)]) == 0
    (tmp_path / "a.JPG").write_bytes(b"\xff\xd8\xff\xe0")
    capsys.readouterr()
    for name, said in (
        ("f.jsonl", "f.jsonl:2: is not a COCO "),
        ("a.JPG", "a.JPG: cannot be read as text"),
    ):
        assert main(["export", str(tmp_path / name), "--coco", str(tmp_path / "o")]) == 2
        assert said in capsys.readouterr().err

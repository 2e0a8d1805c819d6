"""``facekit query`` on a SQLite store; the same answers from Redis are in tests/workflow/store."""

from __future__ import annotations

import json

import numpy as np
import pytest

from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.cli import main
from facekit.faces import Faces
from facekit.landmarks.pose import MEAN_FACE, rotations_of
from facekit.store import dataset_name, masked, open_store
from tests.store.records import FOLDER, put, results_of


def record(photo: str, scores: list[float], turned: float = 0.0) -> PhotoRecord:
    count = len(scores)
    points = np.zeros((count, 68, 2))
    points[:, 36:42], points[:, 42:48] = (100, 100), (110, 100 + 10 * turned)
    return PhotoRecord(
        photo,
        FileStamp(1, 1),
        Faces(
            boxes_xyxy=np.tile([10, 20, 50, 80], (count, 1)),
            scores=np.array(scores),
            points_xy=points,
            point_scores=np.ones((count, 68)),
            size_wh=(4000, 3000),
            channels=3,
        ),
    )


RECORDS = [
    record("a.jpg", [0.9, 0.5]),
    record("b/c\x1b.jpg", [0.75], turned=1.0),
    record("b/d.jpg", []),
    PhotoRecord("b/e.jpg", FileStamp(1, 1), error="truncated"),
]


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/a.db"
    with open_store(url) as store:
        put(store, RECORDS, "holiday")
    return url


def asked(capsys, *words: str) -> list[str]:
    assert main(["query", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_tables(url, capsys):
    assert asked(capsys, "--store", url, "--min-faces", "1") == [
        "photo        width  height  faces",
        "---------------------------------",
        "a.jpg        4,000   3,000      2",
        r"b/c\x1b.jpg  4,000   3,000      1",
        "2 rows",
    ]
    assert asked(capsys, "--store", url, "--photo", "a.jpg") == [
        "photo  number  category   score  rotation          pose  sharpness          box",
        "-------------------------------------------------------------------------------",
        "a.jpg       1  face      0.9000       0.0  -122 -32 149          ?  10 20 40 60",
        "a.jpg       2  face      0.5000       0.0  -122 -32 149          ?  10 20 40 60",
        "2 rows",
    ]
    assert asked(capsys, "--store", url, "--by-folder")[2:] == [
        ".            1      2", "b            2      1", "2 rows",
    ]  # fmt: skip
    assert asked(capsys, "--store", url, "--by-category")[2:] == ["face          3", "1 row"]
    assert asked(capsys, "--store", url)[2:] == [
        f"holiday       3      3  {FOLDER}",
        "1 row",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--min-faces", "0"], ["a.jpg", "b/c\x1b.jpg", "b/d.jpg"]),
        (["--min-faces", "2"], ["a.jpg"]),
        (["--min-faces", "9" * 30], []),
        (["--min-faces", "2", "--limit", "9" * 30], ["a.jpg"]),
        (["--min-score", "0.75"], ["a.jpg", "b/c\x1b.jpg"]),
        (["--min-score", "0"], ["a.jpg", "b/c\x1b.jpg", "a.jpg"]),
        (["--min-score", "0", "--limit", "2"], ["a.jpg", "b/c\x1b.jpg"]),
        (["--rotated-beyond", "44"], ["b/c\x1b.jpg"]),
        (["--rotated-beyond", "45"], []),
        (["--category", "face"], ["a.jpg", "b/c\x1b.jpg", "a.jpg"]),
        (["--category", "face", "--rotated-beyond", "45"], []),
        (["--photo", "b/d.jpg"], []),
    ],
)
def test_answers_as_json(url, capsys, tmp_path, words, expected):
    file = tmp_path / "answer.json"
    asked(capsys, "--store", url, *words, "--json", str(file))
    asked(capsys, "--store", url, *words, "--json", str(file))  # replaces its own file
    data = json.loads(file.read_text())
    assert [row["photo"] for row in data["rows"]] == expected
    assert (data["store"], data["dataset"]) == (url, "holiday")
    assert "\n".join(asked(capsys, "--store", url, *words, "--json", "-")) + "\n" == (
        file.read_text()
    )


def test_json_replaces_no_file_of_others(url, capsys, tmp_path):
    for words in ([], ["--by-category"]):
        file = tmp_path / "v.jpg"
        file.write_bytes(b"a photo")
        assert main(["query", "--store", url, *words, "--json", str(file)]) == 2
        assert "v.jpg: exists and was not written by facekit" in capsys.readouterr().err
        assert file.read_bytes() == b"a photo"
    file.unlink()
    for _ in range(2):  # the datasets, whose answer has another heading
        asked(capsys, "--store", url, "--json", str(file))


def test_a_name_that_is_no_utf8(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/a.db"
    records = [record("a\udcff.jpg", [0.9])]
    with open_store(url) as store:
        put(store, records, "holiday")
    assert asked(capsys, "--store", url, "--min-faces", "1")[::2] == [
        "photo        width  height  faces",
        r"a\udcff.jpg  4,000   3,000      1",
    ]
    answer = "\n".join(asked(capsys, "--store", url, "--min-faces", "1", "--json", "-"))
    (row,) = json.loads(answer)["rows"]
    assert (row["photo"], row["photo_hex"]) == ("a\\udcff.jpg", b"a\xff.jpg".hex())
    assert asked(capsys, "--store", url, "--photo", "a\udcff.jpg")[-1] == "1 row"


def test_the_store_may_be_named_by_a_variable(url, capsys, monkeypatch):
    monkeypatch.setenv("FACEKIT_STORE", url)
    assert asked(capsys)[2].startswith("holiday")


def test_the_record_of_a_run_is_asked_as_a_store_is(url, capsys, tmp_path):
    results_of(tmp_path / "i.json.results", RECORDS).close()
    record = f"sqlite:///{tmp_path}/i.json.results"
    assert asked(capsys, "--store", record)[2].split(maxsplit=3) == ["d", "3", "3", str(FOLDER)]
    for words in (["--min-faces", "1"], ["--min-score", "0"], ["--photo", "a.jpg"]):
        assert asked(capsys, "--store", record, *words) == asked(capsys, "--store", url, *words)


def failed(capsys, *words: str) -> str:
    assert main(["query", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_what_can_not_be_answered(url, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("FACEKIT_STORE", raising=False)
    for words, reason in (
        ([], "name a store: --store URL"),
        (["--store", "a.db"], "is not an address of a store"),
        (["--store", "sqlite://a.db"], "expected three slashes"),
        (["--store", "mysql://me:secret@host/db"], "mysql:// is not supported"),
        (["--store", f"{url}2"], "the file does not exist"),
        (
            ["--store", url, "--dataset", "x", "--by-folder"],
            "has no dataset x, but holiday",
        ),
        (["--store", url, "--dataset", "x"], "has no dataset x, but holiday"),
        (["--store", url, "--category", "mask"], "is of the category mask, but face"),
        (["--store", url, "--category", "\udcff", "--min-score", "0"], "\\udcff, but face"),
        (["--store", url, "--photo", "b/e.jpg"], "does not contain a photo b/e.jpg"),
        (["--store", url, "--category", "face", "--by-folder"], "--category goes with"),
    ):
        error = failed(capsys, *words)
        assert reason in error
        assert error.count("\n") == 1
        assert "secret" not in error
    open_store(f"sqlite:///{tmp_path}/empty.db").close()
    assert "has no dataset yet" in failed(
        capsys, "--store", f"sqlite:///{tmp_path}/empty.db", "--by-folder"
    )


def test_faces_without_landmarks_have_no_rotation(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/a.db"
    boxes = Faces([[10, 20, 50, 80]], [0.9], np.zeros((1, 0, 2)), np.zeros((1, 0)), (400, 300))
    with open_store(url) as store:
        put(store, [PhotoRecord("a.jpg", FileStamp(1, 1), boxes)], "holiday")
    error = failed(capsys, "--store", url, "--rotated-beyond", "20")
    assert "the faces of holiday have no landmarks, and so no rotation" in error


def test_several_datasets_want_a_name(url, capsys, tmp_path):
    with open_store(url) as store:
        put(store, RECORDS, "other")
    assert "contains holiday, other; name one with --dataset" in failed(
        capsys, "--store", url, "--by-folder"
    )
    assert len(asked(capsys, "--store", url, "--by-folder", "--dataset", "other")) == 5
    assert len(asked(capsys, "--store", url)) == 5
    assert len(asked(capsys, "--store", url, "--dataset", "other")) == 4


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--min-faces", "-1"),
        ("--min-faces", "nan"),
        ("--min-score", "1.1"),
        ("--rotated-beyond", "x"),
        ("--limit", "½"),
    ],
)
def test_options_out_of_range(url, capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        main(["query", "--store", url, option, value])
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_passwords_are_not_shown():
    for url, shown in (
        ("redis://:secret@host:6379/2", "redis://:***@host:6379/2"),
        ("rediss://me:se@cret@host", "rediss://me:***@host"),
        ("redis://secret@host", "redis://:***@host"),
        ("redis://host/0?password=secret", "redis://host/0"),
        ("redis://:pa?secret@host", "redis://***"),
        ("redis://host?password=secret@x", "redis://***"),
        ("unix://:secret@/run/r.sock?db=1", "unix://:***@/run/r.sock"),
        ("secret@host", "***"),
        ("sqlite:///a@b?c.db", "sqlite:///a@b?c.db"),
    ):
        assert masked(url) == shown


def test_a_folder_names_its_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dataset_name(tmp_path / "Ünder the sun") == "Ünder the sun"
    assert dataset_name(tmp_path / "a\nb\udcff") == "a?b?"
    assert dataset_name(tmp_path / ".") == tmp_path.name
    assert dataset_name(type(tmp_path)("/")) == "photos"


def posed(photo: str, yaws: list[float], sharpness: list[float], side: int = 90) -> PhotoRecord:
    """A photo with a face for each yaw, and for each sharpness."""
    angles = np.array([[yaw, 0, 0] for yaw in yaws])
    count = len(yaws)
    return PhotoRecord(
        photo,
        FileStamp(1, 1),
        Faces(
            boxes_xyxy=np.tile([10, 20, 10 + side, 20 + side], (count, 1)),
            scores=np.linspace(0.9, 0.8, count),
            points_xy=(30 * MEAN_FACE @ rotations_of(angles).transpose(0, 2, 1))[..., :2] + 200,
            point_scores=np.ones((count, 68)),
            size_wh=(4000, 3000),
            sharpness=sharpness,
        ),
    )


SERIES = [
    posed("a/1.jpg", [0, 40], [0.2, 0.5]),
    posed("a/2.jpg", [-15], [0.4]),
    posed("a/3.jpg", [5], [0.45], side=30),
    posed("b/1.jpg", [-60], [0.5]),
    posed("b/2.jpg", [10], [0.3]),
    posed("top.jpg", [0], [0.1]),
]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--frontal", "20"], ["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/2.jpg", "top.jpg"]),
        (["--frontal", "4", "--min-sharpness", "0.15"], ["a/1.jpg"]),
        (["--min-sharpness", "0.5"], ["b/1.jpg", "a/1.jpg"]),
        (["--min-size", "90", "--frontal", "12"], ["a/1.jpg", "b/2.jpg", "top.jpg"]),
        (["--best-per-folder"], ["top.jpg", "a/1.jpg", "b/1.jpg"]),
        (["--best-per-folder", "--frontal", "20"], ["top.jpg", "a/3.jpg", "b/2.jpg"]),
        (
            ["--best-per-folder", "--frontal", "20", "--min-size", "40", "--min-sharpness", "0.2"],
            ["a/2.jpg", "b/2.jpg"],
        ),
        (["--best-per-folder", "--limit", "1"], ["top.jpg"]),
    ],
)
def test_the_best_photo_of_each_series_is_one_query(tmp_path, capsys, words, expected):
    url = f"sqlite:///{tmp_path}/a.db"
    with open_store(url) as store:
        put(store, SERIES, "holiday")
    rows = json.loads("\n".join(asked(capsys, "--store", url, *words, "--json", "-")))["rows"]
    assert [row["photo"] for row in rows] == expected
    face = next(each for each in rows if each["photo"] in ("a/1.jpg", "b/2.jpg", "top.jpg"))
    assert len(face["pose_deg"]) == 3 and 0.1 <= face["sharpness"] <= 0.5
    assert abs(face["pose_deg"][1]) < 0.1


def test_results_without_a_sharpness_have_a_pose_and_say_what_they_lack(url, capsys):
    (row,) = json.loads("\n".join(asked(capsys, "--store", url, "--limit", "1", "--frontal", "180",
                                        "--json", "-")))["rows"]  # fmt: skip
    assert len(row["pose_deg"]) == 3 and row["sharpness"] is None
    assert main(["query", "--store", url, "--min-sharpness", "0.1"]) == 2
    assert "the faces of holiday have no sharpness; they were" in capsys.readouterr().err
    for words in (["--photo", "a.jpg"], ["--by-folder"]):
        assert main(["query", "--store", url, "--frontal", "10", *words]) == 2
        assert "--frontal goes with --min-score, --rotated-beyond or" in capsys.readouterr().err

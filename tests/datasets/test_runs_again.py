"""Limits, names, and what a second run finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.face_sets import (
    write_photo,
    write_voc_set,
)
from tests.datasets.tutorial_sets import (
    BARE,
    MASKED,
    SIZE,
    contents,
    convert,
    labels,
    write_all,
)


def test_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    options = write_all(tmp_path)
    out = tmp_path / "out"
    assert convert(out, *options, "--workers", "1") == 0
    before = contents(out)
    for workers in ("1", "2", "7"):
        assert convert(out, *options, "--workers", workers) == 0
        assert contents(out) == before
    assert convert(tmp_path / "other", *options, "--workers", "5") == 0
    other = contents(tmp_path / "other")
    assert {name: digest for name, (digest, _) in other.items()} == {
        name: digest for name, (digest, _) in before.items()
    }


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_limit_leaves_out_whole_photos(
    tmp_path: Path, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = {
        "a.jpg": [MASKED] * 2,
        "b.jpg": [MASKED] * 2 + [BARE],
        "c.jpg": [MASKED],
        "d.jpg": [BARE] * 3,
        "e.jpg": [BARE],
        "f.jpg": [MASKED],
    }
    write_voc_set(tmp_path / "set", "labels", photos)
    options = ("--kaggle-dataset-path", str(tmp_path / "set"), *SIZE, "--workers", workers)
    assert convert(tmp_path / "out", *options, "--category-limit", "3") == 0
    found = labels(tmp_path / "out" / "train")
    assert {name: len(lines) for name, lines in found.items()} == {
        "kaggle_a": 2,
        "kaggle_c": 1,
        "kaggle_d": 3,
    }
    captured = capsys.readouterr()
    assert "Final: Total Mask Labelled:3\nTotal No-Mask Labelled:3\n" in captured.out
    assert "kaggle: 3 photos written, 3 over the limit" in captured.err


def test_the_limit_holds_over_all_sets(tmp_path: Path) -> None:
    assert convert(tmp_path / "out", *write_all(tmp_path), "--category-limit", "2") == 0
    assert set(labels(tmp_path / "out" / "train")) == {"kaggle_x", "kaggle_y", "mafa_train_3"}


def test_a_smaller_limit_removes_what_an_earlier_run_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = write_all(tmp_path)
    out = tmp_path / "out"
    assert convert(out, *options, "--category-limit", "2") == 0
    small = contents(out)
    assert convert(out, *options) == 0
    own = out / "train" / "images" / "kaggle_mine.jpg"
    write_photo(own)
    (out / "train" / "labels" / "kaggle_mine.txt").touch()
    capsys.readouterr()
    assert convert(out, *options, "--category-limit", "2") == 0
    said = capsys.readouterr().err
    assert "mafa: 1 photo written, 2 over the limit, 1 of an earlier run removed\n" in said
    assert own.exists()  # no file that it did not write itself
    own.unlink()
    (out / "train" / "labels" / "kaggle_mine.txt").unlink()
    assert {name: digest for name, (digest, _) in contents(out).items()} == {
        name: digest for name, (digest, _) in small.items()
    }


def test_sets_of_separate_runs_stand_side_by_side(tmp_path: Path) -> None:
    options = write_all(tmp_path)
    assert convert(tmp_path / "out", *options[:2], *SIZE) == 0
    assert convert(tmp_path / "out", *options[2:]) == 0
    assert convert(tmp_path / "whole", *options) == 0
    both, whole = contents(tmp_path / "out"), contents(tmp_path / "whole")
    assert {name: digest for name, (digest, _) in both.items()} == {
        name: digest for name, (digest, _) in whole.items()
    }


def test_photos_of_one_name_all_stay(tmp_path: Path) -> None:
    write_voc_set(tmp_path / "k", "labels", {"x.jpg": [MASKED]})
    for seed, name in enumerate(("x.jpg", "X.png", "x.png")):
        write_photo(tmp_path / "e" / name, seed=seed)
    sets = ("--kaggle-dataset-path", str(tmp_path / "k"), "--empty-path", str(tmp_path / "e"))
    assert convert(tmp_path / "out", *sets, *SIZE) == 0
    names = {"kaggle_x", "empty_X", "empty_x-2", "empty_x-3"}
    assert set(labels(tmp_path / "out" / "train")) == names

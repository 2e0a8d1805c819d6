"""``annotate`` into a store: the faces are made up; the run, its record and the stores are real."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from facekit.annotate import Options, Outputs, annotate
from facekit.annotations.record import PhotoRecord
from facekit.cli import main
from facekit.store import open_store
from tests.store.records import answers, random_records


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "family"
    for number in range(12):
        path = folder / ("a", "b")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return folder


def finder(pending):
    found = [record.faces for record in random_records(1).values() if record.faces is not None]
    for photo in pending:
        yield PhotoRecord(photo.photo, photo.stamp, found[photo.rank])


def run(folder, tmp_path, url, **options):
    outputs = Outputs(tmp_path / "instances.json")
    return annotate(folder, outputs, Options(store=url, **options), finder=finder)


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_the_store_holds_what_the_dataset_holds(kind, folder, tmp_path, lasting_redis, capsys):
    url = lasting_redis.url if kind == "redis" else f"sqlite:///{tmp_path}/a.db"

    def compare() -> None:
        with open_store(url) as store:
            (dataset,) = store.datasets()
            coco = json.loads((tmp_path / "instances.json").read_text())
            assert dataset.photos == len(coco["images"]) > 0
            assert dataset.faces == len(coco["annotations"]) > 0
            stored = {each.photo for each in store.photos(dataset.dataset)}
            assert stored == {each["file_name"] for each in coco["images"]}
            scores = sorted(face.score for face in store.faces(dataset.dataset))
            assert scores == sorted(each["score"] for each in coco["annotations"])

    summary = run(folder, tmp_path, url)
    assert summary.store.ok
    assert summary.store.photos == 12
    compare()
    record = f"sqlite:///{tmp_path}/instances.json.results"
    with open_store(url) as store, open_store(record, create=False) as own:
        assert answers(store, "family") == answers(own, "family")
    # A photo goes, one changes, and faces of low scores no longer count.
    (folder / "a" / "0.png").unlink()
    Image.new("RGB", (9, 9)).save(folder / "b" / "1.png")
    summary = run(folder, tmp_path, url, min_score=0.6)
    assert (summary.store.photos, summary.removed) == (11, 1)
    compare()
    assert main(["query", "--store", url, "--by-folder"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:4]] == [
        ["a", "5"],
        ["b", "6"],
    ]


def test_a_store_that_dies_does_not_stop_the_run(folder, tmp_path, lasting_redis):
    def dying(pending):
        for number, record in enumerate(finder(pending)):
            if number == 5:
                lasting_redis.kill()
            yield record

    outputs = Outputs(tmp_path / "instances.json")
    options = Options(store=lasting_redis.url)
    summary = annotate(folder, outputs, options, finder=dying)
    assert summary.photos == 12
    assert not summary.store.ok
    assert "the same command brings it up to date" in summary.store.message
    lasting_redis.start()
    summary = annotate(folder, outputs, options, finder=dying)
    assert (summary.new, summary.store.photos) == (0, 12)

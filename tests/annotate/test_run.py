"""Runs over a folder: what they write, and what a second one does."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from facekit import limits
from facekit.annotate import (
    Options,
    Outputs,
    PendingPhoto,
    ServerPool,
    Summary,
    annotate,
    annotate_photo,
)
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.cli import main
from facekit.errors import ConfigError, DataError
from facekit.files import FolderLock
from tests.annotate.folders import (
    by_content,
    coco_photos,
    counted,
    failures,
    fill,
    photo,
    put,
    read,
    touch,
)
from tests.fake_triton import Answer, Array, FakeTriton, Inputs, failing


@pytest.fixture
def triton() -> Iterator[FakeTriton]:
    with FakeTriton(by_content()) as running:
        yield running


class Case:
    """A folder, its outputs and a server that counts what it is asked."""

    def __init__(self, place: Path, triton: FakeTriton) -> None:
        self.folder, self.coco = place / "photos", place / "out" / "i.json"
        self.triton = triton

    def run(self, **options: object) -> Summary:
        self.triton.answer, self._asked = counted(self.triton.answer)
        outputs = Outputs(self.coco, jsonl=self.coco.with_suffix(".jsonl"))
        options = {"urls": (self.triton.url,), **options}
        summary = annotate(self.folder, outputs, Options(**options))
        self.asked = self._asked()
        return summary

    @property
    def bytes(self) -> list[bytes]:
        return [self.coco.read_bytes(), self.coco.with_suffix(".jsonl").read_bytes()]


@pytest.fixture
def case(tmp_path: Path, triton: FakeTriton) -> Case:
    return Case(tmp_path, triton)


def refusing(text: str) -> Answer:
    """Return an answer that refuses photos 1 to 3 and finds faces in all others."""
    refuse, find = failing(grpc.StatusCode.INVALID_ARGUMENT, text), by_content()

    def answer(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        (data,) = inputs.values()
        bad = any(data.tobytes().endswith(photo(n)) for n in (1, 2, 3))
        return (refuse if bad else find)(model, inputs, context)

    return answer


def test_ids_are_the_places_in_the_order_of_all_photos(case: Case) -> None:
    names = fill(case.folder, 8)
    put(case.folder / "003a.jpg", b"words, no pixels")
    every = sorted([*names, "003a.jpg"])
    summary = case.run()
    assert coco_photos(case.coco) == {n: p for n, p in enumerate(every, 1) if p != "003a.jpg"}
    annotations = read(case.coco)["annotations"]
    assert [entry["id"] for entry in annotations] == list(range(1, len(annotations) + 1))
    assert failures(case.coco).keys() == {"003a.jpg"}
    assert (summary.photos, summary.faces, summary.failures) == (9, len(annotations), 1)
    assert (summary.new, summary.unchanged, summary.removed) == (9, 0, 0)


def test_the_same_bytes_whatever_the_concurrency(case: Case) -> None:
    fill(case.folder, 30)
    case.triton.answer = by_content(0.002)
    case.run(concurrency=1)
    assert case.triton.most_at_once == 1
    first = case.bytes
    case.coco = case.coco.with_name("i.json").parent.parent / "other" / "i.json"
    case.run(concurrency=8)
    assert 2 < case.triton.most_at_once <= 8
    assert case.bytes == first


def test_a_second_run_asks_for_nothing_and_writes_the_same(case: Case) -> None:
    fill(case.folder, 10)
    case.run()
    first = case.bytes
    summary = case.run()
    assert case.asked == 0
    assert case.bytes == first
    assert (summary.new, summary.unchanged) == (0, 10)
    assert sorted(path.name for path in case.coco.parent.iterdir()) == [
        "i.json", "i.json.results", "i.jsonl",
    ]  # fmt: skip


def test_added_changed_and_removed_photos_are_noticed(case: Case, tmp_path: Path) -> None:
    names = fill(case.folder, 12)
    case.run()
    put(case.folder / "new.jpg", photo(100))
    put(case.folder / names[2], photo(101))
    touch(case.folder / names[3])
    (case.folder / names[4]).unlink()
    summary = case.run()
    assert case.asked == 3
    assert (summary.photos, summary.new, summary.unchanged, summary.removed) == (12, 3, 9, 1)
    changed = case.bytes
    case.coco = tmp_path / "fresh" / "i.json"
    case.run()
    assert case.bytes == changed
    put(case.folder / names[4], photo(4))
    summary = case.run()
    assert (case.asked, summary.new) == (1, 1)


def test_with_a_hash_the_content_counts_and_not_the_time(case: Case) -> None:
    names = fill(case.folder, 6)
    case.run(hash_content=True)
    first = case.bytes
    touch(case.folder / names[0])
    path = case.folder / names[1]
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert case.run().new == 1  # the touched one
    touch(case.folder / names[0])
    summary = case.run(hash_content=True)
    assert summary.new == 2  # the rewritten one, and the one whose digest was not taken above
    assert case.bytes != first


def test_lasting_failures_are_tried_again_only_on_demand(case: Case) -> None:
    names = fill(case.folder, 9)
    case.triton.answer = refusing("photo 1 of 1: truncated JPEG")
    assert case.run().failures == 3
    assert failures(case.coco) == dict.fromkeys(
        ("001.jpg", "002.jpg", "sub/003.jpg"), "truncated JPEG"
    )
    case.triton.answer = by_content()
    assert case.run().failures == 3
    assert case.asked == 0
    touch(case.folder / "001.jpg")
    assert case.run().failures == 2
    assert case.asked == 1
    assert case.run(retry_failed=True).failures == 0
    assert case.asked == 2
    assert failures(case.coco) == {}
    assert list(coco_photos(case.coco).values()) == names


def test_a_failure_of_the_servers_is_tried_again(case: Case) -> None:
    fill(case.folder, 3)
    find = by_content()

    def odd(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        (data,) = inputs.values()
        outputs = find(model, inputs, context)
        if data.tobytes().endswith(photo(1)):
            outputs["boxes"] = np.full_like(outputs["boxes"], np.nan)
        return outputs

    case.triton.answer = odd
    assert case.run().failures == 1
    assert "not finite" in failures(case.coco)["001.jpg"]
    case.triton.answer = find
    assert case.run().failures == 0
    assert case.asked == 1


def test_min_score_asks_for_nothing_anew(case: Case) -> None:
    fill(case.folder, 10)
    every = case.run().faces
    first = case.bytes
    fewer = case.run(min_score=0.6).faces
    scores = [entry["score"] for entry in read(case.coco)["annotations"]]
    assert case.asked == 0
    assert len(scores) == fewer < every
    assert min(scores) >= 0.6
    case.run()
    assert case.bytes == first


def test_a_photo_that_becomes_no_photo_leaves_the_dataset(case: Case) -> None:
    names = fill(case.folder, 3)
    case.run()
    put(case.folder / names[0], b"GIF89a and so on")
    assert case.run().failures == 1
    assert names[0] not in coco_photos(case.coco).values()
    assert "a GIF" in failures(case.coco)[names[0]]
    record = case.coco.with_name("i.json.results").read_bytes()
    assert case.run().new == 0
    assert case.coco.with_name("i.json.results").read_bytes() == record


def test_the_last_line_adds_up(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(case.folder, 4)
    put(case.folder / "words.jpg", b"no pixels")
    (case.folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(photo(50))
    put(case.folder / "private" / "b.jpg", photo(51))
    real = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "private":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("facekit.annotate.walk.os.scandir", scandir)
    summary = case.run()
    assert summary.text().startswith(
        f"4 photos, {summary.faces} faces; 2 failed; 1 folder can't be listed "
        "(6 new or changed, 0 unchanged, 0 removed); written: "
    )
    assert len(coco_photos(case.coco)) == 4
    assert failures(case.coco).keys() == {"words.jpg", "caf\\xe9.jpg", "private"}
    summary = case.run()
    assert (summary.photos, summary.failures, summary.unlisted) == (6, 2, 1)
    assert (summary.new, summary.unchanged) == (0, 6)
    (case.folder / os.fsdecode(b"caf\xe9.jpg")).rename(case.folder / "cafe.jpg")
    summary = case.run()
    assert (summary.failures, summary.new, summary.removed) == (1, 1, 1)


def test_a_folder_that_cannot_be_listed_is_reported_on_its_own(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(case.folder, 1)
    (case.folder / "album").symlink_to("x" * 300)  # as one into a folder that nobody may enter
    put(case.folder / "album-2.jpg", b"words")
    arguments = ["annotate", str(case.folder), "--coco", str(case.coco), "--url", case.triton.url]
    assert main(arguments) == 1
    assert "1 failed; 1 folder can't be listed (2 new or changed" in capsys.readouterr().out
    assert list(failures(case.coco)) == ["album", "album-2.jpg"]


def test_the_report_of_failures_is_text_that_every_tool_reads(case: Case) -> None:
    fill(case.folder, 1)

    def finder(pending: Iterator[PendingPhoto]) -> Generator[PhotoRecord, None, None]:
        for each in pending:
            yield PhotoRecord(each.photo, each.stamp, error="no such file: /caf\udce9/a")

    annotate(case.folder, Outputs(case.coco), finder=finder)
    (reason,) = failures(case.coco).values()
    assert reason == "no such file: /caf\\udce9/a"


def test_photos_that_go_or_grow_in_mid_run_do_not_stop_it(case: Case) -> None:
    names = fill(case.folder, 40)
    find = by_content()

    def meddling(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        if (case.folder / names[-1]).exists():
            (case.folder / names[-1]).unlink()
            put(case.folder / names[-2], photo(77))
        return find(model, inputs, context)

    case.triton.answer = meddling
    summary = case.run(concurrency=1)
    assert (summary.photos, summary.failures) == (40, 1)
    assert failures(case.coco) == {names[-1]: "the file is gone"}
    case.triton.answer = find
    summary = case.run()
    assert (summary.photos, summary.failures, summary.new) == (39, 0, 0)


def test_what_is_no_photo_any_more_in_mid_run_is_judged_as_if_it_never_was(
    case: Case, tmp_path: Path
) -> None:
    names = fill(case.folder, 40)
    find = by_content()
    gif, words, empty, large = (case.folder / name for name in names[-4:])

    def meddling(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        if not empty.exists() or empty.stat().st_size:
            put(gif, b"GIF89a")
            put(words, b"words")
            put(large, photo(1))
            os.truncate(large, limits.MAX_PHOTO_BYTES - 500_000)
            os.truncate(large, limits.MAX_PHOTO_BYTES + 500_000)
            put(empty, b"")
        return find(model, inputs, context)

    case.triton.answer = meddling
    assert case.run(concurrency=1).failures == 4
    assert set(failures(case.coco).values()) == {
        "has changed since it was listed; the next run looks at it again"
    }
    case.triton.answer = find
    assert case.run().new == 4
    reasons, first = failures(case.coco), case.bytes
    case.coco = tmp_path / "fresh" / "i.json"
    case.run()
    assert (failures(case.coco), case.bytes) == (reasons, first)
    assert [reason.split(";")[0] for reason in reasons.values()] == [
        "not a photo but a GIF", "not a photo but text", "empty: it contains no bytes",
        f"{limits.MAX_PHOTO_BYTES + 500_000:,} bytes",
    ]  # fmt: skip


def test_a_pipe_in_a_photos_place_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    records: list[PhotoRecord] = []
    pending = PendingPhoto(1, "a.jpg", FileStamp(3, 4))

    def look() -> None:
        with ServerPool(["127.0.0.1:9"]) as pool:
            records.append(annotate_photo(pool, tmp_path, pending))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(10)
    assert [(record.faces, record.lasting) for record in records] == [(None, False)]


def test_outputs_inside_the_photo_folder_are_no_photos(case: Case) -> None:
    names = fill(case.folder, 3)
    case.coco = case.folder / "i.json"
    case.run()
    first = case.bytes
    assert case.run().photos == 3
    assert case.bytes == first
    assert list(coco_photos(case.coco).values()) == names


def test_the_record_does_not_grow_with_what_is_found_anew(case: Case) -> None:
    names = fill(case.folder, 8)
    case.run()
    record = case.coco.with_name("i.json.results")
    first, size = case.bytes, record.stat().st_size
    for _ in range(4):
        for name in names:
            touch(case.folder / name)
        assert case.run().new == 8
    assert record.stat().st_size <= 1.5 * size
    assert case.bytes == first
    (case.folder / names[0]).unlink()
    assert case.run().removed == 1
    assert case.run().removed == 0
    put(case.folder / names[0], photo(0 if names[0] == "000.jpg" else int(names[0][:3])))
    summary = case.run()
    assert (summary.new, case.asked) == (1, 1)
    assert case.bytes[0] == first[0]


def test_what_is_recorded_below_a_folder_that_cannot_be_listed_stays(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = fill(case.folder, 6)
    case.run()
    first = case.bytes
    real = os.scandir
    with monkeypatch.context() as patch:

        def scandir(path: Path) -> object:
            if path.name == "sub":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        patch.setattr("facekit.annotate.walk.os.scandir", scandir)
        summary = case.run()
        assert (summary.photos, summary.unlisted, summary.removed) == (4, 1, 0)
        assert set(coco_photos(case.coco).values()) == {n for n in names if "/" not in n}
    assert case.run().new == 0
    assert case.bytes == first


def test_another_model_is_refused_before_anything_is_asked(case: Case) -> None:
    fill(case.folder, 2)
    case.run()
    with pytest.raises(ConfigError, match="remove this one to begin again"):
        case.run(model="facenet_ensemble")


def test_two_runs_do_not_share_an_output(case: Case) -> None:
    fill(case.folder, 2)
    case.coco.parent.mkdir()
    lock = FolderLock(case.coco.parent, ".i.json.lock")
    lock.acquire()
    with pytest.raises(DataError, match="wait until it has finished"):
        case.run()
    lock.release()
    assert case.run().photos == 2


@pytest.mark.parametrize("make", [lambda folder: folder.mkdir(), lambda folder: None])
def test_a_folder_without_photos_changes_nothing(case: Case, make: object) -> None:
    fill(case.folder, 2)
    case.run()
    first = case.bytes
    case.folder = case.folder.parent / "unmounted"
    make(case.folder)  # type: ignore[operator]
    with pytest.raises(DataError, match="contains no photos|no such folder"):
        case.run()
    assert case.bytes == first


def test_a_loop_of_links_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop: "):
        annotate(tmp_path / "loop", Outputs(tmp_path / "i.json"))
    (tmp_path / "a.jpg").write_bytes(photo(1))
    with pytest.raises((ConfigError, DataError), match="loop"):
        annotate(tmp_path, Outputs(tmp_path / "loop" / "i.json"))


def test_outputs_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="same file name"):
        Outputs(Path("a.json"), fiftyone=Path("b/../a.json"))


def test_every_format_is_written(case: Case) -> None:
    fill(case.folder, 3)
    names = ("i.jsonl", "i.parquet", "ls.json", "fo.json")
    jsonl, parquet, label_studio, fiftyone = (case.coco.with_name(name) for name in names)
    outputs = Outputs(case.coco, jsonl, parquet, label_studio, fiftyone, seed_fields=True)
    summary = annotate(case.folder, outputs, Options(urls=(case.triton.url,)))
    assert all(path.stat().st_size > 0 for path in summary.files)
    assert len(summary.files) == 5
    assert "rotation" in read(case.coco)["annotations"][0]

"""The journal: what was appended is there again, whatever happened to the process or the disk."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from facekit.annotations import journal_lines
from facekit.annotations.journal import (
    GONE,
    Journal,
    RecordReader,
    read_header,
    read_heads,
    read_journal,
    rewrite_journal,
)
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import ConfigError, DataError
from facekit.faces import Faces


def found(name: str, count: int = 2, size: int = 7) -> PhotoRecord:
    values = np.linspace(0.1, 0.9, count * 68 * 2, dtype=np.float32)
    faces = Faces(
        boxes_xyxy=np.arange(count * 4, dtype=np.float32).reshape(count, 4),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        points_xy=values.reshape(count, 68, 2) * 300,
        point_scores=values[: count * 68].reshape(count, 68),
        size_wh=(400, 300),
        channels=3,
    )
    return PhotoRecord(name, FileStamp(size, 1_700_000_000_123_456_789), faces)


def failed(name: str, error: str = "truncated", *, lasting: bool = True) -> PhotoRecord:
    return PhotoRecord(name, FileStamp(3, 4, "ab" * 32), error=error, lasting=lasting)


def records(path: Path) -> list[PhotoRecord]:
    return [record for record, _ in read_journal(path)]


RECORDS = [
    found("a.jpg"),
    failed("b.png"),
    found('odd ","size_wh":[1,2] \\ \t name.jpg', 0),
    failed("é/ü.jpg", GONE, lasting=False),
    found("a.jpg", 1, size=8),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "i.json.journal"
    with Journal(path, model="faces") as journal:
        for record in RECORDS:
            journal.append(record)
    return path


def test_what_was_appended_is_read_in_order(path: Path) -> None:
    assert records(path) == RECORDS
    assert read_header(path).model == "faces"


def test_reading_goes_on_from_any_offset(path: Path) -> None:
    offsets = [offset for _, offset in read_journal(path)]
    assert offsets[-1] == path.stat().st_size
    for number, offset in enumerate(offsets, start=1):
        assert [record for record, _ in read_journal(path, offset)] == RECORDS[number:]


def test_heads_tell_where_each_record_stands(path: Path) -> None:
    heads = list(read_heads(path))
    assert [(head.photo, head.stamp) for head in heads] == [(r.photo, r.stamp) for r in RECORDS]
    assert [head.failed for head in heads] == [r.faces is None for r in RECORDS]
    assert [head.lasting for head in heads] == [r.lasting for r in RECORDS]
    assert [head.gone for head in heads] == [False, False, False, True, False]
    with RecordReader(path) as reader:
        assert [reader.read(head.start, head.end) for head in heads] == RECORDS


def test_a_half_line_at_the_end_is_dropped_wherever_it_was_cut(path: Path) -> None:
    whole = path.read_bytes()
    ends = [head.end for head in read_heads(path)]
    id_before = read_header(path).id
    for size in (*range(ends[2], ends[3], 7), ends[3] - 1):
        path.write_bytes(whole[:size])
        assert records(path) == RECORDS[:3]
        with Journal(path, model="faces") as journal:
            assert journal.end == ends[2]
            journal.append(RECORDS[4])
        assert records(path) == [*RECORDS[:3], RECORDS[4]]
    assert read_header(path).id == id_before


def test_a_tail_of_zeros_longer_than_any_line_is_dropped(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 3_000_000 + b"\n")
    with Journal(path, model="faces") as journal:
        assert journal.end == len(whole)
    assert records(path) == RECORDS


def test_a_line_that_the_disk_changed_costs_only_itself(path: Path) -> None:
    head = list(read_heads(path))[1]
    data = bytearray(path.read_bytes())
    data[head.start + 12] ^= 1
    path.write_bytes(data)
    rest = [RECORDS[0], *RECORDS[2:]]
    with Journal(path, model="faces") as journal:
        journal.append(RECORDS[1])
    assert records(path) == [*rest, RECORDS[1]]
    with RecordReader(path) as reader, pytest.raises(DataError, match="has changed at byte"):
        reader.read(head.start, head.end)


def test_another_models_journal_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"results of the model faces, not of facemask_ensemble"):
        Journal(path, model="facemask_ensemble")
    assert records(path) == RECORDS


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.journal"
    path.write_text("Dear diary\n")
    with pytest.raises(DataError, match="is no journal.*or remove it to begin again"):
        Journal(path, model="faces")
    assert path.read_text() == "Dear diary\n"


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "i.journal"
    path.touch()
    with Journal(path, model="faces") as journal:
        journal.append(RECORDS[0])
    assert records(path) == RECORDS[:1]


def test_a_rewritten_journal_is_another_one(path: Path) -> None:
    id_before = read_header(path).id
    heads = list(read_heads(path))
    rewrite_journal(path, [(head.start, head.end) for head in (heads[1], heads[4])])
    assert records(path) == [RECORDS[1], RECORDS[4]]
    assert read_header(path).id != id_before
    assert read_header(path).model == "faces"


class _FullDisk:
    """A file of which the disk takes so many bytes more."""

    def __init__(self, file: object, room: int) -> None:
        self._file, self.room = file, room

    def write(self, data: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self._file.write(data[: self.room])
        self.room -= count
        return count

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_costs_no_record_and_the_journal_goes_on(path: Path, room: int) -> None:
    size = path.stat().st_size
    with Journal(path, model="faces") as journal:
        disk = _FullDisk(journal._file, room)
        journal._file = disk  # type: ignore[assignment]
        with pytest.raises(DataError, match=r"No space left on device.*same command") as caught:
            journal.append(found("c.jpg"))
        assert caught.value.path == path
        assert path.stat().st_size == size
        disk.room = 1 << 20
        assert journal.append(found("d.jpg")) == path.stat().st_size
    assert records(path) == [*RECORDS, found("d.jpg")]


def test_a_line_that_is_being_written_is_left_to_the_next_reader(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = path.read_bytes()
    end = [end for _, end in read_journal(path)]
    path.write_bytes(whole[: end[2] + 9])

    def body_of(line: bytes) -> bytes | None:
        if not line.endswith(b"\n"):
            path.write_bytes(whole)  # the writer goes on after a half line has been read
        return real(line)

    real = journal_lines.body_of
    monkeypatch.setattr(journal_lines, "body_of", body_of)
    read = list(read_journal(path))
    path.write_bytes(whole)
    assert [*read, *read_journal(path, read[-1][1])] == list(zip(RECORDS, end, strict=True))

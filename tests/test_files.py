from __future__ import annotations

import os
from pathlib import Path

import pytest

from facekit import files
from facekit.errors import ConfigError, DataError, reading, writing
from facekit.files import FolderLock, check_writable, lock_file, whole_file, write_whole


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new/data.txt"
    write_whole(path, "first")
    with pytest.raises(ZeroDivisionError), whole_file(path) as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert path.read_bytes() == b"first"
    assert [each.name for each in path.parent.iterdir()] == ["data.txt"]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_bytes(b"a longer rest")
    write_whole(tmp_path / "a", b"new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a", b"new")]


def test_a_link_is_followed_and_a_device_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"x"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for refused in (check_writable, lambda path: write_whole(path, b"x")):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            refused(tmp_path / "loop")
    write_whole(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()


def test_two_writers_of_one_file_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with whole_file(path) as file:
        file.write(b"first")
        with pytest.raises(DataError, match="a: cannot be written: another process is"):
            with writing(path):
                write_whole(path, b"second")
    assert path.read_bytes() == b"first"


def test_what_the_next_writer_has_begun_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, moved = tmp_path / "a", files.publish

    def overtaken(partial: Path, target: Path) -> None:
        moved(partial, target)
        partial.write_bytes(b"begun")  # by another process, as soon as the name is free

    monkeypatch.setattr(files, "publish", overtaken)
    write_whole(path, b"first")
    assert path.read_bytes() == b"first"
    assert (tmp_path / ".a.part").read_bytes() == b"begun"


def test_a_file_system_without_locks_takes_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(files.NO_LOCKS[0], "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    write_whole(tmp_path / "a", b"x", sync=False)
    assert (tmp_path / "a").read_bytes() == b"x"
    with pytest.raises(DataError, match=r"\.lock: cannot be locked: No locks available; choose"):
        FolderLock(tmp_path).acquire()


def test_a_lock_notices_that_its_file_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "lock", os.open

    def late(*arguments: object) -> int:
        handle = opened(*arguments)  # type: ignore[arg-type]
        monkeypatch.undo()
        path.unlink()  # by its last holder, before it is locked here
        return handle

    monkeypatch.setattr(os, "open", late)
    handle = lock_file(path)
    assert files.is_file_at(handle, path)
    with pytest.raises(BlockingIOError):
        lock_file(path)
    os.close(handle)
    os.close(lock_file(path))


def test_a_folder_lock_makes_the_folder_and_names_its_holder(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    with FolderLock(folder):
        message = f"b: is being filled by process {os.getpid()} on "
        with pytest.raises(DataError, match=message), FolderLock(folder):
            pass
    assert list(folder.iterdir()) == []


def test_a_folder_lock_needs_no_room_and_tells_little_of_its_file(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to("/dev/full")
    with FolderLock(tmp_path) as lock:
        lock.release()
    path = tmp_path / "other"
    path.write_text("somebody" * 1000)
    handle = lock_file(path)
    with pytest.raises(DataError, match="filled by somebody") as error:
        FolderLock(tmp_path, "other").acquire()
    assert len(str(error.value)) < 1000
    os.close(handle)


def test_writability_is_tried_and_nothing_is_left(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "file", tmp_path / "no/such/folder", Path("/dev/null")):
        check_writable(path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/inside", Path("/proc/new"), Path("/sys/kernel")):
        with pytest.raises(OSError):
            check_writable(path)


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match=r"a\.txt: no such file"), reading(path):
        path.read_text()
    path.write_bytes(b"a\xff")
    with pytest.raises(ConfigError, match="a.txt: cannot be read as text: byte 1 is not UTF-8"):
        with reading(path, ConfigError):
            path.read_text("utf-8")
    with pytest.raises(DataError, match="cannot be read: Is a directory"), reading(tmp_path):
        tmp_path.read_bytes()
    with pytest.raises(DataError, match="cannot be written: No space left on device; free some"):
        with writing(path), Path("/dev/full").open("wb") as file:
            file.write(b"x")

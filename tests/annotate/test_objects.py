"""Lists of objects in place of a folder; tests/workflow/cluster has them on a real S3 interface."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from facekit import DataError
from facekit.annotate.objects import list_objects, read_object
from facekit.annotate.walk import Found
from facekit.errors import SetupError


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "ü %20?.jpg"
    path.write_bytes(b"a photo")
    return path


def listed(tmp_path: Path, *lines: str, hash_content: bool = False) -> list[Found]:
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines), "utf-8")
    return list(list_objects(path, hash_content=hash_content))


def test_list_gives_the_state_of_each_object(photo: Path, tmp_path: Path) -> None:
    uri = f"file://{photo}"
    (found,) = listed(tmp_path, "# photos", "", uri)
    assert (found.photo, found.reason) == (uri, "")
    assert found.stamp is not None
    assert found.stamp.size == len(b"a photo")
    assert found.stamp.mtime_ns == photo.stat().st_mtime_ns
    (hashed,) = listed(tmp_path, uri, hash_content=True)
    assert hashed.stamp is not None
    assert hashed.stamp.sha256 == hashlib.sha256(b"a photo").hexdigest()


def test_list_that_was_saved_on_windows(photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf# photos\r\n\r\n" + f"file://{photo}\r\n".encode())
    assert [found.photo for found in list_objects(path)] == [f"file://{photo}"]


def test_an_address_named_twice_has_one_identity(photo: Path, tmp_path: Path) -> None:
    uri = f"file://{photo}"
    one, again, other = listed(tmp_path, uri, uri, f"file://{tmp_path}/other")
    assert one.identity == again.identity != other.identity


def test_objects_that_are_missing_have_a_reason(tmp_path: Path) -> None:
    missing, folder = listed(tmp_path, f"file://{tmp_path}/none.jpg", f"file://{tmp_path}")
    assert missing.reason == "no such object"
    assert folder.reason is not None and "a folder" in folder.reason


@pytest.mark.parametrize(
    "line", ["holiday/a.jpg", "https://host/a.jpg", "s3://", "s3:/bucket/key", "://x"]
)
def test_a_line_that_is_no_address_is_named(line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.txt:2: expected s3://"):
        listed(tmp_path, f"file://{tmp_path}/none.jpg", line)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match="can't be read as a list of photos"):
        list(list_objects(path))


def test_read_gives_the_bytes_and_their_state(photo: Path, tmp_path: Path) -> None:
    data, stamp = read_object(f"file://{photo}")
    assert data == b"a photo"
    assert (stamp.size, stamp.mtime_ns) == (len(data), photo.stat().st_mtime_ns)
    with pytest.raises(FileNotFoundError):
        read_object(f"file://{tmp_path}/none.jpg")


def test_a_store_that_can_not_be_opened_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoStore:
        @staticmethod
        def from_uri(uri: str) -> None:
            raise OSError(f"no credentials\nfor {uri}")

    monkeypatch.setattr("pyarrow.fs.FileSystem", NoStore)
    with pytest.raises(SetupError, match="s3://holidays can't be opened: no credentials for"):
        read_object("s3://holidays/a.jpg")

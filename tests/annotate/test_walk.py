"""Which files of a folder count as its photos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facekit import limits
from facekit.annotate.results import Results
from facekit.annotate.walk import Found, walk
from facekit.annotations.output import OUTPUT_MARK
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.faces import Faces
from tests.annotate.folders import JPEG, photo, put
from tests.photo_files import encode, picture

GIF = encode(picture().quantize(16), "GIF")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def record_at(path: Path, **options: bool) -> Results:
    return Results(path, model="faces", dataset="d", folder=path.parent, **options)


class Listed:
    """What a run makes of a folder."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        with record_at(scratch) as results:
            self.others = results.take_listing(walk(folder, results.known))
            self.photos = {p.rank: p.photo for p in results.pending()}
            self.refused = {photo: reason for photo, _, reason in results.refused()}
            self.troubles = {name: reason for name, reason, _ in results.failures()}
        assert not scratch.exists()

    @property
    def names(self) -> list[str]:
        return list(self.photos.values())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def listed(folder: Path) -> Listed:
    return Listed(folder, folder.parent / "scratch")


def test_a_time_that_64_bits_cannot_hold_is_the_last_one(folder: Path) -> None:
    put(folder / "a.jpg", JPEG)
    os.utime(folder / "a.jpg", ns=(0, 2**63 + 5 * 10**9))  # the year 2262; ext4 has them until 2446
    assert listed(folder).names == ["a.jpg"]


def test_the_content_tells_what_a_photo_is(folder: Path) -> None:
    for file_format in ("JPEG", "PNG", "BMP", "WEBP", "TIFF"):
        put(folder / f"{file_format} without a suffix", encode(picture(), file_format))
        put(folder / f"{file_format}.txt", encode(picture(), file_format))
    put(folder / "notes.txt", b"BMW and other words")
    put(folder / "clip.mp4", b"\0\0\0\x18ftypisom" + bytes(64))
    put(folder / "nothing.txt", b"")
    result = listed(folder)
    assert len(result.names) == 10
    assert (result.refused, result.others) == ({}, 3)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a", GIF, "not a photo but a GIF; JPEG, PNG"),
        ("a.jpg", HEIC, "an HEIC or AVIF picture"),
        ("a.heic", HEIC, "an HEIC or AVIF picture"),
        ("a.avif", HEIC.replace(b"heic", b"avif"), "an HEIC or AVIF picture"),
        ("a.nef", b"II*\0" + bytes(60), "a camera's raw picture"),
        ("a.cr2", b"II*\0\x10\0\0\0CR" + bytes(60), "a camera's raw picture"),
        ("a.JPG", b"these are words", "not a photo but text"),
        ("a.png", b"", "empty: it contains no bytes"),
        ("a.png", bytes(100), "empty: it contains no bytes but padding"),
        ("a.tiff", b"%PDF-1.4 and so on", "not a photo but a PDF"),
    ],
)
def test_pictures_that_are_not_accepted_are_failures(
    folder: Path, name: str, data: bytes, reason: str
) -> None:
    put(folder / name, data)
    result = listed(folder)
    assert result.names == []
    assert reason in result.refused[name]


def test_a_file_over_the_limit_is_refused_unread(folder: Path) -> None:
    put(folder / "a.jpg", JPEG)
    os.truncate(folder / "a.jpg", limits.MAX_PHOTO_BYTES + 1)
    assert f"the limit is {limits.MAX_PHOTO_BYTES:,}" in listed(folder).refused["a.jpg"]


def test_hidden_files_thumbnails_and_the_kits_own_pictures_are_left_out(folder: Path) -> None:
    names = (
        ".hidden.jpg", ".cache/a.jpg", "@eaDir/a.jpg/THUMB.jpg", "a/@eaDir/b.jpg", "a.faces.jpg",
        "chips/a_1.jpg", "@home.jpg", "a/b.jpg",
    )  # fmt: skip
    for number, name in enumerate(names):
        put(folder / name, photo(number))
    put(folder / "chips" / OUTPUT_MARK, b"")
    assert listed(folder).names == ["@home.jpg", "a/b.jpg"]


def test_the_order_is_that_of_the_names_bytes(folder: Path) -> None:
    names = [
        "b.jpg",
        "a/z.jpg",
        "a.jpg",
        "a-b.jpg",
        "é.jpg",
        "Z.jpg",
        "a/é.jpg",
        "a b.jpg",
        "😀.jpg",
    ]
    for number, name in enumerate(names):
        put(folder / name, photo(number))
    expected = sorted(names, key=lambda name: name.encode())
    assert listed(folder).photos == dict(enumerate(expected, start=1))


def test_links_are_followed_once_and_give_way_to_the_files_own_name(folder: Path) -> None:
    put(folder / "z" / "real.jpg", photo(1))
    outside = folder.parent / "outside"
    put(outside / "far.jpg", photo(2))
    put(outside / "deep" / "deeper.jpg", photo(3))
    (folder / "a").symlink_to("z", target_is_directory=True)  # the same folder
    (folder / "z" / "loop").symlink_to("..", target_is_directory=True)
    (folder / "self").symlink_to("self")
    (folder / "a link.jpg").symlink_to("z/real.jpg")  # the same file
    (folder / "m").symlink_to(outside, target_is_directory=True)
    (outside / "back").symlink_to(folder, target_is_directory=True)
    (folder / "n").symlink_to(outside / "deep", target_is_directory=True)  # once, below m
    (folder / "lost.jpg").symlink_to("nowhere.jpg")
    os.link(folder / "z" / "real.jpg", folder / "z" / "another name.jpg")
    result = listed(folder)
    assert result.names == ["m/deep/deeper.jpg", "m/far.jpg", "z/another name.jpg"]
    assert "No such file" in result.refused["lost.jpg"]


def test_names_that_are_no_text_are_reported(folder: Path) -> None:
    put(folder / "good.jpg", photo(1))
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(photo(2))
    (folder / os.fsdecode(b"\xff.txt")).write_bytes(b"words")
    put(folder / 'quote " and \n line.jpg', photo(3))
    result = listed(folder)
    assert result.names == ["good.jpg", 'quote " and \n line.jpg']
    assert list(result.refused) == ["caf\\xe9.jpg"]
    assert "not UTF-8" in result.refused["caf\\xe9.jpg"]
    assert result.others == 1


def test_folders_that_cannot_be_listed_are_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "a.jpg", photo(1))
    put(folder / "private" / "b.jpg", photo(2))
    real = os.scandir

    def scandir(path: Any) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("facekit.annotate.walk.os.scandir", scandir)
    result = listed(folder)
    assert result.names == ["a.jpg"]
    assert "can't be listed: Permission denied" in result.troubles["private"]


def test_a_name_that_is_spelled_as_one_that_is_no_text_is_shown_keeps_its_photo(
    folder: Path,
) -> None:
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(photo(1))
    put(folder / "caf\\xe9.jpg", photo(2))
    assert listed(folder).names == ["caf\\xe9.jpg"]


def test_pipes_and_devices_are_not_read_and_fail_where_they_are_named_like_photos(
    folder: Path,
) -> None:
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe")
    (folder / "zeros.jpg").symlink_to("/dev/zero")
    result = listed(folder)
    assert (result.names, result.others) == ([], 1)
    assert result.refused == dict.fromkeys(("pipe.jpg", "zeros.jpg"), "not a regular file")


def test_links_into_the_unknown_are_reported(folder: Path) -> None:
    put(folder / "a.jpg", photo(1))
    (folder / "album").symlink_to("x" * 300)  # as one into a folder that nobody may enter
    result = listed(folder)
    assert result.names == ["a.jpg"]
    assert result.troubles == {"album": "a link that can't be followed: File name too long"}


def test_a_file_that_was_replaced_while_it_was_listed_counts_once(tmp_path: Path) -> None:
    stamps = FileStamp(1, 2), FileStamp(3, 4)
    names = ("a.jpg", "b.jpg", "a.jpg", "c.jpg")
    found = [Found(name, stamps[n // 2], (1, n), "") for n, name in enumerate(names)]
    with record_at(tmp_path / "scratch") as results:
        results.take_listing(found)
        assert [(p.rank, p.photo) for p in results.pending()] == [
            (1, "a.jpg"), (2, "b.jpg"), (3, "c.jpg"),
        ]  # fmt: skip


def test_the_digest_is_that_of_the_name_that_counts(tmp_path: Path) -> None:
    # Of two names of one file only that which an earlier run took has a digest to compare.
    stamp = FileStamp(1, 2, "ab")
    found = [Found("b.jpg", FileStamp(1, 2), (1, 1), ""), Found("a.jpg", stamp, (1, 1), "")]
    with record_at(tmp_path / "scratch", hash_content=True) as results:
        results.put(PhotoRecord("a.jpg", stamp, Faces.empty((3, 4))))
        results.commit()
        results.take_listing(found)
        assert list(results.pending()) == []

"""Cover the faces of many photos, and write them into a folder under their own names."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from facekit.annotate import Options, Outputs, annotate
from facekit.annotate.local import Finder
from facekit.annotate.servers import Say
from facekit.annotations import PhotoSource, read_dataset
from facekit.annotations.dataset import check_photo_folder, name_fields, name_of
from facekit.annotations.label_studio_reader import is_label_studio, read_label_studio
from facekit.annotations.output import OUTPUT_MARK, claim_folder, failures_path
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.client import Client
from facekit.client.photos import read_photo
from facekit.errors import ConfigError, DataError, InputError, PhotoError, writing
from facekit.files import FolderLock, followed, write_whole
from facekit.labels.coco import load_coco
from facekit.parallel import in_order
from facekit.photos.formats import ACCEPTED
from facekit.privacy.cover import cover_faces
from facekit.privacy.options import VIDEO_SUFFIXES, Cover
from facekit.privacy.pictures import read_picture, write_picture
from facekit.progress import ProgressBar
from facekit.runs import connect
from facekit.sheet import read_failures
from facekit.text import count, one_line

JOURNAL = ".facekit-covered.jsonl"
"""In the folder of the covered photos: a line for each, with what it was made of."""

_LARGE_PIXELS = 32_000_000
"""Photos with more pixels are decoded one at a time."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@dataclass(frozen=True)
class BlurSummary:
    """Outcome of a run.

    Attributes:
        records: All photos with the faces that are covered, or why they were not written. A video
            that was written is not among them.
        photo_folder: What their names count from.
        others: Files that are not pictures, which were left out.
        unchanged: Photos that an earlier run has written.
        videos: Videos that were written, or had been by an earlier run.
    """

    records: list[PhotoRecord]
    photo_folder: Path
    others: int = 0
    unchanged: int = 0
    videos: int = 0

    @property
    def failures(self) -> list[PhotoRecord]:
        """The photos that were not written."""
        return [record for record in self.records if record.faces is None]

    def text(self) -> str:
        """Return the outcome in one line."""
        written = [record.faces for record in self.records if record.faces is not None]
        faces = count(sum(map(len, written)), "face")
        parts = [f"{count(len(written), 'photo')} written, {faces} covered"]
        if self.unchanged:
            parts.append(f"{self.unchanged:,} of them unchanged")
        if self.videos:
            parts.append(f"{count(self.videos, 'video')} written")
        if failed := len(self.failures):
            parts.append(f"{failed:,} NOT written")
        if self.others:
            parts.append(f"{count(self.others, 'other file')} left out")
        return "; ".join(parts)


def blur_photos(
    paths: Sequence[Path],
    out: Path,
    cover: Cover,
    options: Options,
    *,
    finder: Finder | None = None,
    say: Say | None = None,
) -> BlurSummary:
    """Find the faces of photos, videos and folders of them, and write these with the faces covered.

    A photo keeps its path below the deepest folder that contains all ``paths``. What was found
    lies beside ``out`` as ``OUT.instances.json``; the same call goes on where an earlier one was
    stopped. Originals are never changed, and a photo that can't be read is not written.

    Args:
        paths: Photos, videos and folders.
        out: A new folder, an empty one, or that of an earlier call.
        cover: How faces are covered.
        options: How they are found.
        finder: As for :func:`facekit.annotate.annotate`, which also says what is raised.
        say: Likewise.
    """
    root, names = _common_folder(paths)
    videos = [name for name in names if name.lower().endswith(VIDEO_SUFFIXES)]
    only = [name for name in names if name not in videos]
    done: list[PhotoRecord] = []
    with _Folder(out, root, cover, say) as folder:
        below = [each for name in only for each in _videos_below(root, name)]
        videos = list(dict.fromkeys([*videos, *below]))
        if videos:
            done = folder.fill_videos(videos, options)
        if not only:
            return BlurSummary(done, root, videos=len(videos) - len(done))
        outputs = Outputs(coco=out.absolute().parent / f"{out.absolute().name}.instances.json")
        summary = annotate(
            root, outputs, options, finder=finder, say=say, only=only, then=folder.fill
        )
        dataset = read_dataset(outputs.coco, root)
    if not (summary.photos or videos):
        raise DataError(root, f"contains no photos and no videos; {ACCEPTED}")
    found = [photo.record for photo in dataset.photos]
    records = [_of_chosen(record, cover) for record in found]
    # Folders that can't be listed are among them.
    failed = read_failures(failures_path(outputs.coco))
    others = summary.others - len(set(below))
    written = len(videos) - len(done)
    return BlurSummary([*records, *failed, *done], root, others, folder.unchanged, videos=written)


def blur_dataset(
    path: Path, out: Path, cover: Cover, *, photo_folder: Path | None = None, say: Say | None = None
) -> BlurSummary:
    """Write the photos of a dataset with its faces covered, such as after a person's corrections.

    Args:
        path: A COCO file, or tasks exported by Label Studio.
        out: As for :func:`blur_photos`.
        cover: How faces are covered.
        photo_folder: What the photos' names count from; None for what the dataset says.
        say: As for :func:`blur_photos`.

    Raises:
        ConfigError: Label Studio's tasks need ``photo_folder``.
        DataError: The dataset can't be used, or none of its photos is there.
    """
    if is_label_studio(path):
        if photo_folder is None:
            raise ConfigError(f"{path}: Label Studio does not export where the photos lie: name it")
        folder, records = photo_folder.absolute(), read_label_studio(path)
    else:
        if any(each.get("iscrowd") for each in load_coco(path)["annotations"]):
            raise DataError(path, "has crowds (iscrowd), which have no faces to cover: box each")
        dataset = read_dataset(path, photo_folder)
        folder = Path(dataset.info.photo_folder)
        records = [photo.record for photo in dataset.photos]
    check_photo_folder(folder, (record.photo for record in records))
    with _Folder(out, folder, cover, say) as target:
        failed = {record.photo: record for record in target.cover(records, len(records))}
    done = [failed.get(record.photo) or _of_chosen(record, cover) for record in records]
    return BlurSummary(done, folder, unchanged=target.unchanged)


def _of_chosen(record: PhotoRecord, cover: Cover) -> PhotoRecord:
    assert record.faces is not None
    return replace(record, faces=cover.chosen(record.faces), exact=True)


def _common_folder(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """Return the deepest folder that contains all paths, and their names below it."""
    whole = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - links stay
    for path in whole:
        if not os.path.lexists(path):
            raise DataError(path, "no such file or folder")
    tops = [path if path.is_dir() else path.parent for path in whole]
    root = Path(os.path.commonpath(tops))
    names = [os.path.relpath(path, root) for path in whole]
    return root, ["" if name == "." else name for name in names]


def _videos_below(root: Path, name: str) -> list[str]:
    """Return the videos below a folder by their names, in order, without what `annotate` skips."""
    found = []
    for folder, folders, files in os.walk(root / name):
        if (Path(folder) / OUTPUT_MARK).exists():
            folders.clear()
            continue
        folders[:] = [each for each in folders if each[0] not in ".@"]
        found += [
            os.path.relpath(Path(folder) / file, root)
            for file in files
            if file.lower().endswith(VIDEO_SUFFIXES) and not file.startswith(".")
        ]
    return sorted(found)


class _Folder:
    """The folder of covered photos, locked for this process, with its journal.

    Raises DataError if it contains other things, is being filled by another process, or can't be
    written to.
    """

    def __init__(self, out: Path, photo_folder: Path, cover: Cover, say: Say | None) -> None:
        self._out, self._photo_folder, self._cover, self._say = out, photo_folder, cover, say
        self.unchanged = 0
        self._journal: dict[str, str] = {}
        self._large = threading.Lock()
        self._folds_case = False
        self._stack = ExitStack()

    def __enter__(self) -> _Folder:
        claim_folder(self._out, "covered photos")
        self._out = self._out.resolve()
        self._stack.enter_context(FolderLock(self._out))
        path = self._out / JOURNAL
        with writing(path):
            if path.exists():
                self._journal = _read_journal(path)
            # The lines of before, once each, without what a killed run has left half written.
            lines = (_line(name, made) for name, made in self._journal.items())
            write_whole(path, b"".join(lines))
            self._file: BinaryIO = self._stack.enter_context(path.open("ab"))
        self._folds_case = path.with_name(JOURNAL.upper()).exists()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fill(self, photos: PhotoSource) -> Iterator[PhotoRecord]:
        """Cover the photos of a run, and yield those that failed."""
        total = sum(1 for _ in photos())
        yield from self.cover((photo.record for photo in photos()), total)

    def cover(self, records: Iterable[PhotoRecord], total: int) -> Iterator[PhotoRecord]:
        """Write the photos that are not there yet, and yield those that failed."""
        jobs = len(os.sched_getaffinity(0))
        silent = False if self._say is None else None
        with (
            ProgressBar(total, "photos covered", say=self._say, enabled=silent) as bar,
            ThreadPoolExecutor(jobs, thread_name_prefix="cover") as pool,
        ):
            for record, made, error in in_order(pool, self._one, self._named(records), 2 * jobs):
                bar.advance(failed=bool(error))
                if error:
                    yield replace(record, faces=None, error=error, lasting=False)
                elif made == self._journal.get(record.photo):
                    self.unchanged += 1
                else:
                    self._note(record.photo, made)

    def fill_videos(self, names: Sequence[str], options: Options) -> list[PhotoRecord]:
        """Cover the videos that are not there yet, and return those that failed."""
        from facekit.privacy.video import blur_video

        failed = []
        how = options.how | {"threshold": options.min_score}
        with ExitStack() as stack:
            client: Client | None = None
            for name in names:
                path = self._photo_folder / name
                # Whatever it was coded in, it is written as MP4.
                written = name if name.lower().endswith((".mp4", ".m4v")) else f"{name}.mp4"
                try:
                    target, status = self._target(written), path.stat()
                    text = f"{status.st_size} {status.st_mtime_ns} {how} {self._cover}"
                    recipe = hashlib.sha256(text.encode()).hexdigest()
                    if (made := _made(recipe, target)) and made == self._journal.get(written):
                        continue
                    if client is None:
                        url, *_ = (*options.urls, None)
                        client = stack.enter_context(
                            connect(
                                url,
                                timeout_s=options.timeout_s,
                                tls_certificate=options.tls_certificate,
                            )
                        )
                    place = target.with_name(f".{target.name}.found")
                    blur_video(path, target, client, self._cover, journal=place, **how)
                    self._note(written, _made(recipe, target))
                except (InputError, DataError, OSError) as error:
                    reason = one_line(str(error).removeprefix(f"{path}: "))
                    failed.append(PhotoRecord(name, FileStamp(0, 0), error=reason))
        return failed

    def _note(self, name: str, made: str) -> None:
        """Add a line to the journal."""
        self._journal[name] = made
        with writing(self._out / JOURNAL):
            self._file.write(_line(name, made))
            self._file.flush()

    def _named(self, records: Iterable[PhotoRecord]) -> Iterator[tuple[PhotoRecord, str]]:
        """Yield the records, each with an earlier one's name that is the same on this disk."""
        names: dict[str, str] = {}
        for record in records:
            # On a disk that takes A.jpg and a.jpg for one name.
            other = names.setdefault(record.photo.casefold(), record.photo)
            yield record, other if self._folds_case and other != record.photo else ""

    def _one(self, named: tuple[PhotoRecord, str]) -> tuple[PhotoRecord, str, str]:
        """Write one photo, and return what its line in the journal says, or why it failed."""
        record, other = named
        source = self._photo_folder / record.photo
        try:
            if other:
                raise PhotoError(f"has the name of {other} on the disk of {self._out}: rename one")
            target, recipe = self._target(record.photo), _recipe(record, self._cover)
            made = _made(recipe, target)
            if made != self._journal.get(record.photo):
                assert record.faces is not None
                width, height = record.faces.size_wh
                with self._large if width * height > _LARGE_PIXELS else nullcontext():
                    data = self._covered(record)
                self._write(target, data)
                made = _made(recipe, target)
            return record, made, ""
        except InputError as error:
            return record, "", one_line(str(error).removeprefix(f"{source}: "))
        except OSError as error:
            return record, "", f"can't be read: {error.strerror or error}"

    def _write(self, target: Path, data: bytes) -> None:
        """Write a file; DataError if no other can be written either, such as on a full disk."""
        try:
            write_whole(target, data, sync=False)
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise DataError(target, error.strerror or str(error)) from error
            raise PhotoError(f"can't be written: {target}: {error.strerror or error}") from error

    def _target(self, photo: str) -> Path:
        """Return where a photo goes; PhotoError if that is not a file below the folder itself."""
        target = self._out / photo
        if followed(target) != target or not target.is_relative_to(self._out):
            raise PhotoError(f"would be written through a link or outside {self._out}: {target}")
        if target.exists() and not target.is_file():
            raise PhotoError(f"can't be written: {target} is not a file")
        return target

    def _covered(self, record: PhotoRecord) -> bytes:
        path, faces = self._photo_folder / record.photo, record.faces
        assert faces is not None
        data = read_photo(path).tobytes()
        # A dataset does not tell which state of the file it is about.
        if record.stamp != FileStamp(0, 0):
            stamp = FileStamp.of(path.stat())
            if (stamp.size, stamp.mtime_ns) != (record.stamp.size, record.stamp.mtime_ns):
                raise PhotoError("has changed since its faces were found: run it again")
        picture = read_picture(data, keep_metadata=self._cover.keep_metadata)
        if len(faces) and picture.size_wh != faces.size_wh:
            now, then = ("{} x {}".format(*size) for size in (picture.size_wh, faces.size_wh))
            raise PhotoError(f"now {now} pixels, but {then} when its faces were found")
        boxes = self._cover.chosen(faces).boxes_xyxy
        cover_faces(picture.pixels, boxes, self._cover.how, self._cover.margin, black=picture.black)
        return write_picture(picture)


def _recipe(record: PhotoRecord, cover: Cover) -> str:
    """Return a digest of all that a covered photo depends on."""
    return hashlib.sha256(f"{record.to_json()}\n{cover}".encode()).hexdigest()


def _made(recipe: str, target: Path) -> str:
    """Return what the journal says of a file that was made by a recipe and not changed since."""
    with suppress(FileNotFoundError):
        status = target.stat()
        return f"{recipe} {status.st_size} {status.st_mtime_ns}"
    return ""


def _line(name: str, made: str) -> bytes:
    return json.dumps(name_fields("photo", name) | {"made": made}).encode() + b"\n"


def _read_journal(path: Path) -> dict[str, str]:
    journal = {}
    with path.open("rb") as lines:
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # of a killed run, the last
                entry = json.loads(line)
                journal[name_of(entry, "photo")] = str(entry["made"])
    return journal

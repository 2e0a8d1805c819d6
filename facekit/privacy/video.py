"""Cover the faces of a video: through their whole tracks and somewhat beyond."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekit.annotations.record import FileStamp
from facekit.client import Client
from facekit.errors import DataError, PhotoError
from facekit.faces import Faces
from facekit.privacy.cover import FloatArray, cover_faces
from facekit.privacy.options import Cover
from facekit.progress import ProgressBar
from facekit.video.finding import PATIENCE_S, Journal, find_all, finder
from facekit.video.records import Record, fill_gaps, track_record
from facekit.video.sink import mp4_file
from facekit.video.source import VideoFile
from facekit.video.tracks import NO_TRACK, Tracker

BEYOND_S = 0.5
"""Before a face is first found and after it was last found it is covered for so long."""


@dataclass(frozen=True)
class _Seen:
    """What is covered in one frame: boxes (N, 4), and the track of each or ``NO_TRACK``."""

    time_s: float
    boxes_xyxy: FloatArray
    track_ids: np.ndarray[Any, np.dtype[np.int64]]


def blur_video(
    source: Path,
    target: Path,
    client: Client,
    cover: Cover,
    *,
    journal: Path,
    **how: Any,
) -> int:
    """Write a video as MP4 with its faces covered, and return the number of its frames.

    Every frame is looked at. A face is covered where it was found, between sightings of its track,
    and ``BEYOND_S`` before and after. What was found is kept in a journal, so that a run that was
    stopped goes on. The audio is copied; metadata are not.

    Args:
        source: The video.
        target: An MP4 file.
        client: Of the server.
        cover: How faces are covered.
        journal: Place of the journal, which is removed at the end.
        how: Options of ``Client.detect``.

    Raises:
        PhotoError: A frame could not be looked at, or the file has parts that can't be decoded.
        DataError: It can't be read, has changed meanwhile, or can't be written.
        ServerError: The server does not answer.
    """
    stamp = FileStamp.of(source.stat())
    about = {"facekit": "blur", "stamp": [stamp.size, stamp.mtime_ns]}
    about |= {name: str(value) for name, value in how.items()}
    try:
        found = Journal(journal, about, resume=True)
    except DataError:  # of an earlier version of the video; one in use is refused here too
        found = Journal(journal, about, resume=False)
    complete = False
    try:
        find = finder(client, how.pop("model"), None, PATIENCE_S, **how)
        with VideoFile(str(source)) as video:
            if video.endless:
                raise PhotoError("a stream without an end, which can't be written as a file")
            with ProgressBar(video.frame_count, "frames looked at", already=found.count) as bar:
                bar.advance(found.count)
                for _ in find_all(video.frames(), find, found):
                    bar.advance()
            if video.broken:
                raise PhotoError(f"{video.broken} parts of it can't be decoded: repair it first")
        _write(source, target, found, cover)
        complete = True
        return found.count
    finally:
        found.close(remove=complete)


def _write(source: Path, target: Path, found: Journal, cover: Cover) -> None:
    changed = PhotoError("has changed while it was looked at: run it again")
    boxes = held(_seen(found, cover), BEYOND_S)
    with (
        VideoFile(str(source)) as video,
        mp4_file(target, video) as writer,
        ProgressBar(found.count, "frames written") as bar,
    ):
        for frame in video.frames(writer.write_audio):
            time_s, covered = next(boxes, (-1.0, np.zeros((0, 4))))
            if time_s != frame.time_s:
                raise changed
            pixels = frame.pixels().copy()
            cover_faces(pixels, covered, cover.how, cover.margin)
            writer.write(frame, pixels)
            bar.advance()
        if next(boxes, None) is not None:
            raise changed


def _seen(found: Journal, cover: Cover) -> Iterator[_Seen]:
    """Yield what was found in each frame and lies between sightings of one track."""
    loose: deque[FloatArray] = deque()

    def tracked() -> Iterator[Record]:
        tracker = Tracker()
        for index, (time_s, outcome) in enumerate(found.read()):
            if outcome is None or outcome.faces is None:
                reason = "was not looked at" if outcome is None else outcome.error
                raise PhotoError(f"frame {index}, at {time_s:.2f} s: {reason}")
            faces: Faces = cover.chosen(outcome.faces)
            record = track_record(tracker, index, time_s, faces)
            assert record.faces is not None
            kept = {tuple(box) for box in record.faces.boxes_xyxy.tolist()}
            # A face of a low score that continues no track is covered all the same.
            others = [box for box in faces.boxes_xyxy.tolist() if tuple(box) not in kept]
            loose.append(np.array(others, np.float64).reshape(-1, 4))
            yield record

    for record in fill_gaps(tracked()):
        assert record.faces is not None
        others = loose.popleft()
        yield _Seen(
            record.time_s,
            np.concatenate([record.faces.boxes_xyxy.astype(np.float64), others]),
            np.concatenate([record.track_ids, np.full(len(others), NO_TRACK)]),
        )


def held(frames: Iterable[_Seen], beyond_s: float) -> Iterator[tuple[float, FloatArray]]:
    """Yield for each frame its time and the boxes (N, 4) to cover.

    Those are its own, of each other track of the frames up to ``beyond_s`` away the box that is
    nearest in time, and all boxes without a track of these frames.
    """
    window: deque[_Seen] = deque()
    waiting: deque[_Seen] = deque()
    for frame in frames:
        window.append(frame)
        waiting.append(frame)
        while waiting and frame.time_s - waiting[0].time_s > beyond_s:
            yield _around(waiting.popleft(), window, beyond_s)
        while window and waiting and waiting[0].time_s - window[0].time_s > beyond_s:
            window.popleft()
    while waiting:
        yield _around(waiting.popleft(), window, beyond_s)


def _around(frame: _Seen, window: Iterable[_Seen], beyond_s: float) -> tuple[float, FloatArray]:
    boxes, own = [*frame.boxes_xyxy], set(frame.track_ids.tolist())
    near = [each for each in window if abs(each.time_s - frame.time_s) <= beyond_s]
    for other in sorted(near, key=lambda each: abs(each.time_s - frame.time_s)):
        if other is frame:
            continue
        for box, track in zip(other.boxes_xyxy, other.track_ids.tolist(), strict=True):
            if track == NO_TRACK or track not in own:
                boxes.append(box)
                own.add(track)
    return frame.time_s, np.array(boxes, np.float64).reshape(-1, 4)

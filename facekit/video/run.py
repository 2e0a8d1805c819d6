"""One run over a video: a file whole, in two passes; a stream with its newest frames."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.client import Client
from facekit.contract import CLASS_NAMES
from facekit.errors import FacekitError, ModelMissingError
from facekit.faces import Faces
from facekit.progress import ProgressBar
from facekit.selection import FaceLimits
from facekit.video.finding import PATIENCE_S, Journal, find_all, finder
from facekit.video.live import LiveVideo
from facekit.video.masks import People
from facekit.video.outputs import Hook, Outputs
from facekit.video.records import Labels, Record, Smoother, fill_gaps, track_record, unseen
from facekit.video.source import Frame, Pixels, VideoFile, unusable
from facekit.video.tracks import Tracker

LIVE_UNDER_WAY = 2
"""One frame is looked at while the next one is sent; more would only be later."""
LATE_S = 0.25
"""While frames are later than this, only one is under way."""
_PAUSE_S = 0.5
"""After a frame of a stream at which the server could not look."""


@dataclass(frozen=True)
class VideoOptions:
    """What a run does; see ``facekit video --help``.

    Attributes:
        model: As for ``Client.detect``.
        limits: Faces that do not meet them are left out.
        every: Of so many frames of a file one is looked at.
        smooth: Whether landmarks are smoothed over time.
        out: The video with the faces drawn.
        jsonl: A line a frame.
        events: A line an event.
        alert_after_s: See ``People``.
        hook: Is run at each alert.
        resume: Whether a file's run that was stopped goes on.
        seconds: A stream ends after so many; None for never.
        views: Called with the pixels of each frame, faces drawn.
        stop: Ends a stream between two frames once it is set.
    """

    model: str = "faces"
    limits: FaceLimits = field(default_factory=FaceLimits)
    every: int = 1
    smooth: bool = True
    out: Path | None = None
    jsonl: Path | None = None
    events: Path | None = None
    alert_after_s: float | None = None
    hook: Hook | None = None
    resume: bool = False
    seconds: float | None = None
    views: tuple[Callable[[Pixels], None], ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that the model tells apart; () for none."""
        return CLASS_NAMES["facemask"] if self.model.startswith("facemask") else ()

    def outputs(
        self, video: VideoFile | LiveVideo, say: Callable[[str], None], *, live: bool
    ) -> Outputs:
        """Open what the run writes."""
        return Outputs(
            video, out=self.out, jsonl=self.jsonl, events=self.events, hook=self.hook,
            views=self.views, say=say, live=live,
        )  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        looked_at: Number of frames that the server looked at.
        frames: Number of frames of the source.
        failed: Number of frames at which it could not look.
        delay_s: Longest time from a stream's frame to its output; 0 for a file.
        people: See ``People.summary``.
    """

    looked_at: int
    frames: int
    failed: int
    delay_s: float
    people: str

    def line(self) -> str:
        """Return the last line of the run."""
        parts = [f"{self.looked_at:,} of {self.frames:,} frames were looked at"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.delay_s:
            parts.append(f"delay at most {self.delay_s:.2f} s")
        return "; ".join([*parts, self.people])


def run_video(
    source: str,
    client: Client,
    options: VideoOptions,
    say: Callable[[str], None],
    video: VideoFile | None = None,
) -> Summary:
    """Find the faces of a file, a stream or a camera, and write what the options ask for.

    Args:
        source: A path, a pattern of pictures, an address or a device.
        client: Of the server.
        options: See there.
        say: Called with what a user should know meanwhile.
        video: The source, if it is open already.

    Raises:
        DataError: The source can't be used, or an output can't be written.
        ServerError: The server does not answer, or does not have the model.
    """
    video = video or VideoFile(source)
    if video.endless:
        return _run_live(LiveVideo(source, video, say), client, options, say)
    return _run_file(source, video, client, options, say)


def _run_file(
    source: str, video: VideoFile, client: Client, options: VideoOptions, say: Callable[[str], None]
) -> Summary:
    about = {"facekit": "video", "model": options.model, "every": options.every}
    about |= {"limits": str(options.limits), "source": _stamp(source)}
    with tempfile.TemporaryDirectory() as folder:
        beside = options.out or options.jsonl or options.events or Path(folder) / "video"
        path = beside.with_name(f".{beside.name}.found")
        journal = Journal(path, about, resume=options.resume)
        complete = False
        try:
            find = finder(client, options.model, options.limits, PATIENCE_S)
            resumed = journal.count
            bar = ProgressBar(video.frame_count, "frames looked at", already=resumed, say=say)
            with video, bar:
                for _ in find_all(video.frames(), find, journal, options.every):
                    bar.advance()
            if video.broken:
                say(f"{video.broken} parts of the file could not be decoded")
            summary = _write_file(source, journal, options, say)
            complete = True
        finally:
            journal.close(remove=complete)
        return summary


def _write_file(
    source: str, journal: Journal, options: VideoOptions, say: Callable[[str], None]
) -> Summary:
    # The tracks are made twice: first for the labels of the whole tracks, then to be written.
    labels = Labels()
    looked_at = failed = 0
    for record in _tracked(journal):
        labels.add(record)
        looked_at += record.looked_at
        failed += bool(record.error)
    people = People(labels, options.class_names, options.alert_after_s)
    smoother = Smoother()
    records = fill_gaps(_tracked(journal))
    changed = unusable(source, "has changed during the run; run it again")
    with (
        VideoFile(source) as video,
        options.outputs(video, say, live=False) as outputs,
        ProgressBar(journal.count, "frames written", say=say) as bar,
    ):
        writer = outputs.writer
        if writer is not None and video.audio is not None and not writer.has_audio:
            say(f"an MP4 can't have its audio, {video.audio.codec.name}: it is left out")
        for frame in video.frames(None if writer is None else writer.write_audio):
            found = next(records, None)
            if found is None or found.time_s != frame.time_s:
                raise changed
            record = labels.apply(smoother.apply(found) if options.smooth else found)
            outputs.write(frame, record, people.update(record))
            bar.advance()
        if next(records, None) is not None:
            raise changed
        outputs.write_events(people.close())
    return Summary(looked_at, journal.count, failed, 0.0, people.summary())


def _tracked(journal: Journal) -> Iterator[Record]:
    tracker = Tracker()
    for index, (time_s, outcome) in enumerate(journal.read()):
        yield _record(tracker, index, time_s, outcome)


def _record(tracker: Tracker, index: int, time_s: float, outcome: PhotoRecord | None) -> Record:
    if outcome is None or outcome.faces is None:
        return unseen(index, time_s, "" if outcome is None else outcome.error)
    return track_record(tracker, index, time_s, outcome.faces)


def _stamp(source: str) -> list[Any]:
    """Return what identifies the version of a file; of a pattern or an address only its name."""
    try:
        stamp = FileStamp.of(Path(source).stat())
    except OSError:
        return [source]
    return [stamp.size, stamp.mtime_ns]


def _run_live(
    live: LiveVideo, client: Client, options: VideoOptions, say: Callable[[str], None]
) -> Summary:
    find = finder(client, options.model, options.limits)
    tracker, labels, smoother = Tracker(), Labels(), Smoother()
    people = People(labels, options.class_names, options.alert_after_s)
    looked_at = failed = gaps = 0
    delay_s = 0.0
    with live, options.outputs(live, say, live=True) as outputs:
        bar = ProgressBar(None, "frames looked at", say=say)
        with bar, ThreadPoolExecutor(LIVE_UNDER_WAY, thread_name_prefix="facekit-video") as pool:
            try:
                for frame, arrived_s, result in _newest(live, pool, find, options):
                    if isinstance(result, Faces):
                        record = track_record(tracker, frame.index, frame.time_s, result)
                        looked_at += 1
                    else:
                        record = unseen(frame.index, frame.time_s, str(result))
                        failed += 1
                    labels.add(record)
                    record = labels.apply(smoother.apply(record) if options.smooth else record)
                    events = people.update(record)
                    for begin_s, end_s in live.gaps[gaps:]:
                        gap = {"from_s": round(begin_s, 3), "to_s": round(end_s, 3)}
                        events.append({"event": "gap", **gap})
                        gaps += 1
                    outputs.write(frame, record, events)
                    now_s = time.monotonic() - arrived_s
                    delay_s = max(delay_s, now_s)
                    dropped = frame.index + 1 - looked_at - failed
                    bar.advance(note=f"delay {now_s:.2f} s, {dropped:,} dropped")
            except KeyboardInterrupt:
                pass  # a closed window: what there is is written whole
            outputs.write_events(people.close())
    return Summary(looked_at, live.seen, failed, delay_s, people.summary())


def _newest(
    live: LiveVideo,
    pool: ThreadPoolExecutor,
    find: Callable[[Frame], Faces | FacekitError],
    options: VideoOptions,
) -> Iterator[tuple[Frame, float, Faces | FacekitError]]:
    """Yield the frames that the server keeps up with, when they arrived, and what is in them."""
    until = math.inf if options.seconds is None else time.monotonic() + options.seconds
    pending: deque[tuple[Frame, float, Future[Faces | FacekitError]]] = deque()
    most = LIVE_UNDER_WAY
    while time.monotonic() < until and not options.stop.is_set():
        if len(pending) < most:
            taken = live.take(0.0 if pending and pending[0][2].done() else 0.02)
            if taken is not None:
                pending.append((*taken, pool.submit(find, taken[0])))
        if pending and (pending[0][2].done() or len(pending) >= most):
            frame, arrived_s, future = pending.popleft()
            result = future.result()
            if isinstance(result, ModelMissingError):
                raise result
            yield frame, arrived_s, result
            most = 1 if time.monotonic() - arrived_s > LATE_S else LIVE_UNDER_WAY
            if isinstance(result, FacekitError):
                time.sleep(_PAUSE_S)

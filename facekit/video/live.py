"""Streams and cameras: always the newest frame, and on again after a break."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from facekit.closing import Closing
from facekit.errors import FacekitError
from facekit.video.source import Frame, VideoFile

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""Between two tries to open a stream that broke; each pause is twice as long as the last."""


class LiveVideo(Closing):
    """A source that is read in a thread, which keeps only the newest frame.

    Time stamps are seconds since the first frame; those of a stream that was opened again go on
    with the clock's, so that the gap is in them.

    Args:
        source: Its address, with which it is opened again.
        first: The open source.
        say: Called with a line for each break and each return.

    Attributes:
        seen: Number of frames that arrived.
        gaps: Begin and end in seconds of each break that is over.
    """

    time_base = Fraction(1, 90_000)
    audio = None
    start_pts = 0

    def __init__(
        self, source: str, first: VideoFile, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._source, self._say = source, say
        self.size_wh, self.rate = first.size_wh, first.rate
        self.sample_aspect_ratio = first.sample_aspect_ratio
        self._stored_wh = first.stored_wh
        self.seen = 0
        self.gaps: list[tuple[float, float]] = []
        self._start: float | None = None
        self._last_s = 0.0
        self._newest: tuple[Frame, float] | None = None
        self._arrived = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(first,), daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> tuple[Frame, float] | None:
        """Return the newest frame, and when it arrived by the monotonic clock.

        None if no other one than those taken comes within ``timeout_s``.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._newest is not None, timeout_s)
            newest, self._newest = self._newest, None
            return newest

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()

    def _run(self, video: VideoFile) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                if self._read(video):
                    pause = FIRST_PAUSE_S
            finally:
                video.close()
            while True:
                if self._stopped.is_set():
                    return
                self._say(f"the stream broke at {self._last_s:.1f} s; again in {pause:g} s")
                if self._stopped.wait(pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE_S)
                try:
                    video = VideoFile(self._source)
                except FacekitError:
                    continue
                break

    def _read(self, video: VideoFile) -> bool:
        """Publish the frames of one connection; return whether there was one."""
        offset: float | None = None
        for frame in video.frames():
            now = time.monotonic()
            if self._start is None:
                self._start = now
            if offset is None:
                offset = now - self._start - frame.time_s
                if self.seen:
                    self.gaps.append((self._last_s, now - self._start))
                    gap_s = now - self._start - self._last_s
                    self._say(f"the stream is back after {gap_s:.1f} s")
            time_s = max(frame.time_s + offset, self._last_s + (1e-3 if self.seen else 0))
            turned = replace(
                frame, index=self.seen, time_s=time_s, pts=round(time_s / self.time_base),
                duration=0, stored_wh=self._stored_wh,
            )  # fmt: skip
            with self._arrived:
                self._last_s, self._newest = time_s, (turned, now)
                self.seen += 1
                self._arrived.notify()
            if self._stopped.is_set():
                break
        return offset is not None

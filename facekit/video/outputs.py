"""What is written of a video: the video with faces drawn, JSON lines, events, and a local view."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from facekit.closing import Closing
from facekit.draw import BOX_COLOR, CLASS_COLORS, draw_into
from facekit.errors import ConfigError, writing
from facekit.files import whole_file
from facekit.outputs import begins_as
from facekit.video.records import Record
from facekit.video.sink import VideoWriter, mp4_file
from facekit.video.source import Frame, Pixels, VideoFormat

TRACK_COLORS = (BOX_COLOR, *CLASS_COLORS)
EVENT_VARIABLE = "FACEKIT_EVENT"
"""Environment variable in which the command of an alert gets the event as JSON."""

_WAIT_S = 10.0

is_our_jsonl = begins_as(re.compile(rb'\{"frame": \d+, "time_s": '))
"""Whether a file is one that ``--jsonl`` wrote."""
is_our_events = begins_as(re.compile(rb'\{"event": "'))
"""Whether a file is one that ``--events`` wrote."""


def drawn(pixels: Pixels, record: Record) -> Pixels:
    """Return the frame with the faces of its record, each in its track's color with its number."""
    faces = record.faces
    if faces is None or not len(faces):
        return pixels
    image = Image.fromarray(pixels)
    tracks = record.track_ids.tolist()
    named = faces.class_names
    names = [
        f"{track} {named[label]}" if named else f"{track}"
        for track, label in zip(tracks, faces.labels.tolist() if named else tracks, strict=True)
    ]
    keys = faces.labels.tolist() if named else tracks
    palette = CLASS_COLORS if named else TRACK_COLORS
    colors = [palette[key % len(palette)] for key in keys]
    draw_into(image, faces, scores=False, names=names, colors=colors)
    return np.asarray(image)


class Hook:
    """Runs a command of the user's at each alert, without waiting for it.

    Raises ConfigError if the command is empty or has an open quote.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--on-alert: {error}: {command}") from error
        if not self._words:
            raise ConfigError("--on-alert: expected a command, got an empty text")
        self._running: list[subprocess.Popen[bytes]] = []

    def wait(self) -> None:
        """Wait some seconds for the commands that still run."""
        for each in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(_WAIT_S)

    def run(self, event: dict[str, Any]) -> str:
        """Start the command; return why it could not be, or ""."""
        self._running = [each for each in self._running if each.poll() is None]
        environment = {**os.environ, EVENT_VARIABLE: json.dumps(event)}
        try:
            self._running.append(
                subprocess.Popen(self._words, env=environment, stdin=subprocess.DEVNULL)
            )
        except OSError as error:
            return f"--on-alert: {self._words[0]}: {error.strerror or error}"
        return ""


class Outputs(Closing):
    """The files and views of one run.

    Args:
        video: Whose size and time stamps the written video has.
        out: The video with the faces drawn; None for none.
        jsonl: A line a frame.
        events: A line an event.
        hook: Is run at each alert.
        views: Called with the pixels of each frame, faces drawn.
        say: Called with what went wrong in passing.
        live: Whether lines are in their files at once; otherwise files get their names when they
            are whole.

    Raises:
        DataError: A file can't be written.
    """

    def __init__(
        self,
        video: VideoFormat,
        *,
        out: Path | None = None,
        jsonl: Path | None = None,
        events: Path | None = None,
        hook: Hook | None = None,
        views: tuple[Callable[[Pixels], None], ...] = (),
        say: Callable[[str], None] = lambda line: None,
        live: bool = False,
    ) -> None:
        self._hook, self._views, self._say, self._live = hook, views, say, live
        self._stack = contextlib.ExitStack()
        if hook is not None:
            self._stack.callback(hook.wait)
        try:
            self.writer: VideoWriter | None = None
            if out is not None:
                self.writer = self._stack.enter_context(mp4_file(out, video))
            self._jsonl, self._events = self._lines(jsonl), self._lines(events)
        except BaseException:
            self._stack.close()
            raise

    def _lines(self, path: Path | None) -> tuple[Path, BinaryIO] | None:
        if path is None:
            return None
        self._stack.enter_context(writing(path))
        if self._live:
            path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb") if self._live else whole_file(path)
        return path, self._stack.enter_context(file)

    def write(self, frame: Frame, record: Record, events: list[dict[str, Any]]) -> None:
        """Write one frame; raises DataError if a file can't be written."""
        self._write_line(self._jsonl, record.to_dict())
        self.write_events(events)
        if self.writer is None and not self._views:
            return
        pixels = drawn(frame.pixels(), record)
        if self.writer is not None:
            self.writer.write(frame, pixels)
        for view in self._views:
            view(pixels)

    def write_events(self, events: list[dict[str, Any]]) -> None:
        """Write events, and run the hook for each alert."""
        for event in events:
            self._write_line(self._events, event)
            if self._hook is not None and event["event"] == "alert":
                trouble = self._hook.run(event)
                if trouble:
                    self._say(trouble)

    def _write_line(self, lines: tuple[Path, BinaryIO] | None, row: dict[str, Any]) -> None:
        if lines is None:
            return
        path, file = lines
        with writing(path):
            file.write(json.dumps(row).encode() + b"\n")
            if self._live:
                file.flush()

    def close(self) -> None:
        """Finish the files."""
        self._stack.close()

    def __exit__(self, *error: Any) -> None:
        """Finish the files, or leave what was there before an error."""
        self._stack.__exit__(*error)

"""Read video files: every frame upright, with its time stamp, and the audio beside it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace

from facekit.closing import Closing
from facekit.errors import DataError, FacekitError, InputError

Pixels = npt.NDArray[np.uint8]

LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt", "tcp")
"""Addresses of streams that do not wait for their reader."""
OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0
_DEFAULT_RATE = Fraction(25)
# AVCOL_SPC_BT709 and AVCOL_SPC_UNSPECIFIED of libavutil.
_BT709, _UNSPECIFIED = 1, 2
_HD_HEIGHT = 720
"""From this height on, players take video without a color space for BT.709."""


class VideoFormat(Protocol):
    """What a copy of a video takes from it; see :class:`VideoFile`."""

    size_wh: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    sample_aspect_ratio: Fraction
    start_pts: int
    audio: Any


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: Its number in the source, from 0.
        time_s: Seconds from the source's start.
        pts: The same in units of ``time_base`` of its source.
        duration: How long it stands, in the same units; 0 if unknown.
    """

    index: int
    time_s: float
    pts: int
    duration: int
    _picture: Any
    _quarters: int
    stored_wh: tuple[int, int]

    def pixels(self) -> Pixels:
        """Return the upright pixels, red, green, blue: uint8 (H, W, 3), contiguous.

        A frame of another size than the source's first is scaled to that.
        """
        width, height = self.stored_wh
        picture, space = self._picture, None
        if picture.colorspace == _UNSPECIFIED and picture.height >= _HD_HEIGHT:
            space = Colorspace.ITU709
        rgb = picture.to_ndarray(format="rgb24", width=width, height=height, src_colorspace=space)
        return np.ascontiguousarray(np.rot90(rgb, self._quarters))


def is_live(source: str) -> bool:
    """Return whether a source is a camera or a stream by its address, without opening it."""
    scheme, separator, _ = source.partition("://")
    return source.startswith("/dev/") or (bool(separator) and scheme.lower() in LIVE_SCHEMES)


def open_container(source: str) -> Any:
    """Open what FFmpeg reads.

    Raises:
        DataError: It can't be opened; the reason is FFmpeg's. InputError for an address.
    """
    options: dict[str, str] = {}
    kind: str | None = None
    timeout: tuple[float, float] | None = None
    if source.startswith("/dev/"):
        kind = "v4l2"
    elif "://" in source:
        timeout = (OPEN_TIMEOUT_S, READ_TIMEOUT_S)
        if source.lower().startswith("rtsp"):
            # By UDP lost packets become broken pictures.
            options = {"rtsp_transport": "tcp"}
    elif Path(source).is_dir():
        raise unusable(
            source, "is a folder; for a sequence of pictures give a pattern such as %04d.png"
        )
    try:
        return av.open(source, format=kind, options=options, timeout=timeout)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unusable(source, f"cannot be opened as a video: {reason(error)}") from error


def unusable(source: str, why: str) -> FacekitError:
    """Return the error of a source, of whose address the user and the password are left out."""
    if "://" not in source:
        return DataError(Path(source), why)
    return InputError(f"{re.sub('://[^/]*@', '://', source)}: {why}")


def reason(error: BaseException) -> str:
    """Return FFmpeg's reason of an error, without the address, which may hold a password."""
    return str(getattr(error, "strerror", None) or error)


class VideoFile(Closing):
    """A video that is read once, from its start to its end.

    Args:
        source: A path, a pattern of pictures such as ``%04d.png``, or an address.

    Attributes:
        size_wh: Width and height of the upright frames in pixels.
        rate: Frames a second, on average.
        time_base: Seconds of one unit of ``Frame.pts``.
        sample_aspect_ratio: Width over height of an upright pixel.
        start_pts: Time stamp of the file's own at which it starts.
        frame_count: Number of frames as the file says, or as its duration suggests; None if
            unknown.
        audio: The stream of audio, or None.
        endless: Whether it has no end that is known, as a camera's.
        broken: Number of packets that could not be read or decoded so far.

    Raises:
        DataError: It can't be opened, or has no video stream or no frame that can be decoded;
            InputError for an address.
    """

    def __init__(self, source: str) -> None:
        self.broken = 0
        self._container = open_container(source)
        try:
            self._begin(source)
        except BaseException:
            self.close()
            raise

    def _begin(self, source: str) -> None:
        container = self._container
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
            raise unusable(source, "has no video stream that can be decoded")
        # Frame threads are the fastest, but each of them holds a frame back.
        stream.thread_type = "SLICE" if is_live(source) else "AUTO"
        audio = container.streams.best("audio")
        self.audio = audio if isinstance(audio, av.AudioStream) else None
        self.time_base = Fraction(stream.time_base or Fraction(1, 90_000))
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE)
        seconds = container.duration / av.time_base if container.duration else None
        self.endless = is_live(source) or (seconds is None and "://" in source)
        guess = None if seconds is None else max(1, round(seconds * self.rate))
        self.frame_count = None if self.endless else stream.frames or guess
        self._early_audio: list[Any] = []
        self._on_audio: Callable[[Any], None] = self._early_audio.append
        decoded = self._decoded(stream)
        first = next(decoded, None)
        if first is None:
            raise unusable(source, "contains no frame that can be decoded")
        pictures = itertools.chain([first], decoded)
        self._pictures = _deinterlaced(pictures, stream) if first.interlaced_frame else pictures
        self._quarters = round(first.rotation / 90) % 4
        turned = self._quarters % 2
        self.stored_wh = (first.width, first.height)
        self.size_wh = self.stored_wh[:: -1 if turned else 1]
        ratio = Fraction(stream.sample_aspect_ratio or 1)
        self.sample_aspect_ratio = 1 / ratio if turned else ratio
        start_s = 0.0 if container.start_time is None else container.start_time / av.time_base
        self.start_pts = round(start_s / self.time_base)

    def frames(self, on_audio: Callable[[Any], None] | None = None) -> Iterator[Frame]:
        """Yield all frames in the order in which they are shown; their time stamps only rise.

        Args:
            on_audio: Called with each packet of ``audio``, in the order of the file.
        """
        self._on_audio = on_audio or (lambda packet: None)
        for packet in self._early_audio:
            self._on_audio(packet)
        self._early_audio.clear()
        step = max(1, round(1 / self.rate / self.time_base))
        pts = -step
        for index, picture in enumerate(self._pictures):
            # Without a time stamp, or with one that falls back, a frame follows the last one.
            own = pts + step if picture.pts is None else picture.pts - self.start_pts
            pts = max(own, pts + 1 if index else 0)
            yield Frame(
                index, float(pts * self.time_base), pts, picture.duration or 0,
                picture, self._quarters, self.stored_wh,
            )  # fmt: skip

    def _decoded(self, stream: Any) -> Iterator[av.VideoFrame]:
        """Yield the frames that can be decoded; packets that can't are counted."""
        packets = self._container.demux([stream, *([self.audio] if self.audio else [])])
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.EOFError):
                return
            except (av.FFmpegError, OSError):
                # The file is cut off, or the connection: the frames so far are what there is.
                self.broken += 1
                return
            if packet.stream is not stream:
                if packet.dts is not None:  # the last one only flushes
                    self._on_audio(packet)
                continue
            try:
                pictures = stream.decode(packet)
            except av.EOFError:
                return
            except av.FFmpegError:
                self.broken += 1
                continue
            yield from pictures

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def _deinterlaced(pictures: Iterator[av.VideoFrame], stream: Any) -> Iterator[av.VideoFrame]:
    """Yield as many whole frames of interlaced ones, with the same time stamps."""
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=stream),
        graph.add("yadif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    for picture in itertools.chain(pictures, [None]):
        graph.vpush(picture)
        while True:
            try:
                whole = graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                break
            if whole.pts is not None:  # the filter counts in finer units
                whole.pts = round(whole.pts * whole.time_base / stream.time_base)
            yield whole

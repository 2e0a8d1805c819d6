"""Write MP4 files: H.264 with the source's time stamps, and its audio as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from facekit.errors import DataError, writing
from facekit.files import whole_file
from facekit.outputs import PICTURE_MARK
from facekit.video.source import Frame, Pixels, VideoFormat, reason

# One thread and no macroblock tree: with the tree, one run in ten of PyAV's x264 wrote other
# bytes.
_X264 = "threads=1:sync-lookahead=0:mbtree=0"
_OPTIONS = {"preset": "veryfast", "crf": "20", "x264-params": _X264}
MP4_AUDIO = ("aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac")
"""Codecs of audio that players take from an MP4."""
# AVCOL_..._BT709 and AVCOL_RANGE_MPEG of libavutil.
_BT709, _LIMITED = 1, 1


class VideoWriter:
    """Encodes frames, and passes audio through; made by :func:`mp4_file`.

    Attributes:
        has_audio: Whether the source's audio is copied.
    """

    def __init__(self, file: BinaryIO, source: VideoFormat) -> None:
        self._container = av.open(file, "w", format="mp4")
        self._container.metadata["comment"] = PICTURE_MARK
        stream = self._container.add_stream("libx264", rate=source.rate, options=_OPTIONS)
        # Half a color sample is not stored: an odd side is longer by one.
        width, height = self._size_wh = [side + side % 2 for side in source.size_wh]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = source.time_base
        context = stream.codec_context
        context.sample_aspect_ratio = source.sample_aspect_ratio
        context.thread_count = 1
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        self._stream, self._time_base = stream, source.time_base
        self.has_audio = source.audio is not None and source.audio.codec.name in MP4_AUDIO
        self._audio: Any = None
        if source.audio is not None and self.has_audio:
            self._audio = self._container.add_stream_from_template(source.audio)
            self._audio_start = round(
                source.start_pts * source.time_base / (source.audio.time_base or 1)
            )

    def write(self, frame: Frame, pixels: Pixels) -> None:
        """Encode pixels, uint8 (H, W, 3) of the source's upright size, with a frame's times."""
        width, height = self._size_wh
        wider, taller = width - pixels.shape[1], height - pixels.shape[0]
        if wider or taller:
            pixels = np.pad(pixels, ((0, taller), (0, wider), (0, 0)), "edge")
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts, picture.time_base = frame.pts, self._time_base
        picture.duration = frame.duration
        self._container.mux(self._stream.encode(picture))

    def write_audio(self, packet: Any) -> None:
        """Copy a packet of the source's audio."""
        if self._audio is None:
            return
        packet.stream = self._audio
        packet.dts -= self._audio_start
        packet.pts = packet.dts if packet.pts is None else packet.pts - self._audio_start
        self._container.mux(packet)

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close without finishing."""
        with contextlib.suppress(Exception):
            self._container.close()


@contextlib.contextmanager
def mp4_file(path: Path, source: VideoFormat) -> Iterator[VideoWriter]:
    """Yield a writer of a file that gets its name when it is whole.

    Args:
        path: Its folder is created where it is missing.
        source: The open video whose size, rate, time stamps and audio it gets.

    Raises:
        DataError: It can't be written.
    """
    with writing(path), whole_file(path) as file:
        try:
            writer = VideoWriter(file, source)
            try:
                yield writer
                writer.close()
            except BaseException:
                writer.abandon()
                raise
        except av.FFmpegError as error:
            raise DataError(path, f"cannot be written: {reason(error)}") from error

"""Made-up videos: a known face that moves on a known path, and files that are odd."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from facekit.data import probe_photo

Pixels = np.ndarray
SIZE_WH = (320, 240)


def portrait() -> Pixels:
    """The probe photo: uint8 (300, 360, 3), with one face."""
    return np.asarray(Image.open(io.BytesIO(probe_photo())).convert("RGB"))


def scene(lefts_tops: Sequence[tuple[int, int]], size_wh: tuple[int, int] = SIZE_WH) -> Pixels:
    """The probe photo's head, 150 x 160 pixels, at each of these places before a gray wall."""
    width, height = size_wh
    image = np.full((height, width, 3), 128, np.uint8)
    head = portrait()[50:210, 100:250]
    for left, top in lefts_tops:
        image[top : top + 160, left : left + 150] = head
    return image


def write_video(
    path: Path,
    frames: Iterable[Pixels],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    audio: str | None = None,
    kind: str | None = None,
) -> Path:
    """Write frames with one time stamp each, in units of 1/1000 s; by default evenly."""
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.pix_fmt = pix_fmt
        sound = container.add_stream(audio, rate=8000, layout="mono") if audio else None
        unit = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
                if codec not in ("gif", "mpeg2video", "png"):
                    stream.time_base = stream.codec_context.time_base = unit
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            number = index * 1000 // rate if pts is None else pts[index]
            frame.pts = round(Fraction(number, 1000) / (stream.codec_context.time_base or unit))
            frame.time_base = stream.codec_context.time_base or unit
            container.mux(stream.encode(frame))
            if sound is not None:
                container.mux(sound.encode(tone(index, rate)))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def tone(index: int, rate: int) -> av.AudioFrame:
    """The part of a tone of 440 Hz that goes with a frame."""
    count = 8000 // rate
    times = (np.arange(count) + index * count) / 8000
    samples = (np.sin(2 * np.pi * 440 * times) * 0.3).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 8000, index * count, Fraction(1, 8000)
    return frame


def turn(path: Path) -> Path:
    """Let a player turn an MP4 clockwise by 90 degrees, as a phone's held upright does."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd")

    def matrix(*values: float) -> bytes:
        units = [1 << 16, 1 << 16, 1 << 30] * 3
        return b"".join(
            round(v * u).to_bytes(4, "big", signed=True) for v, u in zip(values, units, strict=True)
        )

    place = data.index(matrix(1, 0, 0, 0, 1, 0, 0, 0, 1), start)
    data[place : place + 36] = matrix(0, 1, 0, -1, 0, 0, 0, 0, 1)
    path.write_bytes(data)
    return path

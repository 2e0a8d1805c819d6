"""Reading videos: what FFmpeg reads, every frame once, upright, at its time."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from facekit.errors import DataError
from facekit.video.source import VideoFile
from tests.video.videos import SIZE_WH, tone, turn, write_video

COUNT = 12


def numbered(index: int, size_wh: tuple[int, int] = SIZE_WH) -> np.ndarray:
    """A picture whose lower right quarter is red, and whose left column tells its number."""
    image = np.full((size_wh[1], size_wh[0], 3), 60, np.uint8)
    image[size_wh[1] // 2 :, size_wh[0] // 2 :] = (220, 30, 30)
    image[:40, :40] = 20 * index
    return image


def read(path: Path | str) -> list[tuple[float, np.ndarray]]:
    with VideoFile(str(path)) as video:
        return [(frame.time_s, frame.pixels()) for frame in video.frames()]


def check(frames: list[tuple[float, np.ndarray]], count: int = COUNT, tolerance: int = 8) -> None:
    assert len(frames) == count
    for index, (_, pixels) in enumerate(frames):
        expected = numbered(index).astype(int)
        for y, x in ((20, 20), (60, 250), (200, 60), (200, 250)):
            assert np.abs(pixels[y, x] - expected[y, x]).max() <= tolerance, (index, y, x)


KINDS = {
    "h264.mp4": {},
    "h264.mkv": {"audio": "aac"},
    "ten-bit.mp4": {"pix_fmt": "yuv420p10le"},
    "full-chroma.mkv": {"codec": "ffv1", "pix_fmt": "yuv444p"},
    "interlaced.ts": {"options": {"x264-params": "tff=1"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_gives_every_frame(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, map(numbered, range(COUNT)), **KINDS[name])
    frames = read(path)
    check(frames)
    times = [time_s for time_s, _ in frames]
    assert times == pytest.approx(np.arange(COUNT) / 25 + times[0], abs=0.002)


def test_a_gif(tmp_path: Path) -> None:
    frames = map(numbered, range(COUNT))
    path = write_video(tmp_path / "a.gif", frames, codec="gif", pix_fmt="rgb8")
    check(read(path), tolerance=60)  # eight bits of color


def test_a_sequence_of_pictures(tmp_path: Path) -> None:
    pattern = tmp_path / "%03d.png"
    write_video(pattern, map(numbered, range(COUNT)), codec="png", pix_fmt="rgb24", kind="image2")
    check(read(pattern), tolerance=0)
    with pytest.raises(DataError, match=r"is a folder; for a sequence .* %04d\.png"):
        VideoFile(str(tmp_path))


def test_frames_of_a_variable_rate_keep_their_times(tmp_path: Path) -> None:
    pts = [0, 40, 45, 300, 1000, 1017, 2500]
    path = write_video(tmp_path / "a.mkv", map(numbered, range(len(pts))), pts=pts)
    frames = read(path)
    check(frames, len(pts))
    assert [round(1000 * time_s) for time_s, _ in frames] == pts


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    path = turn(write_video(tmp_path / "phone.mp4", map(numbered, range(3))))
    with VideoFile(str(path)) as video:
        assert video.size_wh == SIZE_WH[::-1]
        frame = next(video.frames()).pixels()
    assert frame.shape == (320, 240, 3)
    # A quarter clockwise takes the lower right to the lower left.
    assert np.abs(frame[300, 20].astype(int) - (220, 30, 30)).max() <= 8
    assert np.abs(frame[300, 220].astype(int) - 60).max() <= 8


def test_interlaced_frames_are_made_whole(tmp_path: Path) -> None:
    """Fields of two times: the comb of a moving edge is gone."""

    def combed(index: int) -> np.ndarray:
        image = np.zeros((240, 320, 3), np.uint8)
        image[0::2, 100 + 16 * index :] = 255
        image[1::2, 108 + 16 * index :] = 255
        return image

    options = {"x264-params": "tff=1:keyint=1", "qp": "4"}
    path = write_video(tmp_path / "a.ts", map(combed, range(8)), options=options)
    pixels = [frame.astype(int) for _, frame in read(path)]
    assert len(pixels) == 8
    column = pixels[4][100:140, 100 + 16 * 4 + 4, 0]
    assert np.abs(np.diff(column)).max() < 60


def test_a_file_that_is_cut_off_gives_the_frames_that_are_there(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.ts", map(numbered, range(COUNT)), options={"g": "1"})
    data = whole.read_bytes()
    part = tmp_path / "cut.ts"
    part.write_bytes(data[: len(data) * 2 // 3])
    frames = read(part)
    assert 4 < len(frames) < COUNT
    check(frames[:-1], len(frames) - 1)


def test_a_broken_packet_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", map(numbered, range(COUNT)), codec="mjpeg",
                       pix_fmt="yuvj420p")  # fmt: skip
    data = bytearray(path.read_bytes())
    second = [i for i in range(len(data)) if data.startswith(b"00dc", i)][1]
    data[second + 8 : second + 200] = bytes(192)
    path.write_bytes(data)
    with VideoFile(str(path)) as video:
        count = sum(1 for _ in video.frames())
        assert count + video.broken >= COUNT and count >= COUNT - 1


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        for index in range(10):
            container.mux(stream.encode(tone(index, 25)))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mp4", "cannot be opened as a video: No such file"),
        ("empty.mp4", "cannot be opened as a video"),
        ("text.mp4", "cannot be opened as a video: Invalid data"),
        ("sound.mp4", "has no video stream"),
        ("cut.mp4", "cannot be opened as a video"),
        ("none.y4m", "contains no frame that can be decoded"),
    ],
)
def test_what_is_no_video_says_why(name: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "empty.mp4":
        path.touch()
    elif name == "text.mp4":
        path.write_text("not a video " * 100)
    elif name == "sound.mp4":
        write_sound(path)
    elif name == "cut.mp4":
        whole = write_video(tmp_path / "whole.mp4", map(numbered, range(3)))
        path.write_bytes(whole.read_bytes()[:400])
    elif name == "none.y4m":
        path.write_text("YUV4MPEG2 W320 H240 F25:1 C420jpeg\n")
    with pytest.raises(DataError, match=message) as raised:
        VideoFile(str(path))
    assert str(path) in str(raised.value)

"""Writing MP4: the same frames at the same times, the audio as it is, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from facekit.errors import DataError
from facekit.video.sink import mp4_file
from facekit.video.source import VideoFile
from tests.video.test_source import COUNT, check, numbered, read
from tests.video.videos import write_video


def copy(path: Path, out: Path) -> None:
    with VideoFile(str(path)) as video, mp4_file(out, video) as writer:
        for frame in video.frames(writer.write_audio):
            writer.write(frame, frame.pixels())


def audio_bytes(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(audio=0) if p.dts is not None]
        return [(round(float(p.pts * p.time_base), 3), bytes(p)) for p in packets]


def test_frames_times_and_audio_are_kept(tmp_path: Path) -> None:
    pts = [0, 40, 45, 300, 1000, 1017, 1100, 1200, 1300, 1400, 1500, 2500]
    path = write_video(tmp_path / "a.mkv", map(numbered, range(COUNT)), pts=pts, audio="aac")
    out = tmp_path / "new" / "out.mp4"
    copy(path, out)
    frames = read(out)
    check(frames)
    assert [round(1000 * time_s) for time_s, _ in frames] == pts
    assert audio_bytes(out) == audio_bytes(path)
    assert [each.name for each in out.parent.iterdir()] == ["out.mp4"]


def test_a_file_that_starts_late_starts_at_0(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", map(numbered, range(COUNT)))
    copy(path, tmp_path / "out.mp4")
    frames = read(tmp_path / "out.mp4")
    check(frames)
    assert [time_s for time_s, _ in frames] == pytest.approx(np.arange(COUNT) / 25, abs=1e-4)


def test_each_run_writes_the_same_bytes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", map(numbered, range(COUNT)), audio="aac")
    for name in ("1.mp4", "2.mp4"):
        copy(path, tmp_path / name)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "2.mp4").read_bytes()


def test_odd_sides_are_padded(tmp_path: Path) -> None:
    frames = (numbered(index)[:121, :161] for index in range(3))
    path = write_video(tmp_path / "a.gif", frames, codec="gif", pix_fmt="rgb8")
    copy(path, tmp_path / "out.mp4")
    (_, first), *_ = read(tmp_path / "out.mp4")
    assert first.shape == (122, 162, 3)


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", map(numbered, range(3)))
    out = tmp_path / "out.mp4"
    out.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), VideoFile(str(path)) as video, mp4_file(out, video):
        raise KeyboardInterrupt
    assert out.read_bytes() == b"before"
    assert {each.name for each in tmp_path.iterdir()} == {"a.mp4", "out.mp4"}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", map(numbered, range(3)))
    with pytest.raises(DataError, match="cannot be written"):
        copy(path, path / "out.mp4")

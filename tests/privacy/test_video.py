"""Videos with their faces covered through whole tracks, on the real server and by hand."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from facekit import Client
from facekit.annotate import Options
from facekit.privacy import Cover, blur_photos
from facekit.privacy import video as module
from facekit.serving.embedded import EmbeddedServer
from facekit.video.tracks import NO_TRACK
from tests.video.videos import scene, write_video

FRAMES = 40
WALL = 128


def path_of(index: int) -> tuple[int, int]:
    return 20 + 3 * index, 30


def film(place: Path, *, without: range = range(0), audio: str | None = "aac") -> Path:
    """A head that walks to the right; in some frames no detector sees it."""
    pictures = [scene([path_of(index)]) for index in range(FRAMES)]
    for index in without:
        left, top = path_of(index)
        pictures[index][top : top + 160, left : left + 150] //= 40
    place.parent.mkdir(parents=True, exist_ok=True)
    return write_video(place, pictures, audio=audio, options={"crf": "10"})


def pictures_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def options(server: EmbeddedServer) -> Options:
    return Options(
        urls=(server.grpc_url,), model="facenet_ensemble", threshold=0.05, min_score=0.15
    )


def test_a_face_is_covered_in_every_frame_also_where_it_was_missed(
    options: Options, server: EmbeddedServer, tmp_path: Path
) -> None:
    source = film(tmp_path / "films" / "walk.mp4", without=range(15, 19))
    before = source.read_bytes()
    summary = blur_photos([source.parent], tmp_path / "out", Cover(how="box"), options)
    assert summary.text() == "0 photos written, 0 faces covered; 1 video written"
    assert source.read_bytes() == before
    pictures = pictures_of(tmp_path / "out" / "walk.mp4")
    assert len(pictures) == FRAMES
    for index, picture in enumerate(pictures):
        left, top = path_of(index)
        face = picture[top + 60 : top + 100, left + 55 : left + 95]
        assert face.mean() < 12, index
        assert abs(picture[:, 290:].astype(int) - WALL).mean() < 4
    with Client(server.grpc_url) as client:
        missed = pictures_of(source)[15:19]
        assert not any(len(client.detect(each, threshold=0.15)) for each in missed)
        assert not any(len(client.detect(each)) for each in pictures[::8])
    with av.open(str(tmp_path / "out" / "walk.mp4")) as container:
        assert len(container.streams.audio) == 1
    assert not list((tmp_path / "out").glob(".*.found"))
    again = (tmp_path / "out" / "walk.mp4").stat().st_mtime_ns
    blur_photos([source.parent], tmp_path / "out", Cover(how="box"), options)
    assert (tmp_path / "out" / "walk.mp4").stat().st_mtime_ns == again


def test_a_video_that_is_not_read_is_not_written(options: Options, tmp_path: Path) -> None:
    good = film(tmp_path / "films" / "a.mov", audio=None)
    bad = tmp_path / "films" / "words.mp4"
    bad.write_bytes(b"no film")
    summary = blur_photos([good, bad], tmp_path / "out", Cover(), options)
    assert [record.photo for record in summary.failures] == ["words.mp4"]
    assert summary.failures[0].error.startswith("cannot be opened as a video")
    names = {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
    assert names == {"a.mov.mp4"}


def seen(time_s: float, *faces: tuple[float, int]) -> module._Seen:
    boxes = np.array([[x, 0, x + 10, 10] for x, _ in faces], float).reshape(-1, 4)
    return module._Seen(time_s, boxes, np.array([track for _, track in faces], np.int64))


def test_faces_are_held_before_and_after_they_are_found() -> None:
    frames = [seen(t / 10) for t in range(20)]
    frames[8], frames[9] = seen(0.8, (50, 1)), seen(0.9, (60, 1), (200, NO_TRACK))
    held = list(module.held(iter(frames), 0.5))
    assert [time_s for time_s, _ in held] == [t / 10 for t in range(20)]
    lefts = {round(time_s * 10): sorted(boxes[:, 0].tolist()) for time_s, boxes in held}
    assert lefts[2] == [] and lefts[15] == []
    assert lefts[3] == [50] and lefts[4] == [50, 200]
    assert lefts[8] == [50, 200] and lefts[9] == [60, 200]
    assert lefts[13] == [60, 200] and lefts[14] == [60, 200]

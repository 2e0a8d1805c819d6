"""Runs on the real embedded server."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from pycocotools.coco import COCO

from facekit.annotate import Options, Outputs, annotate
from facekit.data import probe_photo
from facekit.serving import EmbeddedServer
from tests.annotate.folders import coco_photos, failures, put
from tests.photo_files import bad_photos, good_photos


def test_every_bad_file_among_good_ones_is_reported(server: EmbeddedServer, tmp_path: Path) -> None:
    bad, good = bad_photos(), good_photos()
    for name, (data, _) in bad.items():
        put(tmp_path / "photos" / f"{name}.jpg", data)
    for name, (data, _) in good.items():
        put(tmp_path / "photos" / "good" / name, data)
    put(tmp_path / "photos" / "face", probe_photo())
    outputs = Outputs(tmp_path / "i.json", seed_fields=True)
    summary = annotate(tmp_path / "photos", outputs, Options(urls=(server.grpc_url,)))
    reasons = failures(outputs.coco)
    assert reasons.keys() == {f"{name}.jpg" for name in bad}
    for name, (_, expected) in bad.items():
        assert expected in reasons[f"{name}.jpg"], name
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(outputs.coco))
    files = {image["file_name"]: image for image in coco.imgs.values()}
    assert files.keys() == {"face", *(f"good/{name}" for name in good)}
    channels = {name: files[f"good/{name}"]["channels"] for name in good}
    assert channels == {name: expected for name, (_, expected) in good.items()}
    faces = coco.imgToAnns[files["face"]["id"]]
    assert [face["num_keypoints"] for face in faces] == [68] * len(faces) != []
    assert (summary.photos, summary.failures) == (len(bad) + len(good) + 1, len(bad))


def test_results_do_not_depend_on_what_else_is_asked(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    for number, (name, (data, _)) in enumerate(good_photos().items()):
        put(tmp_path / "photos" / f"{number}", data)
        put(tmp_path / "photos" / f"{name} face", probe_photo())
    written = []
    for concurrency in (1, 8):
        outputs = Outputs(tmp_path / str(concurrency) / "i.json")
        options = Options(urls=(server.grpc_url,), concurrency=concurrency)
        assert annotate(tmp_path / "photos", outputs, options).failures == 0
        written.append(outputs.coco.read_bytes())
    assert written[0] == written[1]
    assert coco_photos(tmp_path / "1" / "i.json")

"""``infer`` draws what a network finds and writes it down."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime")

from facekit.detection.postprocess import Detections
from facekit.errors import DataError
from facekit.labels.kitti import read_kitti
from tests.training.detectors import FRAME_WH, Oracle, write_network, write_photo
from tests.training.spec_text import INFERENCE, changed, write_spec
from training.detector import infer as command
from training.detector.inference import network_input
from training.experiment.inference import InferenceSpec, read_inference

SPEC = INFERENCE
FACES = [
    [(0, (40.0, 30.0, 90.0, 90.0), 0.9), (1, (200.0, 60.0, 240.0, 110.0), 0.8)],
    [(1, (10.0, 10.0, 40.0, 50.0), 0.7), (0, (100.0, 10.0, 140.0, 60.0), 0.55)],
]


def spec_of(tmp_path: Path, text: str = SPEC) -> InferenceSpec:
    return read_inference(write_spec(tmp_path / "spec.txt", text))


def test_labels_and_pictures_of_every_photo(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / "photos" / name)
    network = Oracle(FACES, classes=("covered", "bare"))
    spec = spec_of(tmp_path)
    counts, failed = command.infer(network, spec, tmp_path / "photos", tmp_path / "out")
    # One face of the second photo adds up to 1.4, where its class needs 1.5.
    assert (counts, failed) == ({"covered": 2, "bare": 1}, 0)
    # The photo is twice as large as the frame, and so are its boxes.
    assert (tmp_path / "out/labels/a.txt").read_text().splitlines() == [
        "Mask 0 0 0 80.00 60.00 180.00 180.00 0 0 0 0 0 0 0 0.9000",
        "bare 0 0 0 400.00 120.00 480.00 220.00 0 0 0 0 0 0 0 0.8000",
    ]
    assert (tmp_path / "out/labels/b.txt").read_text().splitlines() == [
        "Mask 0 0 0 200.00 20.00 280.00 120.00 0 0 0 0 0 0 0 0.5500"
    ]
    np.testing.assert_allclose(
        read_kitti(tmp_path / "out/labels/a.txt").boxes_xyxy[0], [80, 60, 180, 180]
    )
    with Image.open(tmp_path / "out/images_annotated/a.png") as drawn:
        assert drawn.size == (640, 384)
        for line in range(3):
            assert drawn.getpixel((80 + line, 150)) == (1, 200, 30)
        assert drawn.getpixel((440, 220)) == (0, 0, 0)
    with Image.open(tmp_path / "photos/a.png") as photo:
        # The photo itself is as it was.
        assert photo.getpixel((80, 150)) != (1, 200, 30)


def test_the_network_sees_the_upright_photo_in_color(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.png", (100, 60), seed=4)
    with Image.open(photo) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6
        turned.save(tmp_path / "turned.png", exif=exif)
        expected = network_input(image.convert("RGB"), FRAME_WH)
    network = Oracle([[], []], classes=("covered", "bare"))
    for name in ("a.png", "turned.png"):
        command.infer(network, spec_of(tmp_path), tmp_path / name, tmp_path / "out")
    assert network.frames[0].shape == (1, 3, 192, 320)
    assert network.frames[0].dtype == np.float32
    for frame in network.frames:
        np.testing.assert_array_equal(frame[0], expected)


def test_only_what_the_spec_asks_for_is_written(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos/a.png")
    for old, new, written in (
        ("kitti_dump: true", "kitti_dump: false", {"images_annotated"}),
        ("disable_overlay: false", "disable_overlay: true", {"labels"}),
    ):
        out = tmp_path / next(iter(written))
        spec = spec_of(tmp_path, changed(SPEC, old, new)[0])
        command.infer(Oracle(FACES), spec, tmp_path / "photos", out)
        assert {path.name for path in out.iterdir()} == written


def test_a_photo_that_cannot_be_used_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tmp_path / "photos"
    write_photo(photos / "a.png")
    (photos / "b.jpg").write_bytes(b"no photo")
    whole = write_photo(photos / "c.jpg").read_bytes()
    (photos / "c.jpg").write_bytes(whole[: len(whole) // 2])
    # Its label file would be that of a.png.
    write_photo(photos / "a.webp")
    write_photo(photos / "d.png")
    with caplog.at_level(logging.WARNING, logger="training"):
        counts, failed = command.infer(
            Oracle(FACES, classes=("covered", "bare")), spec_of(tmp_path), photos, tmp_path / "out"
        )
    assert failed == 3
    assert counts == {"covered": 2, "bare": 1}
    assert sorted(path.stem for path in (tmp_path / "out/labels").iterdir()) == ["a", "d"]
    for name in ("b.jpg", "c.jpg", "a.webp"):
        assert caplog.text.count(str(photos / name)) == 1, caplog.text


def test_a_box_without_area_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "photos/a.png")
    # The first two are cut to a line at the photo's edge, and too narrow for two decimals.
    boxes = [[640, 20, 640, 90], [50, 20, 50.004, 90], [80, 60, 180, 180]]
    found = Detections(
        np.array(boxes, np.float32), np.full(3, 0.9, np.float32), np.array([0, 0, 1], np.int32)
    )
    monkeypatch.setattr(command, "find_boxes", lambda *_: found)
    counts, failed = command.infer(
        Oracle([[]]), spec_of(tmp_path), tmp_path / "photos", tmp_path / "out"
    )
    assert (counts, failed) == ({"covered": 0, "bare": 1}, 0)
    text = (tmp_path / "out/labels/a.txt").read_text()
    assert text.startswith("bare 0 0 0 80.00 60.00") and text.count("\n") == 1
    assert (tmp_path / "out/images_annotated/a.png").is_file()


def test_a_label_of_two_words_is_refused_with_its_line(tmp_path: Path) -> None:
    for old, new in (
        ('output_map: "Mask"', 'output_map: "has mask"'),
        ('target_classes: "bare"', 'target_classes: "no mask"'),
    ):
        text, line = changed(SPEC, old, new)
        with pytest.raises(DataError, match=f"spec.txt:{line}: .*mask") as caught:
            spec_of(tmp_path, text)
        assert "KITTI label" in str(caught.value)


def test_no_photo_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, reason in (("none", "no such photo"), ("empty", "contains no photos")):
        with pytest.raises(DataError, match=reason):
            command.find_photos(tmp_path / source)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from training.detector.__main__ import main

    for name, classes in (("model.tlt", ("covered", "bare")), ("other.pt", ("bare", "covered"))):
        write_network(tmp_path / name, classes)
    write_photo(tmp_path / "photos/a.png")
    text, _ = changed(INFERENCE, "weights/model.tlt", str(tmp_path / "model.tlt"))
    spec = write_spec(tmp_path / "spec.txt", text)
    out = tmp_path / "out"
    arguments = ["infer", "-e", str(spec), "-i", str(tmp_path / "photos"), "-o", str(out)]
    assert main(arguments) == 0
    assert f"{out}: 0 covered, 0 bare; 0 photos unusable" in capsys.readouterr().out
    assert (out / "labels/a.txt").read_text() == ""
    # Another network than the spec's, whose classes are in another order.
    assert main([*arguments, "-m", str(tmp_path / "other.pt")]) == 2
    assert "classes covered, bare; those of" in capsys.readouterr().err
    assert main([*arguments, "-m", str(tmp_path / "engine.trt")]) == 2
    assert "engine.trt: is for TensorRT" in capsys.readouterr().err
    (tmp_path / "photos/b.png").write_bytes(b"")
    assert main(arguments) == 1
    assert "1 photos unusable" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["labels", "images_annotated"])
def test_the_command_replaces_no_labels_made_by_hand(
    tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from training.detector.__main__ import main

    (tmp_path / folder).mkdir()
    (tmp_path / folder / "a.txt").write_text("by hand")
    spec = write_spec(tmp_path / "spec.txt", SPEC)
    assert main(["infer", "-e", str(spec), "-i", str(tmp_path), "-o", str(tmp_path)]) == 2
    assert f"{folder}: contains other things than" in capsys.readouterr().err
    assert (tmp_path / folder / "a.txt").read_text() == "by hand"


def test_a_tag_has_the_color_of_its_class_and_covers_no_other_face(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    image = Image.new("RGB", (640, 384), (90, 90, 90))
    boxes = np.array([(80, 100, 180, 220), (80, 232, 180, 380)], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 0], np.int64))
    drawn = np.asarray(command.draw(image, found, spec)).astype(int)
    color = np.array(spec.classes[0].color_rgb)

    def colored(top: int, bottom: int) -> int:
        area = drawn[top:bottom, 85:175]
        return int((np.abs(area - color).sum(axis=2) < 12).sum())

    # The first has room above it; the second has its tag within, not between or over the other.
    assert colored(70, 98) > 200
    assert colored(222, 230) == 0
    assert colored(236, 280) > 200
    assert colored(104, 210) == 0
    assert image.getextrema() == ((90, 90),) * 3

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from facekit.errors import DataError  # noqa: E402
from tests.training.tiny_detector import COLORS, SIZE, make_experiment, write_kitti  # noqa: E402
from training.detector.augment import Frame, draw_frame, recolour  # noqa: E402
from training.detector.batches import Batches  # noqa: E402
from training.detector.frames import IGNORED, PhotoSet, read_photos  # noqa: E402
from training.experiment.settings import Augmentation, Dataset, DataSource  # noqa: E402


def read(source: DataSource, **changes: object) -> tuple[PhotoSet, list[str]]:
    said: list[str] = []
    dataset = Dataset((source,), (), "png", ("mask", "no-mask"), {"mask": "mask"})
    dataset = replace(dataset, **changes)  # type: ignore[arg-type]
    return read_photos(dataset, "training", say=said.append), said


def test_photos_come_with_their_faces(tmp_path: Path) -> None:
    found, said = read(write_kitti(tmp_path, 3, extra="odd"))
    assert [photo.path.name for photo in found.photos] == ["p00.png", "p01.png", "p02.png"]
    assert [photo.size_wh for photo in found.photos] == [SIZE] * 3
    assert [photo.classes.tolist() for photo in found.photos] == [[0, IGNORED, IGNORED]] * 3
    assert found.unmapped == {"No-Mask": 3, "odd": 3}
    assert found.faces(2) == [3, 0]
    assert said == []


def test_what_cannot_be_used_is_named_and_left_out(tmp_path: Path) -> None:
    source = write_kitti(tmp_path, 6)
    (source.image_folder / "p00.png").write_bytes(b"no picture")
    (source.label_folder / "p01.txt").unlink()
    (source.label_folder / "p02.txt").write_text("Mask 0 0 0 5 5 20 20 0 0 0 0 0 0 0\nMask 1 2\n")
    outside = "Mask 0 0 0 300 5 340 40 0 0 0 0 0 0 0\nMask 0 0 0 5 5 900 40 0 0 0 0 0 0 0\n"
    (source.label_folder / "p03.txt").write_text(outside)
    (source.label_folder / "p04.txt").write_text("")
    found, said = read(source)
    assert [photo.path.name for photo in found.photos] == ["p03.png", "p04.png", "p05.png"]
    assert found.photos[0].boxes_xyxy.tolist() == [[5, 5, SIZE[0], 40]]
    assert len(found.photos[1].classes) == 0
    expected = ("p00.png: cannot be decoded", "p01.txt: no such file", "p02.txt:2: 3 fields",
                "p03.txt: object 1 lies outside p03.png")  # fmt: skip
    assert len(found.problems) == len(said) == 4
    for text, line in zip(expected, said, strict=True):
        assert text in line


def test_a_folder_of_no_use_is_an_error(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 2)
    with pytest.raises(DataError, match=r"images: holds no photo \(\.jpg, \.jpeg\)"):
        read(source, image_extension="jpg")
    for label in source.label_folder.iterdir():
        label.unlink()
    with pytest.raises(DataError, match="not one usable training photo, 2 unusable"):
        read(source)
    missing = DataSource(tmp_path / "nowhere", source.label_folder)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read(missing)


def test_photos_beyond_the_memory_are_read_when_shown(tmp_path: Path) -> None:
    source = write_kitti(tmp_path, 3)
    dataset = Dataset((source,), (), "png", ("mask",), {"mask": "mask"})
    photos = read_photos(dataset, "training", keep_bytes=2 * 3 * SIZE[0] * SIZE[1]).photos
    assert [photo.pixels is None for photo in photos] == [False, False, True]
    kept = read_photos(dataset, "training").photos[2]
    assert kept.pixels is not None
    np.testing.assert_array_equal(np.asarray(photos[2].image()), kept.pixels)


@pytest.mark.parametrize(("fold", "folds", "held_out"), [(0, 2, 2), (1, 2, 8), (3, 5, 2)])
def test_folds_part_the_photos(tmp_path: Path, fold: int, folds: int, held_out: int) -> None:
    source = write_kitti(tmp_path, 10)
    dataset = Dataset((source,), (), "png", ("mask",), {"mask": "mask"}, fold, folds, 0.2)
    names = [
        {photo.path.name for photo in read_photos(dataset, part).photos}
        for part in ("training", "validation")
    ]
    assert len(names[1]) == held_out
    assert len(names[0] | names[1]) == 10
    assert not names[0] & names[1]


PLAIN = Augmentation(*SIZE)


def colored_box(image: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    near = (np.abs(np.asarray(image).astype(int) - color) < 60).all(axis=2)
    y, x = np.nonzero(near)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hflip_probability": 1.0},
        {"vflip_probability": 1.0},
        {"zoom_min": 0.5, "zoom_max": 0.5},
        {"zoom_min": 1.2, "zoom_max": 1.2},
        {"translate_max_x": 12.0, "translate_max_y": 9.0},
        {"crop_width": 96, "crop_height": 64},
    ],
)
def test_boxes_follow_the_picture(tmp_path: Path, changes: dict[str, float]) -> None:
    photos = read(write_kitti(tmp_path, 1), class_of={"mask": "mask", "no-mask": "no-mask"})[0]
    augmentation = replace(PLAIN, **changes)  # type: ignore[arg-type]
    size = (augmentation.crop_width or SIZE[0], augmentation.crop_height or SIZE[1])
    compared = 0
    for seed in range(12):
        frame = draw_frame(np.random.default_rng(seed), photos.photos, augmentation, size)
        assert frame.image.size == size
        for box, index in zip(frame.boxes_xyxy, frame.classes, strict=True):
            if index == IGNORED:
                continue
            found = colored_box(frame.image, COLORS[("Mask", "No-Mask")[index]])
            if (found[2:] - found[:2] > 50).any():
                continue  # the frame's chance filling is of the same colour
            np.testing.assert_allclose(box, found, atol=2.0)
            compared += 1
    assert compared >= 12


def test_a_rotated_box_is_that_of_the_ellipse_in_it(tmp_path: Path) -> None:
    photos = read(write_kitti(tmp_path, 1))[0].photos
    turned = replace(PLAIN, rotate_rad_max=1.0)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        frame = draw_frame(rng, photos, turned, SIZE)
        kept = frame.classes == 0
        if not kept.any():
            continue
        box = frame.boxes_xyxy[kept][0]
        found = colored_box(frame.image, COLORS["Mask"])
        # The painted face is a rectangle, so its corners stick out of the ellipse's box.
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, (found[:2] + found[2:]) / 2, atol=2.5)
        assert (box[2:] - box[:2] <= found[2:] - found[:2] + 2).all()


def test_a_face_cut_off_or_too_small_is_ignored(tmp_path: Path) -> None:
    photos = read(write_kitti(tmp_path, 1))[0].photos
    tiny = replace(PLAIN, min_bbox_width=27.0)
    assert (draw_frame(np.random.default_rng(0), photos, tiny, SIZE).classes == IGNORED).all()
    left = float(photos[0].boxes_xyxy[0, 0])
    shifted = replace(PLAIN, translate_max_x=left + 24)
    states = Counter()
    for seed in range(40):
        frame = draw_frame(np.random.default_rng(seed), photos, shifted, SIZE)
        widths = frame.boxes_xyxy[:, 2] - frame.boxes_xyxy[:, 0]
        for width, index in zip(widths[:1], frame.classes[:1], strict=True):
            if frame.boxes_xyxy[0, 0] == 0:
                states[int(index)] += 1
                assert (index == IGNORED) == (width < 13)
    assert len(states) == 2


def test_most_crops_show_a_face_and_a_mosaic_four_photos(tmp_path: Path) -> None:
    photos = read(write_kitti(tmp_path, 4))[0].photos
    crop = replace(PLAIN, crop_width=64, crop_height=48, zoom_min=2.0, zoom_max=2.0)
    rng = np.random.default_rng(0)
    frames = [draw_frame(rng, photos[:1], crop, (64, 48)) for _ in range(60)]
    assert sum(bool((frame.classes == 0).any()) for frame in frames) > 30
    four = draw_frame(rng, photos, PLAIN, SIZE)
    assert len(four.classes) >= 4
    boxes = four.boxes_xyxy
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= SIZE).all()


def test_colours_change_as_asked() -> None:
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (4, 4), (200, 100, 50))
    assert recolour(rng, image, PLAIN) is image
    gray = np.asarray(recolour(rng, image, replace(PLAIN, gray_probability=1.0)))
    assert (gray == gray[..., :1]).all()
    hue = np.asarray(recolour(rng, image, replace(PLAIN, hue_rotation_max=40.0)), float)[0, 0]
    luma = np.array([0.299, 0.587, 0.114])
    assert abs(hue @ luma - np.array([200, 100, 50]) @ luma) < 2
    assert np.abs(hue - [200, 100, 50]).max() > 5
    contrast = replace(PLAIN, contrast_scale_max=0.5, contrast_center=0.4)
    middle = Image.new("RGB", (1, 1), (102, 102, 102))
    assert np.asarray(recolour(rng, middle, contrast)).tolist() == [[[102, 102, 102]]]


def test_frame_adds_nothing_by_itself() -> None:
    frame = Frame(Image.new("RGB", SIZE))
    assert frame.boxes_xyxy.shape == (0, 4)
    assert frame.classes.shape == (0,)


def test_batches_show_every_photo_once_an_epoch(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 7)
    experiment = make_experiment(
        source, tmp_path, augmentation__crop_width=64, augmentation__crop_height=48,
        augmentation__whole_frame_period=3, training__batch_size=4, training__epochs=6,
    )  # fmt: skip
    photos = read_photos(experiment.dataset, "training").photos
    batches = Batches(photos, experiment)
    assert batches.whole_count == 1
    shown = []
    for step in range(len(batches)):
        whole = step % 3 == 0
        first = batches.shown_before(step)
        count = 1 if whole else 4
        shown += [batches._photo(place).path.name for place in range(first, first + count)]
        assert batches.shown_before(step + 1) == first + count
        assert batches.epochs_after(step) == len(shown) // 7
        assert batches[step]["image"].shape == ((1, 3, 96, 128) if whole else (4, 3, 48, 64))
    assert 42 <= len(shown) < 46
    for epoch in range(6):
        assert len(set(shown[7 * epoch : 7 * epoch + 7])) == 7
    assert shown[:7] != shown[7:14]


def test_a_batch_depends_on_nothing_but_seed_and_step(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 4)
    experiment = make_experiment(source, tmp_path, augmentation__mosaic_probability=0.5)
    photos = read_photos(experiment.dataset, "training").photos
    first, second = Batches(photos, experiment), Batches(photos, experiment)
    second[0]
    for name, value in first[2].items():
        assert bool((value == second[2][name]).all())
    other = Batches(photos, replace(experiment, random_seed=6))
    assert bool((other[2]["image"] != first[2]["image"]).any())

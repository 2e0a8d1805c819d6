from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from facekit.errors import DataError  # noqa: E402
from tests.training.tiny_detector import SIZE, make_experiment, write_kitti  # noqa: E402
from training.detector import frames  # noqa: E402
from training.detector.batches import Batches  # noqa: E402
from training.detector.frames import IGNORED, PhotoSet, read_photos  # noqa: E402
from training.experiment.data import Dataset, DataSource  # noqa: E402
from training.facesets import load_image  # noqa: E402


def read(source: DataSource, **changes: object) -> tuple[PhotoSet, list[str]]:
    said: list[str] = []
    dataset = Dataset((source,), (), "png", ("mask", "no-mask"), {"mask": "mask"})
    dataset = replace(dataset, **changes)  # type: ignore[arg-type]
    return read_photos(dataset, "training", report=said.append), said


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
    assert [photo.path.name for photo in found.photos] == [f"p0{k}.png" for k in (2, 3, 4, 5)]
    # A line that can't be read costs that face alone.
    assert found.photos[0].boxes_xyxy.tolist() == [[5, 5, 20, 20]]
    assert found.photos[1].boxes_xyxy.tolist() == [[5, 5, SIZE[0], 40]]
    assert len(found.photos[2].classes) == 0
    expected = ("p00.png: cannot be decoded", "p01.txt: no such file", "p02.txt:2: 3 fields",
                "p03.txt: object 1 lies outside p03.png")  # fmt: skip
    assert len(found.problems) == len(said) == 4
    for text, line in zip(expected, said, strict=True):
        assert text in line


def test_a_photo_on_its_side_and_its_faces_are_turned_upright(tmp_path: Path) -> None:
    source = write_kitti(tmp_path, 1)
    path = source.image_folder / "p00.png"
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[10:20, 30:60] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(pixels).save(path, exif=exif)
    line = "Mask 0 0 0 30 10 60 20 0 0 0 0 0 0 0\n"
    (source.label_folder / "p00.txt").write_text(line)
    (photo,) = read(source)[0].photos
    assert photo.size_wh == SIZE[::-1]
    ((x1, y1, x2, y2),) = photo.boxes_xyxy.astype(int).tolist()
    upright = np.asarray(photo.image())
    assert upright[y1:y2, x1:x2].min() == 255 and upright.sum() == 255 * 3 * 300


def test_a_folder_of_no_use_is_an_error(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 2)
    with pytest.raises(DataError, match=r"images: contains no photos \(\.jpg, \.jpeg\)"):
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


@pytest.mark.parametrize(
    ("fold", "share", "held_out"), [(0, 0.2, 2), (1, 0.2, 8), (0, 0.01, 1), (0, 0.0, 0)]
)
def test_folds_part_the_photos(tmp_path: Path, fold: int, share: float, held_out: int) -> None:
    source = write_kitti(tmp_path, 10)
    dataset = Dataset((source,), (), "png", ("mask",), {"mask": "mask"}, fold, share)
    names = [
        {photo.path.name for photo in read_photos(dataset, part).photos}
        for part in ("training", "validation")
    ]
    assert len(names[1]) == held_out
    assert len(names[0] | names[1]) == 10
    assert not names[0] & names[1]


def test_a_folder_listed_twice_is_held_out_and_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_kitti(tmp_path / "data", 10)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    again = DataSource(tmp_path / "link/images", tmp_path / "data/../data/labels")
    opened: list[Path] = []
    monkeypatch.setattr(frames, "load_image", lambda p: opened.append(p) or load_image(p))
    dataset = Dataset((source, again), (), "png", ("mask",), {"mask": "mask"}, 0, 0.3)
    training = read_photos(dataset, "training").photos
    assert len(opened) == 7
    validation = read_photos(dataset, "validation").photos
    assert len(opened) == 10
    names = Counter(photo.path.name for photo in training)
    assert len(names) == 7
    assert set(names.values()) == {2}
    assert len(validation) == 3
    assert not names.keys() & {photo.path.name for photo in validation}
    assert all(training[k] is training[k + 7] for k in range(7))
    once = read_photos(replace(dataset, training=(source,)), "validation").photos
    assert [p.path for p in once] == [p.path for p in validation]


def test_a_bad_photo_of_a_folder_listed_twice_is_named_once(tmp_path: Path) -> None:
    source = write_kitti(tmp_path, 3)
    (source.image_folder / "p00.png").write_bytes(b"no picture")
    found, said = read(source, training=(source, source))
    assert len(said) == len(found.problems) == 1
    assert len(found.photos) == 4


def test_batches_show_every_photo_once_an_epoch(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 7)
    experiment = make_experiment(
        source, tmp_path, crop_width=64, crop_height=48,
        whole_frame_period=3, batch_size_per_gpu=4, num_epochs=6,
    )  # fmt: skip
    photos = read_photos(experiment.dataset, "training").photos
    batches = Batches(photos, experiment)
    assert batches.whole_count == 1
    shown = []
    for step in range(len(batches)):
        whole = step % 3 == 0
        first = batches.shown_before(step)
        count = 1 if whole else 4
        numbers = [batches._number(place) for place in range(first, first + count)]
        shown += [photos[number].path.name for number in numbers]
        assert batches.shown_before(step + 1) == first + count
        assert batches.epochs_after(step) == len(shown) // 7
        assert batches[step]["image"].shape == ((1, 3, 96, 128) if whole else (4, 3, 48, 64))
    assert 42 <= len(shown) < 46
    for epoch in range(6):
        assert len(set(shown[7 * epoch : 7 * epoch + 7])) == 7
    assert shown[:7] != shown[7:14]


def test_the_next_photo_stands_in_for_one_that_went_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_kitti(tmp_path / "data", 5)
    experiment = make_experiment(source, tmp_path, mosaic_probability=0.5,
                                 num_epochs=4)  # fmt: skip
    dataset = replace(experiment.dataset, training=(source, source))
    photos = read_photos(dataset, "training", keep_bytes=0).photos
    gone = photos[2].path
    gone.unlink()
    batches = Batches(photos, experiment)
    for step in range(len(batches)):
        assert batches[step]["image"].shape[0] == 3
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{gone}: no such file; others")
    for photo in photos[:5]:
        photo.path.unlink(missing_ok=True)
    with pytest.raises(DataError, match="no such file"):
        batches[0]


def test_a_batch_depends_on_nothing_but_seed_and_step(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 4)
    experiment = make_experiment(source, tmp_path, mosaic_probability=0.5)
    photos = read_photos(experiment.dataset, "training").photos
    first, second = Batches(photos, experiment), Batches(photos, experiment)
    second[0]
    for name, value in first[2].items():
        assert bool((value == second[2][name]).all())
    other = Batches(photos, make_experiment(source, tmp_path, random_seed=6))
    assert bool((other[2]["image"] != first[2]["image"]).any())

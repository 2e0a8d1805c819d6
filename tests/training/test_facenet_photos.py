from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from facekit.errors import DataError  # noqa: E402
from facekit.labels.listing import split_of, stem_number  # noqa: E402
from tests.training.facesets import write_all_sets, write_sets  # noqa: E402
from training.facenet.photos import LABELED, Photos, build_index, move_boxes  # noqa: E402

# Distances of the sets' top and bottom edges from one detector's boxes, in heights of the face.
MEDIANS = {
    "face-mask-detection": (0.161, 0.030),
    "masks-ilc": (0.094, -0.019),
    "300w/afw": (0.053, 0.010),
    "300w/helen-train": (0.053, 0.010),
}
PEOPLE = (0.095, 0.010)


def test_every_set_is_moved_to_the_convention_of_people() -> None:
    boxes = np.array([[10, 20, 30, 120]], np.float32)
    for folder, median in MEDIANS.items():
        shift = LABELED[folder][1]
        wanted = [wanted - found for wanted, found in zip(PEOPLE, median, strict=True)]
        assert shift == pytest.approx(wanted, abs=0.0011)
        assert move_boxes(boxes, shift)[0] == pytest.approx(
            [10, 20 + 100 * shift[0], 30, 120 + 100 * shift[1]]
        )


def test_the_index_has_no_evaluation_photo(tmp_path: Path) -> None:
    data = write_all_sets(tmp_path / "data")
    build_index(data, tmp_path / "cache")
    photos = Photos(tmp_path / "cache")
    measured = [s for s in photos.samples if not s.name.startswith("300w/")]
    assert {s.name.split("/")[0] for s in measured} == {
        "face-mask-detection", "masks-ilc", "people", "no-faces", "no-faces-more"
    }  # fmt: skip
    assert all(stem_number(Path(s.name).stem) % 7 != 0 for s in measured)
    assert {s.split for s in measured} == {"training", "calibration"}
    assert not any(s.name.startswith("300w/helen-test") for s in photos.samples)
    crowd = next(s for s in measured if s.name.startswith("masks-ilc/"))
    assert crowd.boxes == pytest.approx(np.array([[10, 5.02, 30, 25.58]]), abs=0.01)
    for sample in photos.samples:
        stored = Image.open(data / sample.name).convert("RGB")
        assert np.array_equal(np.asarray(photos.image(sample)), np.asarray(stored))


def test_a_copy_of_an_evaluation_photo_is_left_out(tmp_path: Path) -> None:
    data = write_all_sets(tmp_path / "data")
    names = [path.stem for path in (data / "masks-ilc/images").glob("*.jpg")]
    hidden = next(name for name in names if split_of(name) == "evaluation")
    other = next(name for name in names if split_of(name) == "training")
    copy = data / f"people/crowd/{other}.jpg"
    Image.open(data / f"masks-ilc/images/{hidden}.jpg").save(copy, quality=60)
    build_index(data, tmp_path / "cache")
    assert copy.relative_to(data).as_posix() not in {
        sample.name for sample in Photos(tmp_path / "cache").samples
    }


def test_a_damaged_index_is_an_error(tmp_path: Path) -> None:
    build_index(write_sets(tmp_path / "data"), tmp_path / "cache")
    for content in (b"few", b""):
        (tmp_path / "cache/pixels.u8").write_bytes(content)
        with pytest.raises(DataError, match=r"index\.json: is damaged: .*; remove it to build it"):
            Photos(tmp_path / "cache")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="contains no photos of the face sets"):
        build_index(tmp_path / "none", tmp_path / "cache2")

"""``evaluate`` scores each class as the spec says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from facekit.labels.kitti import kitti_line  # noqa: E402
from tests.training.detectors import Oracle, write_network, write_photo  # noqa: E402
from tests.training.spec_text import EXPERIMENT, KITTI, write_spec  # noqa: E402
from training.detector.__main__ import main  # noqa: E402
from training.detector.evaluate import measure  # noqa: E402
from training.detector.frames import read_photos  # noqa: E402
from training.experiment.spec import read_experiment  # noqa: E402

# Frame pixels; the photos are twice as large.
BARE, COVERED, SMALL, OTHER = (
    (40.0, 30.0, 90.0, 90.0),
    (200.0, 60.0, 240.0, 110.0),
    (100.0, 100.0, 108.0, 111.0),
    (150.0, 20.0, 190.0, 60.0),
)


def write_faces(folder: Path, photos: dict[str, list[tuple[str, tuple[float, ...]]]]) -> None:
    """Write a KITTI folder; boxes are given in frame pixels."""
    for seed, (name, objects) in enumerate(photos.items()):
        write_photo(folder / "images" / f"{name}.jpg", seed=seed)
        lines = [kitti_line(kind, [2 * v for v in box]) for kind, box in objects]
        label = folder / "labels" / f"{name}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("".join(f"{line}\n" for line in lines))


def spec_text(folder: Path) -> str:
    own = f'validation_data_source {{ image_directory_path: "{folder}" }}'
    return EXPERIMENT.replace("validation_fold: 1", own).replace("faces/train", str(folder))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    write_faces(
        tmp_path / "faces",
        {
            "a": [("bare", BARE), ("Covered", COVERED), ("sculpture", OTHER)],
            "b": [("face", BARE), ("bare", SMALL)],
        },
    )
    return tmp_path / "faces"


def test_classes_sizes_and_unmapped_objects(tmp_path: Path, faces: Path) -> None:
    spec = read_experiment(write_spec(tmp_path / "spec.txt", spec_text(faces)))
    photos = read_photos(spec.dataset, "validation").photos
    moved = (BARE[0] + 25, *BARE[1:2], BARE[2] + 25, BARE[3])
    network = Oracle(
        [
            # Found; a false one of the other class; on something that is no class: not counted.
            [(0, BARE, 0.9), (1, BARE, 0.8), (1, OTHER, 0.95), (1, COVERED, 0.7)],
            # A third too far to the right, and one of 11 pixels where 12 count.
            [(0, moved, 0.95), (0, SMALL, 0.99)],
        ]
    )
    found = measure(network, photos, spec)
    bare, covered = found
    assert (bare.curve.faces, covered.curve.faces) == (2, 1)
    # One of two faces, behind a false one; the small face neither helps nor harms.
    assert (bare.average_precision, covered.average_precision) == pytest.approx((0.25, 0.5))
    np.testing.assert_allclose(bare.curve.scores, [0.95, 0.9])


def test_overlap_and_mode_are_the_specs(tmp_path: Path, faces: Path) -> None:
    # IoU 5/9 with the bare face, 0.6 with the covered one needs more than 0.55.
    moved = (COVERED[0] + 11.0, COVERED[1], COVERED[2] + 11.0, COVERED[3])
    shifted = (BARE[0] + 14.0, BARE[1], BARE[2] + 14.0, BARE[3])
    text = spec_text(faces)
    values = {}
    for mode in ("INTEGRATE", "SAMPLE"):
        spec = read_experiment(
            write_spec(tmp_path / "spec.txt", text.replace("mode: INTEGRATE", f"mode: {mode}"))
        )
        network = Oracle([[(0, shifted, 0.9), (1, moved, 0.9)], []])
        scores = measure(network, read_photos(spec.dataset, "validation").photos, spec)
        values[mode] = [score.average_precision for score in scores]
    # Half of the bare faces: 6 of the 11 recalls 0, 0.1 ... 1 are reached.
    assert values["INTEGRATE"][0] == pytest.approx(0.5)
    assert values["SAMPLE"][0] == pytest.approx(6 / 11)
    assert values["SAMPLE"][1] == 0.0


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_network(tmp_path / "network.pt")


def test_the_command_prints_and_writes_its_figures(
    tmp_path: Path, faces: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.txt", spec_text(faces))
    out = tmp_path / "figures/eval.json"
    arguments = ["evaluate", "-e", str(spec), "-m", str(checkpoint), "--json", str(out)]
    out.parent.mkdir()
    out.write_text('{"images": []}')
    assert main(arguments) == 2
    assert "eval.json: exists and was not written by facekit" in capsys.readouterr().err
    out.unlink()
    assert main(arguments) == 0
    capsys.readouterr()
    assert main([*arguments, "--thresholds"]) == 0
    figures = json.loads(out.read_text())
    assert (figures["photos"], figures["unusable"], figures["mode"]) == (2, 0, "INTEGRATE")
    assert {name: c["faces"] for name, c in figures["classes"].items()} == {"bare": 2, "covered": 1}
    assert figures["classes"]["covered"]["minimum_overlap"] == 0.6
    printed = capsys.readouterr().out
    assert "2 photos" in printed
    assert [line.split()[0] for line in printed.splitlines()[2:5]] == ["bare", "covered", "mean"]
    assert set(figures["thresholds"]["covered"]) == {"best_f1", "precise"}
    assert "covered, best_f1 at score" in printed


def test_the_command_on_another_folder_and_with_a_damaged_photo(
    tmp_path: Path, faces: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.txt", EXPERIMENT)
    write_faces(tmp_path / "other", {"c": [("bare", BARE)], "d": []})
    (tmp_path / "other/images/d.jpg").write_bytes(b"none")
    arguments = ["evaluate", "-e", str(spec), "-m", str(checkpoint), "--speed"]
    assert main([*arguments, "--data", str(tmp_path / "other")]) == 1
    printed = capsys.readouterr().out
    assert "1 photos, 1 unusable" in printed
    assert "covered               0      -" in printed
    assert "frames a second" in printed
    # The tfrecords spec names the folders within the KITTI folder of the spec.
    (tmp_path / "faces/images").rename(tmp_path / "faces/pictures")
    (tmp_path / "faces/labels").rename(tmp_path / "faces/boxes")
    spec = write_spec(tmp_path / "spec.txt", EXPERIMENT.replace("faces/train", str(faces)))
    text = KITTI.replace("faces/train", str(faces)).replace(".png", ".jpg")
    kitti = write_spec(tmp_path / "kitti.txt", text.replace("val_split: 25", "val_split: 50"))
    assert main(["evaluate", "-e", str(spec), "-m", str(checkpoint), "-d", str(kitti)]) == 0
    assert "1 photos, 0 unusable" in capsys.readouterr().out
    # All of a folder that the spec does not train on is measured, however it would be parted.
    spec = write_spec(tmp_path / "spec.txt", EXPERIMENT)
    kitti = write_spec(tmp_path / "kitti.txt", text.replace("val_split: 25", "val_split: 100"))
    assert main(["evaluate", "-e", str(spec), "-m", str(checkpoint), "-d", str(kitti)]) == 0
    assert "2 photos, 0 unusable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("output_image_width: 320", "output_image_width: 640", "frame of 640x192; .* 320x192"),
        ('"bare"', '"open"', "classes open, covered; those of .* are bare, covered"),
    ],
)
def test_a_network_of_another_spec_is_refused(
    tmp_path: Path, faces: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str],
    old: str, new: str, reason: str,
) -> None:  # fmt: skip
    import re

    spec = write_spec(tmp_path / "spec.txt", spec_text(faces).replace(old, new))
    assert main(["evaluate", "-e", str(spec), "-m", str(checkpoint)]) == 2
    assert re.search(reason, capsys.readouterr().err)

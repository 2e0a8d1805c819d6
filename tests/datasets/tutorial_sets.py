"""The sets of the tutorial, and runs of ``facekit data`` over them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from facekit.cli import main
from tests.datasets.face_sets import (
    FRAME_WH,
    mafa_test_row,
    mafa_train_row,
    write_fddb,
    write_mafa,
    write_voc_set,
    write_wider,
)

MASKED, BARE = ("mask", (10, 20, 30, 40)), ("none", (50, 0, 60, 10))
SIZE = ["--tlt-input-dims_width", str(FRAME_WH[0]), "--tlt-input-dims_height", str(FRAME_WH[1])]
WIDER_EVENTS = {"4--Dancing": {"4_a": [([10, 20, 30, 40], 0), ([0, 0, 9, 9], 1)]}}


def write_all(folder: Path) -> list[str]:
    """The tutorial's four sets, and the options that name them."""
    write_voc_set(folder / "kaggle", "labels", {"x.jpg": [MASKED, BARE], "y.png": [MASKED]})
    write_mafa(
        folder / "mafa",
        {
            "train_1.jpg": [mafa_train_row([10, 20, 30, 40], 1, 3)],
            "train_2.jpg": [mafa_train_row([10, 20, 30, 40], 1, 3)],
            "train_3.jpg": [
                mafa_train_row([10, 20, 30, 40], 3, 1),
                mafa_train_row([60, 20, 30, 40], 3, 2),
            ],
        },
        sizes={"train_2.jpg": (100, 200)},
    )
    tests = [mafa_test_row([10, 20, 30, 40], 1, 1, 3), mafa_test_row([60, 20, 30, 40], 2, 1, 3)]
    write_mafa(folder / "mafa", {"test_1.jpg": tests}, test=True)
    write_fddb(
        folder / "fddb", [{"2002/1/x": [[40, 20, 0, 60, 30]], "2002/2/x": [[9, 9, 0, 9, 9]]}]
    )
    write_wider(folder / "wider", WIDER_EVENTS, matlab=True, text=False)
    write_wider(folder / "wider", WIDER_EVENTS, part="val", matlab=False, text=True)
    return [
        *("--kaggle-dataset-path", str(folder / "kaggle")),
        *("--mafa-dataset-path", str(folder / "mafa")),
        *("--fddb-dataset-path", str(folder / "fddb")),
        *("--widerface-dataset-path", str(folder / "wider")),
        *SIZE,
    ]


def convert(out: Path, *options: str, part: str = "--train") -> int:
    return main(["data", part, "--kitti-base-path", str(out), *options])


def labels(folder: Path) -> dict[str, list[str]]:
    found = {path.stem: path.read_text().splitlines() for path in (folder / "labels").iterdir()}
    images = {path.stem for path in (folder / "images").iterdir()}
    assert images == found.keys()
    return found


def line(class_name: str, *box: float) -> str:
    return f"{class_name} 0 0 0 {' '.join(f'{side:.2f}' for side in box)} 0 0 0 0 0 0 0"


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Digest and time of change of every file."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

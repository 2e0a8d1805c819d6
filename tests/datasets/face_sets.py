"""Tiny face sets in the true formats of the public ones, MATLAB structs and cells included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE_WH = (200, 100)
FRAME_WH = (400, 400)
"""Frames of the tests: x doubles, y becomes four times as much."""

Row = Sequence[float]


def write_photo(path: Path, size_wh: tuple[int, int] = SIZE_WH, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (5, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size_wh).save(path, quality=90)
    return path


def voc_text(
    objects: Sequence[tuple[str, Row]], size_wh: tuple[int, int] = SIZE_WH, name: str = "x.jpg"
) -> str:
    lines = ["<annotation>", f"  <filename>{name}</filename>"]
    lines.append(f"  <size><width>{size_wh[0]}</width><height>{size_wh[1]}</height></size>")
    for class_name, corners in objects:
        x1, y1, x2, y2 = corners
        low, high = f"<xmin>{x1}</xmin><ymin>{y1}</ymin>", f"<xmax>{x2}</xmax><ymax>{y2}</ymax>"
        lines += [
            "  <object>",
            f"    <name>{class_name}</name>",
            f"    <bndbox>{low}{high}</bndbox>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])


def write_voc_set(
    folder: Path, label_folder: str, photos: Mapping[str, Sequence[tuple[str, Row]]]
) -> Path:
    """``photos``: objects by the photo's file name."""
    (folder / label_folder).mkdir(parents=True)
    for seed, (name, objects) in enumerate(photos.items()):
        write_photo(folder / "images" / name, seed=seed)
        label = folder / label_folder / f"{Path(name).stem}.xml"
        label.write_text(voc_text(objects, name=name))
    return folder


def mafa_train_row(box_xywh: Row, kind: int, degree: int) -> list[float]:
    """18 numbers: face, eyes, occluder, type, degree, gender, race, orientation, glasses."""
    eyes, occluder = [1, 1, 2, 2], [3, 4, 5, 6]
    return [*box_xywh, *eyes, *occluder, kind, degree, 1, 1, 3, -1]


def mafa_test_row(box_xywh: Row, face: int, kind: int, degree: int) -> list[float]:
    """18 numbers: face, its type, occluder, type, degree, gender, race, orientation, glasses."""
    return [*box_xywh, face, 3, 4, 5, 6, kind, degree, 1, 1, 3, 7, 8, 9, 10]


def write_mafa(
    folder: Path,
    photos: Mapping[str, Sequence[Row]],
    *,
    test: bool = False,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> Path:
    """A 1 x n struct of names and matrices, as MAFA's own label files hold."""
    part = "Test" if test else "Train"
    fields = ["name", "label"] if test else ["orgImgName", "imgName", "label"]
    entries = np.zeros((1, len(photos)), dtype=[(field, object) for field in fields])
    for index, (name, rows) in enumerate(photos.items()):
        matrix = np.array(rows, dtype=np.int16).reshape(len(rows), 18)
        values = (name, matrix) if test else (f"flickr_{index}.jpg", name, matrix)
        entries[0, index] = values
        size = (sizes or {}).get(name, SIZE_WH)
        write_photo(folder / f"{part.lower()}-images" / "images" / name, size, seed=index)
    path = folder / f"MAFA-Label-{part}" / f"Label{part}All.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {"LabelTest" if test else "label_train": entries})
    return folder


def write_fddb(folder: Path, folds: Sequence[Mapping[str, Sequence[Row]]]) -> Path:
    """``folds``: ellipses by photo name; a photo's file is ``<name>.jpg``."""
    (folder / "FDDB-folds").mkdir(parents=True)
    for number, photos in enumerate(folds, start=1):
        lines = []
        for seed, (name, ellipses) in enumerate(photos.items()):
            write_photo(folder / f"{name}.jpg", seed=seed)
            lines += [name, str(len(ellipses))]
            lines += [" ".join(f"{value:.6f}" for value in row) + "  1" for row in ellipses]
        stem = f"FDDB-fold-{number:02d}"
        (folder / "FDDB-folds" / f"{stem}.txt").write_text("\n".join(photos) + "\n")
        text = "\n".join(lines) + "\n"
        (folder / "FDDB-folds" / f"{stem}-ellipseList.txt").write_text(text)
    return folder


WiderRows = Mapping[str, Mapping[str, Sequence[tuple[Row, int]]]]
"""Boxes x y w h with their occlusion, by photo name without suffix, by event."""


def write_wider(
    folder: Path, events: WiderRows, *, part: str = "train", matlab: bool, text: bool
) -> Path:
    split = folder / "wider_face_split"
    split.mkdir(parents=True, exist_ok=True)
    for event, photos in events.items():
        for seed, name in enumerate(photos):
            write_photo(folder / f"WIDER_{part}" / "images" / event / f"{name}.jpg", seed=seed)
    if matlab:
        savemat(split / f"wider_face_{part}.mat", wider_variables(events))
    if text:
        lines = []
        for event, photos in events.items():
            for name, faces in photos.items():
                lines += [f"{event}/{name}.jpg", str(len(faces))]
                rows = [[*box, 0, 0, 0, 0, occlusion, 0] for box, occlusion in faces] or [[0] * 10]
                lines += [" ".join(str(value) for value in row) + " " for row in rows]
        (split / f"wider_face_{part}_bbx_gt.txt").write_text("\n".join(lines) + "\n")
    return folder


def wider_variables(events: WiderRows) -> dict[str, Any]:
    """Cells in cells: per event a cell of n x 1, per photo a cell around its matrix."""
    names = (
        "event_list", "file_list", "face_bbx_list", "occlusion_label_list", "invalid_label_list"
    )  # fmt: skip
    found = {name: np.empty((len(events), 1), dtype=object) for name in names}
    for index, (event, photos) in enumerate(events.items()):
        columns = [np.empty((len(photos), 1), dtype=object) for _ in range(4)]
        for place, (name, faces) in enumerate(photos.items()):
            # WIDER keeps a photo without faces as one face of zeros.
            rows = list(faces) or [([0, 0, 0, 0], 0)]
            columns[0][place, 0] = name
            columns[1][place, 0] = np.array([box for box, _ in rows], dtype=np.float64)
            columns[2][place, 0] = np.array([[hidden] for _, hidden in rows], dtype=np.uint8)
            columns[3][place, 0] = np.zeros((len(rows), 1), dtype=np.uint8)
        found["event_list"][index, 0] = event
        for variable, column in zip(names[1:], columns, strict=True):
            found[variable][index, 0] = column
    return found


def write_pts(path: Path, points: Sequence[tuple[float, float]]) -> None:
    body = "\n".join(f"{x} {y}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{body}\n}}\n")


def box_points(x1: float, y1: float, x2: float, y2: float) -> list[tuple[float, float]]:
    """68 points whose bounding box is given."""
    corners = [(x1, y1), (x2, y2)]
    middle = [((x1 + x2) / 2, (y1 + y2) / 2)] * 66
    return [*corners, *middle]

"""A tiny made-up copy of the face sets, in their folders and formats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facekit.labels.listing import split_of
from training.facesets import AFW_FOLDER, NO_FACE_FOLDER, PORTRAIT_FOLDER, PORTRAIT_TEST_FOLDER
from training.landmarks.frames import FRAME_FOLDER

VOC = """<annotation><size><width>{w}</width><height>{h}</height><depth>3</depth></size>{objects}
</annotation>"""
OBJECT = """<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax>
<ymax>{3}</ymax></bndbox></object>"""


def face_points(center: tuple[float, float], side: float) -> np.ndarray:
    """Return 68 points on an ellipse and, for the eyes, on its inside: float32 [68, 2]."""
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * side / 2
    points[36:48] *= 0.4
    return (points + center).astype(np.float32)


def draw_face(image: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Draw a simple face: a light ellipse with two eyes and a mouth."""
    draw = ImageDraw.Draw(image)
    draw.ellipse(box, fill=(230, 200, 180))
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    for x in (0.3, 0.7):
        eye = (x1 + (x - 0.08) * w, y1 + 0.3 * h, x1 + (x + 0.08) * w, y1 + 0.42 * h)
        draw.ellipse(eye, fill=(20, 20, 20))
    draw.rectangle((x1 + 0.3 * w, y1 + 0.7 * h, x1 + 0.7 * w, y1 + 0.76 * h), fill=(120, 30, 30))


def write_pts(path: Path, points: np.ndarray) -> None:
    """Write a .pts file."""
    lines = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{lines}\n}}\n")


def write_sets(root: Path, count: int = 3, split: str = "training") -> Path:
    """Write ``count`` photos of a split of each set under ``root`` and return it."""
    rng = np.random.default_rng(0)
    names = [name for name in (f"p{k}" for k in range(400)) if split_of(name) == split]
    for folder in ("face-mask-detection/images", "face-mask-detection/annotations"):
        (root / folder).mkdir(parents=True)
    for name in names[:count]:
        image = Image.fromarray(rng.integers(0, 90, (120, 160, 3), dtype=np.uint8))
        boxes = [(10, 20, 50, 70), (90, 40, 120, 80)]
        for box in boxes:
            draw_face(image, box)
        objects = "".join(OBJECT.format(*box, name="with_mask") for box in boxes)
        image.save(root / f"face-mask-detection/images/{name}.jpg")
        text = VOC.format(w=160, h=120, objects=objects)
        (root / f"face-mask-detection/annotations/{name}.xml").write_text(text)
    for folder in (PORTRAIT_FOLDER, AFW_FOLDER, PORTRAIT_TEST_FOLDER):
        (root / folder).mkdir(parents=True)
        for name in names[:count]:
            image = Image.fromarray(rng.integers(0, 90, (140, 120, 3), dtype=np.uint8))
            draw_face(image, (30, 40, 90, 110))
            image.save(root / folder / f"{name}.jpg")
            write_pts(root / folder / f"{name}_1.pts", face_points((60, 75), 60))
    (root / NO_FACE_FOLDER).mkdir()
    for name in names[:count]:
        noise = rng.integers(0, 256, (90, 130, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / NO_FACE_FOLDER / f"{name}.jpg")
    crops = rng.integers(0, 256, (14, 36, 36), dtype=np.uint8)
    np.savez(root / "caltech-webfaces-36px.npz", faces=crops)
    return root


def write_frames(root: Path) -> Path:
    """Write two frames each of a person for training (q0) and of one for evaluation (q4)."""
    folder = root / FRAME_FOLDER
    folder.mkdir()
    for person in ("q0", "q4"):
        for number in (1, 2):
            image = Image.new("RGB", (120, 140))
            draw_face(image, (30, 40, 90, 110))
            image.save(folder / f"{person}_{number}.jpg")
            write_pts(folder / f"{person}_{number}_1.pts", face_points((60, 75), 60))
    return root


def write_all_sets(root: Path) -> Path:
    """Write photos of every set and split, of which no two look alike."""
    write_sets(root, 2)
    rng = np.random.default_rng(1)
    names = [f"q{k}" for k in range(60)]
    for folder in ("masks-ilc/images", "masks-ilc/annotations", "people/crowd", "no-faces-more"):
        (root / folder).mkdir(parents=True)
    entries = []
    for name in names:
        for folder in ("masks-ilc/images", "people/crowd", "no-faces-more"):
            coarse = rng.integers(0, 256, (9, 12), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((60, 45), Image.Resampling.NEAREST)
            image.save(root / folder / f"{name}.jpg")
        text = VOC.format(w=60, h=45, objects=OBJECT.format(10, 5, 30, 25, name="with_mask"))
        (root / f"masks-ilc/annotations/{name}.xml").write_text(text)
        boxes = {"faces": [[5, 5, 25, 30, 0.9]], "ignore": [[40, 5, 50, 15, 0.4]]}
        entries.append(json.dumps({"file": f"crowd/{name}.jpg", **boxes}))
    (root / "people/boxes.jsonl").write_text("\n".join(entries) + "\n")
    extra = {"file": f"masks-ilc/images/{names[1]}.jpg", "faces": [], "ignore": [[40, 5, 50, 15]]}
    (root / "extra_boxes.jsonl").write_text(json.dumps(extra) + "\n")
    return root


def write_class_sets(folder: Path) -> Path:
    """Write the sets into ``data`` and their index into ``cache``; return the former."""
    from training.facenet.photos import build_index

    data = write_all_sets(folder / "data")
    # The made-up portraits all look alike: with these there they would be left out as copies.
    shutil.rmtree(data / PORTRAIT_TEST_FOLDER)
    build_index(data, folder / "cache")
    return data

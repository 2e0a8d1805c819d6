"""A detector's run in miniature: a KITTI folder of painted photos and an experiment for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from facekit.detection.parameters import ClusteringParameters
from facekit.labels.kitti import kitti_line
from training.experiment.settings import (
    Augmentation,
    ClassCost,
    ClassEvaluation,
    ClassRaster,
    Cost,
    Dataset,
    DataSource,
    Evaluation,
    Experiment,
    Model,
    Rasterizer,
    Training,
)

CLASSES = ("mask", "no-mask")
COLORS = {"Mask": (40, 220, 60), "No-Mask": (230, 40, 60), "odd": (40, 60, 230)}
SIZE = (128, 96)


def write_kitti(root: Path, count: int = 6, seed: int = 0, extra: str | None = None) -> DataSource:
    """Write painted photos with a masked and an unmasked face each, and perhaps another object."""
    rng = np.random.default_rng(seed)
    source = DataSource(root / "images", root / "labels")
    for folder in (source.image_folder, source.label_folder):
        folder.mkdir(parents=True)
    for number in range(count):
        image = Image.fromarray(rng.integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8))
        lines = []
        for slot, name in enumerate([*("Mask", "No-Mask"), *([extra] if extra else [])]):
            x, y = 6 + 42 * slot + int(rng.integers(0, 8)), int(rng.integers(8, 50))
            box = (x, y, x + 26, y + 30)
            ImageDraw.Draw(image).rectangle((*box[:2], box[2] - 1, box[3] - 1), fill=COLORS[name])
            lines.append(kitti_line(name, box))
        image.save(source.image_folder / f"p{number:02d}.png")
        (source.label_folder / f"p{number:02d}.txt").write_text("\n".join(lines) + "\n")
    return source


def make_experiment(source: DataSource, folder: Path, **changes: Any) -> Experiment:
    """Return an experiment of seconds; ``changes`` replace fields as ``training__epochs=2``."""
    spec = folder / "spec.txt"
    spec.write_text("# made up\n")
    experiment = Experiment(
        path=spec,
        random_seed=5,
        dataset=Dataset(
            training=(source,),
            validation=(source,),
            image_extension="png",
            class_names=CLASSES,
            class_of={"mask": "mask", "no-mask": "no-mask"},
        ),
        augmentation=Augmentation(*SIZE, hflip_probability=0.5, zoom_min=0.9, zoom_max=1.1),
        clustering=(ClusteringParameters("NMS", coverage_threshold=0.05, nms_iou_threshold=0.5),)
        * 2,
        model=Model(layers=10, width_share=1 / 8),
        evaluation=Evaluation(1, 1, "INTEGRATE", (ClassEvaluation(),) * 2),
        cost=Cost(
            (ClassCost(bbox_initial_weight=1.0, bbox_weight_target=1.0),) * 2,
            coverage_loss="QUALITY_FOCAL",
            bbox_loss="GIOU",
        ),
        training=Training(
            batch_size=3,
            epochs=2,
            min_learning_rate=1e-4,
            max_learning_rate=5e-3,
            soft_start=0.1,
            annealing=0.7,
            average_decay=0.9,
        ),
        rasterizer=Rasterizer((ClassRaster(0.5, 0.5, 0.54, 0.54, 11.5 / 16),) * 2, 0.41),
    )
    for name, value in changes.items():
        part, _, field = name.partition("__")
        new = replace(getattr(experiment, part), **{field: value}) if field else value
        experiment = replace(experiment, **{part: new})
    return experiment

"""A detector's run in miniature: a KITTI folder of painted photos and an experiment for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from facekit.labels.kitti import kitti_line
from training.experiment.data import DataSource
from training.experiment.spec import Experiment, read_experiment

CLASSES = ("mask", "no-mask")
COLORS = {"Mask": (40, 220, 60), "No-Mask": (230, 40, 60), "odd": (40, 60, 230)}
SIZE = (128, 96)
SPEC = """
random_seed: 5
dataset_config {
  data_sources { image_directory_path: "ROOT" }
  image_extension: "png"
  target_class_mapping { key: "mask" value: "mask" }
  target_class_mapping { key: "no-mask" value: "no-mask" }
  validation_data_source { image_directory_path: "ROOT" }
}
augmentation_config {
  preprocessing { output_image_width: 128 output_image_height: 96 }
  spatial_augmentation { hflip_probability: 0.5 zoom_min: 0.9 zoom_max: 1.1 }
  facekit { mosaic_probability: 0 crop_width: 0 crop_height: 0 whole_frame_period: 0 }
}
postprocessing_config {
  target_class_config {
    key: "default"
    value {
      clustering_config {
        clustering_algorithm: NMS coverage_threshold: 0.05 nms_iou_threshold: 0.5
      }
    }
  }
}
model_config {
  num_layers: 10 freeze_bn: false freeze_blocks: [] load_graph: false pretrained_model_file: ""
  facekit { width_share: 0.125 }
}
evaluation_config {
  validation_period_during_training: 0
  first_validation_epoch: 1
  average_precision_mode: INTEGRATE
}
cost_function_config {
  target_classes { name: "mask" objectives { name: "bbox" initial_weight: 1 weight_target: 1 } }
  target_classes { name: "no-mask" objectives { name: "bbox" initial_weight: 1 weight_target: 1 } }
  enable_autoweighting: false
  facekit { coverage_loss: QUALITY_FOCAL bbox_loss: GIOU }
}
training_config {
  batch_size_per_gpu: 3
  num_epochs: 2
  learning_rate {
    soft_start_annealing_schedule {
      min_learning_rate: 1e-4 max_learning_rate: 5e-3 soft_start: 0.1 annealing: 0.7
    }
  }
  regularizer { type: NO_REG weight: 0 }
  checkpoint_interval: 10
  facekit { average_decay: 0.9 }
}
bbox_rasterizer_config {
  target_class_config {
    key: "default"
    value { cov_radius_x: 0.54 cov_radius_y: 0.54 bbox_min_radius: 0.71875 }
  }
  deadzone_radius: 0.41
}
"""


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
    """Write a spec of seconds, with other values of its fields, and return its experiment."""
    text = SPEC.replace("ROOT", str(source.image_folder.parent))
    for name, value in changes.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        shown = f'"{value}"' if isinstance(value, Path) else shown
        text, count = re.subn(rf"\b{name}: \S+", lambda _, n=name, s=shown: f"{n}: {s}", text)
        assert count, name
    spec = folder / "spec.txt"
    spec.write_text(text)
    return read_experiment(spec)

"""Specs as users of TLT have them: its field names and layout, with values of these tests."""

from __future__ import annotations

from pathlib import Path

EXPERIMENT = """\
random_seed: 7
# Data.
dataset_config {
  data_sources {
    tfrecords_path: "records/part-*"
    image_directory_path: "faces/train"
  }
  image_extension: "jpg"
  target_class_mapping {
    key: "Covered"
    value: "covered"
  }
  target_class_mapping {
    key: "bare"
    value: "bare"
  }
  target_class_mapping {
    key: "face"
    value: "bare"
  }
  validation_fold: 1
  #validation_data_source: {
    #image_directory_path: "faces/test"
  #}
}
augmentation_config {
  preprocessing {
    output_image_width: 320
    output_image_height: 192
    min_bbox_width: 2.0
    output_image_channel: 3
  }
  spatial_augmentation {
    hflip_probability: 0.25
    zoom_min: 0.8
    zoom_max: 1.25
    translate_max_x: 6.0
  }
  color_augmentation {
    hue_rotation_max: 12.5
    contrast_center: 0.4
  }
}
postprocessing_config {
  target_class_config {
    key: "covered"
    value {
      clustering_config {
        coverage_threshold: 0.0125
        dbscan_eps: 0.25
        dbscan_min_samples: 0.05
        minimum_bounding_box_height: 6
      }
    }
  }
  target_class_config {
    key: "bare"
    value {
      clustering_config {
        clustering_algorithm: NMS
        nms_iou_threshold: 0.4
      }
    }
  }
}
model_config {
  pretrained_model_file: "resnet18.hdf5"
  num_layers: 18
  use_batch_norm: true
  objective_set {
    bbox {
      scale: 35.0
      offset: 0.5
    }
    cov {
    }
  }
  training_precision {
    backend_floatx: FLOAT32
  }
  arch: "resnet"
}
evaluation_config {
  validation_period_during_training: 4
  first_validation_epoch: 8
  minimum_detection_ground_truth_overlap {
    key: "covered"
    value: 0.6
  }
  evaluation_box_config {
    key: "bare"
    value {
      minimum_height: 12
      maximum_height: 180
    }
  }
  average_precision_mode: INTEGRATE
}
cost_function_config {
  target_classes {
    name: "bare"
    class_weight: 2.0
    coverage_foreground_weight: 0.125
    objectives {
      name: "cov"
      initial_weight: 1.5
      weight_target: 0.5
    }
    objectives {
      name: "bbox"
      initial_weight: 8.0
      weight_target: 4.0
    }
  }
  target_classes {
    name: "covered"
  }
  enable_autoweighting: true
  max_objective_weight: 0.99
  min_objective_weight: 1e-03
}
training_config {
  batch_size_per_gpu: 6
  num_epochs: 9
  learning_rate {
    soft_start_annealing_schedule {
      min_learning_rate: 1e-05
      max_learning_rate: 2e-03
      soft_start: 0.125
      annealing: 0.75
    }
  }
  regularizer {
    type: L2
    weight: 3e-06
  }
  optimizer {
    adam {
      epsilon: 1e-07
      beta1: 0.8
      beta2: 0.99
    }
  }
  cost_scaling {
    initial_exponent: 18.0
    increment: 0.01
  }
  checkpoint_interval: 3
}
bbox_rasterizer_config {
  target_class_config {
    key: "bare"
    value {
      cov_center_x: 0.5
      cov_center_y: 0.45
      cov_radius_x: 0.4
      cov_radius_y: 0.6
      bbox_min_radius: 1.25
    }
  }
  target_class_config {
    key: "covered"
    value {
      cov_radius_x: 1.0
    }
  }
  deadzone_radius: 0.5
}
"""

INFERENCE = """\
inferencer_config{
  # In the network's order.
  target_classes: "covered"
  target_classes: "bare"
  image_width: 320
  image_height: 192
  image_channels: 3
  batch_size: 4
  gpu_index: 0
  tlt_config{
    model: "weights/model.tlt"
  }
}
bbox_handler_config{
  kitti_dump: true
  disable_overlay: false
  overlay_linewidth: 3
  classwise_bbox_handler_config{
    key:"covered"
    value: {
      confidence_model: "aggregate_cov"
      output_map: "Mask"
      confidence_threshold: 0.7
      bbox_color{
        R: 1
        G: 200
        B: 30
      }
      clustering_config{
        coverage_threshold: 0.00
        dbscan_eps: 0.2
        dbscan_min_samples: 0.05
        minimum_bounding_box_height: 5
      }
    }
  }
  classwise_bbox_handler_config{
    key:"default"
    value: {
      confidence_threshold: 0.6
      clustering_config{
        coverage_threshold: 0.01
        dbscan_confidence_threshold: 1.5
      }
    }
  }
}
"""

KITTI = """\
kitti_config {
  root_directory_path: "faces/train"
  image_dir_name: "pictures"
  label_dir_name: "boxes"
  image_extension: ".png"
  partition_mode: "random"
  num_partitions: 2
  val_split: 25
  num_shards: 4 }
"""


def write_spec(path: Path, text: str) -> Path:
    """Write a spec and return its path."""
    path.write_text(text, encoding="utf-8")
    return path


def changed(text: str, old: str, new: str) -> tuple[str, int]:
    """Return a text with one place changed, and the line of that place."""
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1), text[: text.index(old)].count("\n") + 1

"""Readers of annotation files: KITTI, PASCAL VOC, COCO, 300-W points."""

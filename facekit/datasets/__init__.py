"""Public face sets, converted to KITTI folders to train on."""

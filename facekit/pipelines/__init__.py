"""The DALI pipelines: those of the model repository, serialized, and those of loops over photos.

``folder_batches`` decodes a folder in batches; ``coco_training`` reads a COCO file for training.
"""

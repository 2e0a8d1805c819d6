"""Results on disk: what was found in each photo of a folder, as a journal, COCO and other files."""

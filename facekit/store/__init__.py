"""Stores of results: images, faces and categories as JSON documents, and queries over them."""

from facekit.store.address import check_dataset_name, dataset_name, masked, open_store
from facekit.store.answers import (
    CategoryCount,
    FolderCount,
    StoredDataset,
    StoredFace,
    StoredPhoto,
)
from facekit.store.store import Store

__all__ = [
    "CategoryCount",
    "FolderCount",
    "Store",
    "StoredDataset",
    "StoredFace",
    "StoredPhoto",
    "check_dataset_name",
    "dataset_name",
    "masked",
    "open_store",
]

"""Stores of results: photos, faces and categories of datasets, and queries over them."""

from facekit.store.address import check_dataset_name, dataset_name, masked, open_store
from facekit.store.store import (
    CategoryCount,
    Change,
    FaceFilter,
    FolderCount,
    Store,
    StoredDataset,
    StoredFace,
    StoredPhoto,
)

__all__ = [
    "CategoryCount",
    "Change",
    "FaceFilter",
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

"""Indexes of Redis' search module over the documents, for searches of one's own."""

from __future__ import annotations

_TAGS = ("file_name", "folder")
INDEXES = {
    "annotations": ("annotation:", (*_TAGS, "category"), ("score", "rotation")),
    "images": ("image:", _TAGS, ("width", "height", "faces")),
}
"""By the name of the index: what its documents' keys begin with, its tags and its numbers."""


def index_definitions(prefix: str) -> list[list[str]]:
    """Return the words after ``FT.CREATE`` for each index of a dataset.

    Args:
        prefix: What all keys of the dataset begin with.
    """
    return [
        [prefix + name, "ON", "JSON", "PREFIX", "1", prefix + keys, "SCHEMA"]
        + [word for field in tags for word in _field(field, "TAG", "CASESENSITIVE")]
        + [word for field in numbers for word in _field(field, "NUMERIC", "SORTABLE")]
        for name, (keys, tags, numbers) in INDEXES.items()
    ]


def _field(name: str, *kind: str) -> tuple[str, ...]:
    return (f"$.{name}", "AS", name, *kind)

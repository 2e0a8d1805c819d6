"""What the journal holds of a folder's photos, in their order, and the files written from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from facekit.annotate.index import PhotoIndex
from facekit.annotate.options import Options, Outputs
from facekit.annotations import (
    DatasetInfo,
    NumberedPhoto,
    write_coco,
    write_fiftyone,
    write_jsonl,
    write_label_studio,
    write_parquet,
)
from facekit.annotations.dataset import name_fields, utf8_name
from facekit.annotations.journal import RecordReader
from facekit.annotations.output import whole_file
from facekit.annotations.record import PhotoRecord


class Results:
    """The outcome of all photos that are in the folder.

    Args:
        index: Knows the photos and where the journal has their records.
        folder: The photo folder, or a list of addresses.
        outputs: The files to write.
        options: Which faces count.
    """

    def __init__(self, index: PhotoIndex, folder: Path, outputs: Outputs, options: Options) -> None:
        self._index, self._folder = index, folder
        self._outputs, self._options = outputs, options
        self._faces = 0

    def write(self) -> tuple[int, int, int]:
        """Write all files; return how many faces, failed photos and unlisted folders there are.

        Raises:
            DataError: A file can't be written, such as on a full disk; it is as it was before.
        """
        outputs, photos = self._outputs, self.photos
        listed = self._folder.is_dir()
        info = DatasetInfo(str(self._folder) if listed else "", self._options.model)
        write_coco(outputs.coco, photos, info, seed_fields=outputs.seed_fields)
        if outputs.jsonl is not None:
            write_jsonl(outputs.jsonl, photos, info)
        if outputs.parquet is not None:
            write_parquet(outputs.parquet, photos, info)
        if outputs.label_studio is not None:
            write_label_studio(outputs.label_studio, photos, info)
        if outputs.fiftyone is not None:
            write_fiftyone(outputs.fiftyone, photos, info)
        return self._faces, *self._write_failures()

    def photos(self) -> Iterator[NumberedPhoto]:
        """Yield the photos that have a result, numbered, in order."""
        self._faces = 0
        with RecordReader(self._outputs.journal) as reader:
            for rank, start, end in self._index.results():
                record = self.prepared(reader.read(start, end))
                self._faces += 0 if record.faces is None else len(record.faces)
                yield NumberedPhoto(rank, record)

    def records(self) -> Iterator[PhotoRecord]:
        """Yield the same without numbers."""
        for photo in self.photos():
            yield photo.record

    def prepared(self, record: PhotoRecord) -> PhotoRecord:
        """Return a record with the faces that count."""
        if record.faces is None or not self._options.min_score:
            return record
        faces = record.faces[record.faces.scores >= self._options.min_score]
        return PhotoRecord(record.photo, record.stamp, faces, exact=True)

    def _write_failures(self) -> tuple[int, int]:
        failed, unlisted, path = 0, 0, self._outputs.failures
        with RecordReader(self._outputs.journal) as reader, whole_file(path) as file:
            for failure in self._index.failures():
                unlisted += bool(failure.reason)
                failed += not failure.reason
                reason = failure.reason or reader.read(failure.start, failure.end).error
                line = json.dumps(
                    name_fields("photo", failure.photo) | {"reason": utf8_name(reason)}
                )
                file.write(line.encode() + b"\n")
        if not failed and not unlisted:
            path.unlink(missing_ok=True)
        return failed, unlisted

"""The journal in which versions before the record kept what a run found; it is only read.

A line of JSON tells the model, each other line has a photo's record, and each ends with a tab and
its checksum. The last record of a photo counts.
"""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from pathlib import Path

from facekit.annotate.results import Results
from facekit.annotations.record import PhotoRecord
from facekit.errors import ConfigError, InputError, reading

_CHECKSUM_BYTES = 10
"""A tab, eight hexadecimal digits and the line end."""


def import_journal(path: Path, results: Results, model: str) -> None:
    """Move what an older version found into a run's record, and remove its journal.

    A file of that name that is not a journal is left alone. A line that does not fit its checksum
    is left out, and its photo looked at again. Raises ConfigError if the journal is of another
    model, and DataError if it can't be read, or the record not be written.
    """
    with reading(path):
        if not path.is_file():
            return
        with path.open("rb") as lines:
            try:
                head = json.loads(_body(lines.readline(1 << 20)))
                found = head["model"] if head["facekit_journal"] == 1 else None
            except (ValueError, KeyError, TypeError):
                return
            if found != model:
                raise ConfigError(
                    f"{path} contains the results of the model {found}, not of {model}: give "
                    f"another output file, or remove this one to begin again with {model}"
                )
            for line in lines:
                with suppress(InputError):
                    results.put(PhotoRecord.from_json(_body(line)))
        results.commit()
        path.unlink()
        # What a killed run of that version left of its scratch file.
        path.with_suffix(".index").unlink(missing_ok=True)


def _body(line: bytes) -> bytes:
    body = line[:-_CHECKSUM_BYTES]
    return body if line == b"%b\t%08x\n" % (body, zlib.crc32(body)) else b""

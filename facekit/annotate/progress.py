"""How far a run over a folder has come: a bar, or a periodic status line."""

from __future__ import annotations

from facekit.annotate.servers import Say
from facekit.annotations.record import PhotoRecord
from facekit.progress import ProgressBar


class RunProgress(ProgressBar):
    """The bar of a run, drawn on standard error.

    Args:
        total: How many photos there are to look at.
        say: Takes a line where there is no terminal; None for no bar and no line.
    """

    def __init__(self, total: int, say: Say | None) -> None:
        super().__init__(total, "photos", say=say, enabled=False if say is None else None)
        self._faces = 0

    def count(self, record: PhotoRecord) -> None:
        """Count one photo more."""
        self._faces += 0 if record.faces is None else len(record.faces)
        self.advance(failed=record.faces is None, note=f"{self._faces:,} faces")

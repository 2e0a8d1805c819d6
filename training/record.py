"""The metrics of a run: a file of JSON lines, and their plot."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facekit.errors import DataError, reading, writing
from facekit.files import write_whole

METRICS_FILE = "metrics.jsonl"
PLOT_FILE = "metrics.png"
_COLORS = ("#2563a8", "#d9822b", "#2f8f5b", "#8a5fb0", "#c23b3b", "#5c6670")
_LOG_SPAN = 20.0
"""Losses whose largest value is this many times the least are drawn on a logarithmic scale."""
Row = dict[str, Any]


class Record:
    """The metrics file of a run, one line an entry: ``{"epoch": 3, "cost": 0.12, ...}``.

    ``unit`` is the key that counts up, ``epoch`` or ``step``; ``rows`` are all entries in order.
    """

    def __init__(self, folder: Path, unit: str) -> None:
        """Begin or go on with the file in a run's folder; DataError names a damaged line."""
        self.path, self.unit = folder / METRICS_FILE, unit
        self.rows = read_rows(self.path, unit) if self.path.exists() else []

    def resume(self, done: int) -> None:
        """Forget what came after the ``done`` epochs or steps of the checkpoint to go on from."""
        self.rows = [row for row in self.rows if row[self.unit] <= done]
        with writing(self.path):
            write_whole(self.path, "".join(map(_line, self.rows)))

    def append(self, row: Mapping[str, Any]) -> None:
        """Write down an entry, which holds the unit's key; raises DataError if that fails."""
        self.rows.append(dict(row))
        # A line that was cut short is left out when the run goes on.
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_line(self.rows[-1]))


def _line(row: Row) -> str:
    """Return a row as JSON; what is not finite, which JSON lacks, becomes null."""
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
    return json.dumps(clean) + "\n"


def read_rows(path: Path, unit: str) -> list[Row]:
    """Read a metrics file; a last line that a kill cut short is left out.

    DataError names another line that is not an entry.
    """
    with reading(path):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and isinstance(row.get(unit), int):
            rows.append(row)
        elif number < len(lines) or line.endswith("\n"):
            raise DataError(path, f"is not a line of metrics with {unit!r}", line=number)
    return rows


def plot_record(
    rows: Sequence[Row],
    path: Path,
    unit: str,
    losses: Sequence[str],
    figures: Sequence[str],
    title: str,
    label: str,
) -> None:
    """Draw the losses, and beside them the figures, over epochs or steps in a PNG file.

    ``losses`` and ``figures`` are keys of the rows; a row without one, or with null, has no point
    there. ``unit`` is the key that counts up, ``label`` what the figures are, such as ``pixels``.
    Raises DataError if the file can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plot = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(plot)
    left, right = plot.subplots(1, 2)
    _draw(left, rows, unit, losses)
    _draw(right, rows, unit, figures)
    left.set_ylabel("loss")
    right.set_ylabel(label)
    values = [row[key] for key in losses for row in rows if _is_positive(row.get(key))]
    if values and max(values) > _LOG_SPAN * min(values):
        left.set_yscale("log")
    plot.suptitle(title, fontsize=12)
    content = io.BytesIO()
    plot.savefig(content, dpi=110, format="png")
    with writing(path):
        write_whole(path, content.getvalue(), sync=False)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def _draw(axis: Any, rows: Sequence[Row], unit: str, keys: Sequence[str]) -> None:
    """Draw a line a key."""
    for key, color in zip(keys, _COLORS * (1 + len(keys) // len(_COLORS)), strict=False):
        own = [row for row in rows if isinstance(row.get(key), int | float)]
        if own:
            x, y = [row[unit] for row in own], [row[key] for row in own]
            marker = "o-" if len(own) < 40 else "-"
            axis.plot(x, y, marker, color=color, label=key, linewidth=1.8, markersize=4)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.set_xlabel(unit)
    if axis.lines:
        axis.legend(frameon=False, fontsize=9)
    else:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center")

"""Plot precision over recall of several servers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import ConfigError
from facekit.evaluation.class_scores import ClassScore
from facekit.evaluation.served import ServedScore, class_names
from facekit.outputs import write_figure
from facekit.text import count

_COLORS = ("#2563a8", "#d9822b", "#2f8f5b", "#8a5fb0", "#c23b3b", "#5c6670")
_GRAY = "#5c6670"
_COLUMNS = 3


def check_suffix(path: Path) -> None:
    """Raise ConfigError if matplotlib can't write a picture of this suffix."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in known:
        raise ConfigError(f"{path}: expected a name that ends in .png (or .{', .'.join(known)})")


def write_plot(servers: Sequence[ServedScore], title: str, path: Path) -> None:
    """Plot a panel a class with a curve a server, whose served threshold is a dot.

    Raises SetupError if the file can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = class_names(servers)
    columns = min(len(names), _COLUMNS)
    rows = -(-len(names) // columns)
    figure = Figure(
        figsize=(5.2 * columns + 0.6, 4.9 * rows + 0.4), layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    for number, name in enumerate(names, start=1):
        axis = figure.add_subplot(rows, columns, number)
        _draw_class(axis, name, servers)
    figure.suptitle(title, fontsize=11)
    write_figure(path, figure)


def _draw_class(axis: Any, name: str, servers: Sequence[ServedScore]) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.set_axisbelow(True)
    faces = 0
    for number, server in enumerate(servers):
        for score in (score for score in server.classes if score.name == name):
            faces = score.curve.faces
            color = _COLORS[number % len(_COLORS)]
            # Curves that lie on one another all show, the first as the rim of the next.
            width = max(1.5, 1.5 * (len(servers) - number))
            _draw_curve(axis, score, server.server, color, width)
    axis.set_title(f"{name} ({count(faces, 'face')})")
    axis.set_xlabel("recall")
    axis.set_ylabel("precision")
    axis.set_xlim(0, 1.02)
    axis.set_ylim(0, 1.02)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=9, loc="best")
    else:
        axis.text(0.5, 0.5, "no faces", transform=axis.transAxes, ha="center", color=_GRAY)


def _draw_curve(axis: Any, score: ClassScore, server: str, color: str, width: float) -> None:
    points = score.curve
    if points.faces == 0:
        return
    label = f"{server}: AP {score.average_precision:.3f}"
    if len(points.scores) == 0:
        axis.plot([], [], color=color, label=f"{label}, nothing served")
        return
    label += f", down to score {score.lowest_score:.2f}"
    recall = np.concatenate([[0.0], points.recall])
    precision = np.concatenate([points.precision[:1], points.precision])
    axis.plot(recall, precision, color=color, linewidth=width, label=label)
    axis.plot(recall[-1], precision[-1], "o", color=color, markersize=4 + width)

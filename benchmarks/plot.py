"""The results of a run as one picture."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.results import Row, promises
from facekit.outputs import write_figure

_COLORS = {
    "facenet_ensemble": "#2563a8",
    "fpenet_ensemble": "#d9822b",
    "faces": "#2f8f5b",
    "facemask_ensemble": "#8a4fa3",
}
_GOOD, _BAD, _GRAY, _BLUE = "#2f8f5b", "#c23b3b", "#5c6670", "#2563a8"
_PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
_PHASES = {
    "queue_ms": "#c9d1d9",
    "input_ms": "#f0b95b",
    "infer_ms": "#2563a8",
    "output_ms": "#8a5fb0",
}


def write_plot(results: Row, path: Path) -> None:
    """Draw throughput, latency, the promised ratios, the steps' times and the server's memory.

    Raises SetupError if the file can't be written.
    """
    figure = Figure(figsize=(14, 8.5), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 12, height_ratios=(1, 1.05))
    places = (grid[0, :4], grid[0, 4:8], grid[:, 8:], grid[1, :5], grid[1, 5:8])
    axes = [figure.add_subplot(place) for place in places]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
    _draw_sweep(axes[0], results["throughput"], "per_second", "Throughput", "requests a second")
    _draw_sweep(axes[1], results["throughput"], "p95_ms", "Latency, 95th percentile", "ms")
    _draw_promises(axes[2], [p for p in promises(results) if not p["at_most"]])
    _draw_stages(axes[3], results["stages"])
    _draw_memory(axes[4], results["memory"])
    for axis in axes:
        if not axis.has_data():
            axis.grid(visible=False)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color=_GRAY)
    machine = results["configuration"]["machine"]
    figure.suptitle(
        f"facekit bench: {machine['processor']}, {machine['cores']} cores, "
        f"photos {'; '.join(results['configuration']['photos'])}",
        fontsize=12,
    )
    write_figure(path, figure)


def _draw_sweep(axis: Any, rows: list[Row], field: str, title: str, label: str) -> None:
    axis.set_title(title)
    if not rows:
        return
    for model, color in _COLORS.items():
        own = [row for row in rows if row["model"] == model]
        if own:
            x, y = [row["concurrency"] for row in own], [row["rate"][field] for row in own]
            axis.plot(x, y, "o-", color=color, label=model, linewidth=2, markersize=5)
    axis.set_xscale("log", base=2)
    ticks = sorted({row["concurrency"] for row in rows})
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xlabel("requests at a time")
    axis.set_ylabel(label)
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=9)


def _draw_promises(axis: Any, rows: list[Row]) -> None:
    axis.set_title("Ratios, beside what is promised (dashed)")
    if not rows:
        return
    widths = [row["value"] / row["goal"] for row in rows]
    colors = [_GOOD if row["kept"] else _BAD for row in rows]
    axis.barh(range(len(rows)), widths, color=colors, height=0.3)
    axis.axvline(1, color=_GRAY, linestyle="--", linewidth=1)
    small = {"va": "center", "bbox": _PLAIN}
    for place, (width, row) in enumerate(zip(widths, rows, strict=True)):
        text = f"{row['value']:.2f} (≥ {row['goal']:.3g})"
        beside = {"xytext": (5, 0), "textcoords": "offset points", "fontsize": 9, "color": _GRAY}
        axis.annotate(text, (width, place), **beside, **small)
        axis.text(0, place - 0.3, f" {row['name']}", fontsize=8.5, **small)
    axis.set_yticks([])
    axis.set_xlim(0, max(1.2, *widths) * 1.45)
    axis.set_ylim(len(rows) - 0.5, -0.7)
    axis.grid(axis="y", visible=False)


def _draw_stages(axis: Any, stages_by_model: dict[str, list[Row]]) -> None:
    axis.set_title("Mean time of each step at the best concurrency")
    if not stages_by_model:
        return
    labels: list[str] = []
    for model, stages in stages_by_model.items():
        labels.append(model)
        for stage in stages:
            # What calls the steps holds their time as well.
            if stage["model"] == model:
                continue
            left = 0.0
            for phase, color in _PHASES.items():
                axis.barh(len(labels), stage[phase], left=left, color=color, height=0.7)
                left += stage[phase]
            labels.append(stage["model"])
    axis.set_yticks(range(len(labels)), labels, fontsize=8.5)
    for label, text in zip(axis.get_yticklabels(), labels, strict=True):
        label.set_fontweight("bold" if text in _COLORS else "normal")
    axis.invert_yaxis()
    axis.set_xlabel("ms")
    axis.set_xlim(right=axis.get_xlim()[1] * 1.2)  # room for the legend
    axis.grid(axis="y", visible=False)
    handles = [axis.barh(0, 0, color=color) for color in _PHASES.values()]
    names = [phase.removesuffix("_ms") for phase in _PHASES]
    axis.legend(handles, names, frameon=False, fontsize=9, loc="lower right")


def _draw_memory(axis: Any, memory: Row | None) -> None:
    axis.set_title("Memory of the server (PSS)")
    if memory is None:
        return
    x = [sample["requests"] for sample in memory["samples"]]
    y = [sample["pss_mib"] for sample in memory["samples"]]
    axis.plot(x, y, color=_BLUE, linewidth=2)
    axis.fill_between(x, y, alpha=0.12, color=_BLUE)
    axis.set_xlabel("requests")
    axis.set_ylabel("MiB")
    axis.set_ylim(0, max(y) * 1.2)
    start = memory["at_start"]["pss_mib"]
    axis.axhline(start, color=_GRAY, linestyle="--", linewidth=1)
    axis.annotate("new", (x[0], start), (4, 4), textcoords="offset points", color=_GRAY)
    text = f"{memory['growth_mib_per_1000']:+.1f} MiB in 1,000"
    axis.annotate(text, (x[-1], y[-1]), (0, 8), textcoords="offset points", ha="right")

"""What a run finds: a JSON object, its tables, and the figures held against what is promised."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.photos import PhotoSet
from benchmarks.rates import Turns
from facekit.text import table

Row = dict[str, Any]
"""A part of the JSON; ``docs/benchmarks.md`` lists the keys."""
Columns = Sequence[tuple[str, str]]
"""Titles of a table, each with the format of its cells."""

FORMAT_VERSION = 2
"""Of the JSON; it changes when a key changes its meaning or goes."""

BOUND_GOAL = 0.85
SEED_LOOP = "the seed's loop: boxes, then one fpenet_ensemble call a face, each awaited"
SEED_PARALLEL = "the same calls, many at a time"
SEED_GOAL = 4.0
POSTPROCESS_GOAL = 10.0
NOTEBOOK_LOOP = "the notebook's loop: a batch, then a face, each awaited"
BARE_REQUESTS = "the same requests, made beforehand and with nothing read from the answers"
ANNOTATE_GOALS = {NOTEBOOK_LOOP: 4.0, BARE_REQUESTS: 1 / 1.1}
"""The second: the tool costs a tenth of the time that the server needs, at most."""
FOLDER_MEMORY_GOAL = 1.1
"""Memory for the largest folder over that for the smallest: what still counts as flat."""
MEMORY_GOAL_MIB = 5.0
"""Growth in 1,000 requests that still counts as flat: one leaked network input in a thousand
requests is 4 MiB."""

_THROUGHPUT: Columns = (
    ("model", "{model}"), ("at a time", "{concurrency}"), ("a second", "{rate[per_second]:.1f}"),
    ("p50 ms", "{rate[p50_ms]:.1f}"), ("p95 ms", "{rate[p95_ms]:.1f}"),
    ("p99 ms", "{rate[p99_ms]:.1f}"), ("failed", "{rate[errors]}"),
    ("server CPU ms", "{rate[cpu_ms]:.1f}"), ("load CPU ms", "{rate[own_cpu_ms]:.1f}"),
)  # fmt: skip
_STAGES: Columns = (
    ("step", "{model}"), ("requests", "{requests}"), ("batch", "{batch:.1f}"),
    ("queue ms", "{queue_ms:.2f}"), ("input ms", "{input_ms:.2f}"),
    ("infer ms", "{infer_ms:.2f}"), ("output ms", "{output_ms:.2f}"),
)  # fmt: skip
_COMPARISONS: Columns = (
    ("server", "{what}"), ("against", "{against}"), ("photos", "{photos}"),
    ("faces found", "{found}"), ("at a time", "{concurrency} and {their_concurrency}"),
    ("a second", "{ours:.1f}"), ("against it", "{theirs:.1f}"), ("ratio", "{ratio:.2f}"),
    ("CPU ms", "{our_cpu_ms:.1f}"), ("against it", "{their_cpu_ms:.1f}"),
)  # fmt: skip
_POSTPROCESS: Columns = (
    ("frames", "{frames}"), ("cells", "{cells:.0f}"), ("faces", "{faces:.1f}"),
    ("kit ms", "{kit_ms:.3f}"), ("scikit-learn ms", "{reference_ms:.3f}"),
    ("ratio", "{ratio:.1f}"),
)  # fmt: skip
_BATCHING: Columns = (
    ("batches", "{way}"), ("of a pass", "{batches}"), ("photos a second", "{rate:.1f}"),
    ("ratio", "{ratio:.2f}"), ("CPU ms", "{cpu_ms:.1f}"),
)  # fmt: skip
_FOLDER_MEMORY: Columns = (
    ("photos", "{photos:,}"), ("faces each", "{faces}"), ("peak MiB", "{peak_mib:.1f}"),
    ("seconds", "{seconds:.0f}"),
)  # fmt: skip
_MEMORY: Columns = (
    ("requests", "{requests:,}"), ("RSS MiB", "{rss_mib:.0f}"), ("PSS MiB", "{pss_mib:.0f}"),
)  # fmt: skip
_PROMISES: Columns = (
    ("", "{name}"), ("measured", "{value:.2f}"), ("promised", "{limit} {goal:.3g}"),
    ("kept", "{verdict}"),
)  # fmt: skip


def new_results(configuration: Row) -> Row:
    """Return the results of a run that has not measured anything yet."""
    lists = ("throughput", "bound", "beside", "seed", "postprocess", "annotate", "folder_memory")
    rest: Row = {"stages": {}, "batching": None, "memory": None, "skipped": {}}
    return {"configuration": configuration, **{name: [] for name in lists}, **rest}


def to_json(results: Row) -> Row:
    """Return the results as they are written."""
    return {"format": FORMAT_VERSION, **results, "promises": promises(results)}


def comparison(
    names: tuple[str, str],
    photo_set: PhotoSet,
    found: Sequence[int],
    concurrency: tuple[int, int],
    turns: Turns,
) -> Row:
    """Return the row of two sides: their names, the faces found in each photo, and the rates."""
    return {
        "what": names[0],
        "against": names[1],
        "photos": photo_set.name,
        "faces": photo_set.faces,
        "found": list(found),
        "concurrency": concurrency[0],
        "their_concurrency": concurrency[1],
        **asdict(turns),
    }


def best(results: Row, model: str) -> Row | None:
    """Return the fastest measurement of a model."""
    rows = [row for row in results["throughput"] if row["model"] == model]
    return max(rows, key=lambda row: float(row["rate"]["per_second"]), default=None)


def promises(results: Row) -> list[Row]:
    """Return the promised figures among those measured, and whether each is kept."""
    found = [_promise(f"{row['what']} / bound", row, BOUND_GOAL) for row in results["bound"]]
    found += [
        _promise("faces / seed's loop", row, SEED_GOAL)
        for row in results["seed"]
        if row["against"] == SEED_LOOP
    ]
    for row in results["postprocess"]:
        name = f"postprocess / scikit-learn, {row['frames']}"
        found.append(_judge(name, row["ratio"], POSTPROCESS_GOAL))
    for row in results["annotate"]:
        against = row["against"].partition(",")[0].partition(":")[0]
        found.append(_promise(f"annotate / {against}", row, ANNOTATE_GOALS[row["against"]]))
    if len(results["folder_memory"]) > 1:
        small, large = results["folder_memory"][0], results["folder_memory"][-1]
        name = f"annotate, memory for {large['photos']:,} photos / for {small['photos']:,}"
        ratio = large["peak_mib"] / small["peak_mib"]
        found.append(_judge(name, ratio, FOLDER_MEMORY_GOAL, at_most=True))
    if results["memory"] is not None:
        name = f"memory, MiB in 1,000 requests, {results['memory']['requests']:,} requests"
        growth = results["memory"]["growth_mib_per_1000"]
        found.append(_judge(name, growth, MEMORY_GOAL_MIB, at_most=True))
    return found


def _promise(name: str, row: Row, goal: float) -> Row:
    """Judge a ratio, which holds only if the faces were found that the photos show."""
    found = row["found"]
    unlike = ""
    if row["faces"] is not None and set(found) != {row["faces"]}:
        unlike = f"{', '.join(map(str, found))} faces found, not {row['faces']}"
    return _judge(f"{name}, {row['photos']}", row["ratio"], goal, unlike=unlike)


def _judge(name: str, value: float, goal: float, *, at_most: bool = False, unlike: str = "") -> Row:
    kept = not unlike and (value <= goal if at_most else value >= goal)
    figures = {"name": name, "value": value, "goal": goal}
    return {**figures, "at_most": at_most, "unlike": unlike, "kept": kept}


def results_text(results: Row) -> str:
    """Return all tables, and the promised figures at the end."""
    blocks = [_table("Throughput and latency", _THROUGHPUT, results["throughput"])]
    for model, stages in results["stages"].items():
        row = best(results, model)
        place = f" at {row['concurrency']} at a time" if row is not None else ""
        blocks.append(_table(f"Steps of {model}{place}, mean of a request", _STAGES, stages))
    compared = [
        {**row, "found": " ".join(map(str, row["found"]))}
        for section in ("bound", "beside", "seed", "annotate")
        for row in results[section]
    ]
    judged = [
        {
            **row,
            "limit": "at most" if row["at_most"] else "at least",
            "verdict": ": ".join(filter(None, ("yes" if row["kept"] else "NO", row["unlike"]))),
        }
        for row in promises(results)
    ]
    title = "Decode and cluster one frame (same labels and boxes)"
    blocks += [
        _table("Photos a second in turns, medians", _COMPARISONS, compared),
        _table(title, _POSTPROCESS, results["postprocess"]),
        _batching(results["batching"]),
        _table("Memory of facekit annotate", _FOLDER_MEMORY, results["folder_memory"]),
        _memory(results["memory"]),
        _notes("Not measured", [f"{name}: {why}" for name, why in results["skipped"].items()]),
        _table("Promised", _PROMISES, judged),
    ]
    return "\n".join(filter(None, blocks))


def _batching(row: Row | None) -> str:
    if row is None:
        return ""
    title = (
        f"Decode in batches with DALI: {row['photos']} photos of {row['shapes']} shapes, "
        f"{row['batch_size']} at most in a batch"
    )
    rows = [
        {
            "way": way,
            "batches": row[f"{key}_batches"],
            "rate": row[key],
            "ratio": ratio,
            "cpu_ms": row[f"{key}_cpu_ms"],
        }
        for way, key, ratio in (
            ("grouped by shape", "grouped", row["ratio"]),
            ("ragged", "ragged", 1.0),
        )
    ]
    note = f"  padded to stack, ragged batches would hold {row['padding']:.2f} times the pixels\n"
    return _table(title, _BATCHING, rows) + note


def _memory(memory: Row | None) -> str:
    if memory is None:
        return ""
    lines = (
        "{at_start[pss_mib]:.0f} MiB when the server was new; {at_start[processes]} processes",
        "PSS {start_mib:.0f} MiB at the start, {end_mib:.0f} at the end, {peak_mib:.0f} at most",
        "growth {growth_mib_per_1000:+.2f} MiB in 1,000 requests of the second half",
        "{refused:,} broken photos among the requests, all refused",
    )
    samples = _table("Memory of the server's processes", _MEMORY, memory["samples"])
    return samples + "".join(f"  {line.format_map(memory)}\n" for line in lines)


def _notes(title: str, lines: Sequence[str]) -> str:
    return f"{title}\n" + "".join(f"  {line}\n" for line in lines) if lines else ""


def _table(title: str, columns: Columns, rows: Iterable[Row]) -> str:
    """Return a titled table; nothing without rows."""
    cells = [[name for name, _ in columns]]
    cells += [[text.format_map(row) for _, text in columns] for row in rows]
    if len(cells) == 1:
        return ""
    # Columns of numbers stand right.
    numeric = [all(row[k][:1] in "0123456789+-n" for row in cells[1:]) for k in range(len(columns))]
    align = "".join("r" if right else "l" for right in numeric)
    return f"{title}\n{table(cells, align, indent='  ')}\n"

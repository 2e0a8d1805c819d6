"""A bench's configuration and results as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facekit.bench.results import Results


def configuration_text(configuration: dict[str, Any]) -> str:
    """Return the configuration, one indented block a part."""
    lines = []
    for part, values in configuration.items():
        lines.append(part)
        width = max(map(len, values))
        for name, value in values.items():
            if isinstance(value, dict):
                text = ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
            else:
                text = _plain(value)
            lines.append(f"  {name.ljust(width)}  {text}")
    return "\n".join(lines) + "\n"


def results_text(results: Results) -> str:
    """Return all tables, and the promised figures at the end."""
    blocks = [
        _throughput(results),
        _stages(results),
        _comparisons(results),
        _postprocess(results),
        _batching(results),
        _folder_memory(results),
        _memory(results),
        _skipped(results),
        _promises(results),
    ]
    return "\n".join(block for block in blocks if block)


def _throughput(results: Results) -> str:
    if not results.throughput:
        return ""
    header = ("model", "at a time", "a second", "p50 ms", "p95 ms", "p99 ms", "failed",
              "server CPU ms", "load CPU ms")  # fmt: skip
    rows = [
        (
            row.model,
            str(row.concurrency),
            f"{row.rate.per_second:.1f}",
            f"{row.rate.p50_ms:.1f}",
            f"{row.rate.p95_ms:.1f}",
            f"{row.rate.p99_ms:.1f}",
            str(row.rate.errors),
            f"{row.rate.cpu_ms:.1f}",
            f"{row.rate.own_cpu_ms:.1f}",
        )
        for row in results.throughput
    ]
    return "Throughput and latency\n" + _table(header, rows)


def _stages(results: Results) -> str:
    header = ("step", "requests", "batch", "queue ms", "input ms", "infer ms", "output ms")
    blocks = []
    for model, stages in results.stages.items():
        best = results.best(model)
        place = f" at {best.concurrency} at a time" if best is not None else ""
        rows = [
            (
                stage.model,
                str(stage.requests),
                f"{stage.batch:.1f}",
                f"{stage.queue_ms:.2f}",
                f"{stage.input_ms:.2f}",
                f"{stage.infer_ms:.2f}",
                f"{stage.output_ms:.2f}",
            )
            for stage in stages
        ]
        blocks.append(f"Steps of {model}{place}, mean of a request\n" + _table(header, rows))
    return "\n".join(blocks)


def _comparisons(results: Results) -> str:
    found = [*results.bound, *results.beside, *results.seed, *results.annotate]
    if not found:
        return ""
    header = ("server", "against", "photos", "faces found", "at a time", "a second", "against it",
              "ratio", "CPU ms", "against it")  # fmt: skip
    rows = [
        (
            row.what,
            row.against,
            row.photos,
            " ".join(map(str, row.found)),
            f"{row.concurrency} and {row.their_concurrency}",
            f"{row.ours:.1f}",
            f"{row.theirs:.1f}",
            f"{row.ratio:.2f}",
            f"{row.our_cpu_ms:.1f}",
            f"{row.their_cpu_ms:.1f}",
        )
        for row in found
    ]
    return "Photos a second in turns, medians\n" + _table(header, rows)


def _postprocess(results: Results) -> str:
    if not results.postprocess:
        return ""
    header = ("frames", "cells", "faces", "kit ms", "scikit-learn ms", "ratio")
    rows = [
        (
            row.frames,
            f"{row.cells:.0f}",
            f"{row.faces:.1f}",
            f"{row.kit_ms:.3f}",
            f"{row.reference_ms:.3f}",
            f"{row.ratio:.1f}",
        )
        for row in results.postprocess
    ]
    return "Decode and cluster one frame (same labels and boxes)\n" + _table(header, rows)


def _batching(results: Results) -> str:
    row = results.batching
    if row is None:
        return ""
    header = ("batches", "of a pass", "photos a second", "ratio", "CPU ms")
    rows = [
        (name, str(batches), f"{rate:.1f}", ratio, f"{cpu_ms:.1f}")
        for name, batches, rate, ratio, cpu_ms in (
            (
                "grouped by shape",
                row.grouped_batches,
                row.grouped,
                f"{row.ratio:.2f}",
                row.grouped_cpu_ms,
            ),
            ("ragged", row.ragged_batches, row.ragged, "1.00", row.ragged_cpu_ms),
        )
    ]
    about = f"{row.photos} photos of {row.shapes} shapes, {row.batch_size} at most in a batch"
    note = f"  padded to stack, ragged batches would hold {row.padding:.2f} times the pixels\n"
    return f"Decode in batches with DALI: {about}\n" + _table(header, rows) + note


def _folder_memory(results: Results) -> str:
    if not results.folder_memory:
        return ""
    header = ("photos", "faces each", "peak MiB", "seconds")
    rows = [
        (f"{row.photos:,}", str(row.faces), f"{row.peak_mib:.1f}", f"{row.seconds:.0f}")
        for row in results.folder_memory
    ]
    return "Memory of facekit annotate\n" + _table(header, rows)


def _memory(results: Results) -> str:
    memory = results.memory
    if memory is None:
        return ""
    header = ("requests", "RSS MiB", "PSS MiB")
    rows = [
        (f"{sample.requests:,}", f"{sample.rss_mib:.0f}", f"{sample.pss_mib:.0f}")
        for sample in memory.samples
    ]
    note = (
        f"  {memory.at_start.pss_mib:.0f} MiB when the server was new; "
        f"{memory.at_start.processes} processes\n"
        f"  PSS {memory.start_mib:.0f} MiB at the start, {memory.end_mib:.0f} at the end, "
        f"{memory.peak_mib:.0f} at most\n"
        f"  growth {memory.growth_mib_per_1000:+.2f} MiB in 1,000 requests of the second half\n"
        f"  {memory.refused:,} broken photos among the requests, all refused\n"
    )
    return "Memory of the server's processes\n" + _table(header, rows) + note


def _skipped(results: Results) -> str:
    rows = [f"  {name}: {why}\n" for name, why in results.skipped.items()]
    return "Not measured\n" + "".join(rows) if rows else ""


def _promises(results: Results) -> str:
    rows = [
        (
            promise.name,
            f"{promise.value:.2f}",
            f"{'at most' if promise.at_most else 'at least'} {promise.goal:.3g}",
            ("yes" if promise.kept else "NO") + (f": {promise.unlike}" if promise.unlike else ""),
        )
        for promise in results.promises()
    ]
    return "Promised\n" + _table(("", "measured", "promised", "kept"), rows) if rows else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]
    # Columns of numbers stand right.
    right = [all(row[k][:1] in "0123456789+-n" for row in rows) for k in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (header, *rows)
    ]
    return "".join(f"  {line}\n" for line in lines)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

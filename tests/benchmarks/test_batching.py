"""Grouped beside ragged batches, measured."""

from __future__ import annotations

import pytest

from benchmarks.batching import compare_batching
from benchmarks.results import new_results, results_text
from facekit.errors import PhotoError
from tests import photo_files


def jpeg(width: int, height: int) -> bytes:
    return photo_files.encode(photo_files.picture((width, height)), "JPEG")


def test_both_ways_are_measured_over_all_photos() -> None:
    photos = [jpeg(40, 30), jpeg(30, 40), jpeg(40, 30), jpeg(20, 20), jpeg(40, 30)]
    advanced: list[int] = []
    found = compare_batching(
        photos, batch_size=2, seconds=0.02, pairs=3, advance=lambda: advanced.append(1)
    )
    assert len(advanced) == 6 and len(found["ratios"]) == 3
    assert (found["photos"], found["shapes"]) == (5, 3)
    # Three of one shape take two batches, and each of the others one.
    assert (found["grouped_batches"], found["ragged_batches"]) == (4, 3)
    rates = ("grouped", "ragged", "grouped_cpu_ms", "ragged_cpu_ms")
    assert min(found[key] for key in rates) > 0
    assert min(found["ratios"]) <= found["ratio"] <= max(found["ratios"])
    assert found["padding"] == pytest.approx((2 * 1600 + 2 * 1200 + 1200) / (4 * 1200 + 400))
    text = results_text({**new_results({}), "batching": found})
    assert "5 photos of 3 shapes, 2 at most in a batch" in text and "grouped by shape" in text


def test_photo_that_cannot_be_decoded_is_an_error() -> None:
    with pytest.raises(PhotoError, match="truncated"):
        compare_batching([jpeg(40, 30), jpeg(30, 40)[:-200]], seconds=0.01, pairs=1)
    with pytest.raises(PhotoError, match="no photos"):
        compare_batching([])

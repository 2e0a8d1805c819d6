"""The subsets of WIDER FACE's protocol in the files of its evaluation tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.datasets.face_sets import WiderRows, wider_variables


def write_subsets(
    folder: Path,
    events: WiderRows,
    counted: Mapping[str, Mapping[str, Sequence[int]]],
    *,
    whole: bool = True,
) -> None:
    """``counted``: by subset, the numbers from 1 of the faces of ``<event>/<photo>`` it counts."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = wider_variables(events)
    if whole:
        savemat(folder / "wider_face_val.mat", variables)
    for subset, numbers in counted.items():
        lists = np.empty((len(events), 1), dtype=object)
        for index, (event, photos) in enumerate(events.items()):
            cells = np.empty((len(photos), 1), dtype=object)
            for place, name in enumerate(photos):
                kept = numbers.get(f"{event}/{name}", [])
                # As there: an empty matrix where the photo has no face of the subset.
                cells[place, 0] = np.array(kept, np.uint8).reshape(len(kept), 1 if kept else 0)
            lists[index, 0] = cells
        savemat(folder / f"wider_{subset}_val.mat", {**variables, "gt_list": lists})

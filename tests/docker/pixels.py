"""Serializes the kit's pipelines, and runs serialized ones: with the DALI of whoever calls it.

``pixels.py write FOLDER`` writes every CPU pipeline. ``pixels.py run FOLDER PHOTOS OUT`` runs those
in FOLDER on the photos of PHOTOS (an .npz of bytes, named ``<name>.<orientation>``), each photo on
its own, and writes the pictures to OUT.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from nvidia import dali
from nvidia.dali import types
from nvidia.dali.pipeline import Pipeline

from facekit.pipelines.serialize import write_all

# DALI 2 takes None alone for it, and 1.35 a number alone.
NO_GPU = types.CPU_ONLY_DEVICE_ID if dali.__version__.startswith("1.") else None


def load(path: Path) -> Pipeline:
    pipeline = Pipeline.deserialize(
        serialized_pipeline=path.read_bytes(),
        batch_size=32,
        num_threads=1,
        device_id=NO_GPU,
        prefetch_queue_depth=1,
        exec_pipelined=False,
        exec_async=False,
    )
    pipeline.build()
    return pipeline


def pictures(folder: Path, photos: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.glob("*/1/*cpu.dali")):
        pipeline = load(path)
        for name, photo in photos.items():
            orientation = np.array([int(name.rsplit(".", 1)[1])], np.int32)
            pipeline.feed_input("photo", [photo])
            pipeline.feed_input("orientation", [orientation])
            for index, output in enumerate(pipeline.run()):
                picture = np.asarray(output.as_array())
                found[f"{path.parts[-3]}/{path.name}/{index}/{name}"] = picture.copy()
    return found


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "write":
        write_all(folder, devices=("cpu",))
    else:
        with np.load(sys.argv[3]) as photos:
            np.savez(sys.argv[4], **pictures(folder, dict(photos)))
    sys.stdout.write(f"{dali.__version__}\n")


if __name__ == "__main__":
    main()

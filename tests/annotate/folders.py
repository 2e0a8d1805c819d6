"""Photo folders for the tests, and a server whose answer depends on the photo alone."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from tests.fake_triton import Answer, Array, Inputs, faces_answer
from tests.photo_files import encode, picture

JPEG = encode(picture((64, 48)), "JPEG")


def photo(number: int) -> bytes:
    """A JPEG like no other: what stands behind its end is no part of the picture."""
    return JPEG + b"photo %d" % number


def fill(folder: Path, count: int, first: int = 0) -> list[str]:
    """Write photos into a folder and a subfolder, and return their names in order."""
    names = [f"{'sub/' if n % 3 == 0 else ''}{n:03d}.jpg" for n in range(first, first + count)]
    for number, name in enumerate(names, start=first):
        put(folder / name, photo(number))
    return sorted(names)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def by_content(delay_s: float = 0.0) -> Answer:
    """Return an answer with faces that differ from photo to photo."""

    def answer(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        if delay_s:
            time.sleep(delay_s)
        (data,) = inputs.values()
        digest = hashlib.sha256(data.tobytes()).digest()
        outputs = faces_answer(digest[0] % 4)
        shift = np.float32(int.from_bytes(digest[1:3], "little") / 77)
        outputs["boxes"] = outputs["boxes"] + shift
        outputs["keypoints"] = outputs["keypoints"] + shift
        return outputs

    return answer


def counted(answer: Answer) -> tuple[Answer, Callable[[], int]]:
    """Return an answer that counts how often it was asked for, and its count."""
    asked: list[None] = []

    def counting(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        asked.append(None)
        return answer(model, inputs, context)

    return counting, lambda: len(asked)


def command(folder: Path, coco: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "facekit.cli", "annotate", str(folder), "--coco", str(coco)] + [
        *options
    ]


def coco_photos(path: Path) -> dict[int, str]:
    """Return file names by image id."""
    return {image["id"]: image["file_name"] for image in read(path)["images"]}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def failures(coco: Path) -> dict[str, str]:
    """Return the reasons in the report by photo; {} where there is none."""
    path = coco.with_name(f"{coco.stem}.failures.jsonl")
    if not path.exists():
        return {}
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["photo"] for entry in entries] == sorted(entry["photo"] for entry in entries)
    return {entry["photo"]: entry["reason"] for entry in entries}


def recorded(coco: Path) -> list[str]:
    """Return the photos that the run's record has, read as another process does."""
    path = coco.with_name(f"{coco.name}.results")
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return []
        return [name.decode() for (name,) in connection.execute("SELECT name FROM photos")]


def touch(path: Path) -> None:
    """Change a file's time and nothing else."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))

"""Runs that are killed, stopped or meet a full disk, and go on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.annotate.folders import (
    by_content,
    coco_photos,
    command,
    failures,
    fill,
    put,
    recorded,
)
from tests.fake_triton import FakeTriton

COUNT = 40


@pytest.fixture(scope="module")
def triton() -> Iterator[FakeTriton]:
    with FakeTriton(by_content(0.02)) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "photos", COUNT)
    put(tmp_path / "photos" / "words.jpg", b"no pixels")
    return tmp_path / "photos"


def finish(arguments: list[str], code: int = 0) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def outcome(coco: Path) -> tuple[bytes, bytes, dict[str, str]]:
    return coco.read_bytes(), coco.with_suffix(".jsonl").read_bytes(), failures(coco)


def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes(
    folder: Path, triton: FakeTriton
) -> None:
    def arguments(coco: Path, concurrency: int) -> list[str]:
        options = ("--jsonl", str(coco.with_suffix(".jsonl")), "--url", triton.url)
        return command(folder, coco, *options, "--concurrency", str(concurrency))

    unbroken = folder.parent / "unbroken" / "i.json"
    finish(arguments(unbroken, 8), code=1)
    rng = random.Random(5)
    coco = folder.parent / "killed" / "i.json"
    seen = 0
    for _ in range(4):
        asked = len(triton.received) + rng.randint(1, 9)
        process = subprocess.Popen(arguments(coco, 2), stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while len(triton.received) < asked and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.03)
        process.kill()
        process.wait(10)
        assert len(recorded(coco)) >= seen  # nothing is lost
        seen = len(recorded(coco))
        assert not coco.exists()
    assert 0 < seen <= COUNT
    triton.received.clear()
    output = finish(arguments(coco, 3), code=1)
    assert outcome(coco) == outcome(unbroken)
    assert len(triton.received) == COUNT + 1 - seen  # nothing is done twice
    assert f"{COUNT + 1 - seen} new or changed, {seen} unchanged" in output
    assert "1 failed" in output


def test_ctrl_c_ends_it_at_once_and_says_that_it_goes_on(folder: Path, triton: FakeTriton) -> None:
    coco = folder.parent / "i.json"
    arguments = command(folder, coco, "--url", triton.url, "--concurrency", "1")
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    asked = len(triton.received)
    while len(triton.received) < asked + 4:
        assert process.poll() is None
        time.sleep(0.01)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert time.monotonic() - start < 3
    assert process.returncode == 130
    assert said == "facekit: stopped; the same command resumes the run\n"
    seen = len(recorded(coco))
    assert seen > 2  # words.jpg, and all that was found until then
    assert not coco.exists()
    assert f"{COUNT + 1 - seen} new or changed, {seen} unchanged" in finish(arguments, code=1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_ends_it_and_it_goes_on_with_more_room(
    folder: Path, small_disk: Path, triton: FakeTriton
) -> None:
    coco = small_disk / "i.json"
    arguments = command(folder, coco, "--url", triton.url, "--jsonl", str(coco) + "l")
    said = finish(arguments, code=2)
    assert str(small_disk) in said
    assert "No space left" in said or "disk is full" in said
    assert "same command" in said
    assert not coco.exists()
    seen = len(recorded(coco))
    assert 0 < seen
    assert "same command" in finish(arguments, code=2)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    asked = len(triton.received)
    finish(arguments, code=1)
    assert len(triton.received) - asked <= COUNT + 1 - seen
    assert len(coco_photos(coco)) == COUNT


def test_a_dataset_that_cannot_be_written_costs_no_second_search(
    folder: Path, triton: FakeTriton
) -> None:
    coco = folder.parent / "i.json"
    arguments = command(folder, coco, "--url", triton.url, "--jsonl")
    said = finish([*arguments, "/dev/full"], code=2)
    assert "/dev/full: cannot be written: No space left" in said
    assert len(recorded(coco)) == COUNT + 1
    asked = len(triton.received)
    finish([*arguments, str(folder.parent / "i.jsonl")], code=1)
    assert len(triton.received) == asked

#!/usr/bin/env python3
"""A stand-in for TensorRT's ``trtexec``: checks every argument, builds or loads an engine stub.

One file with no imports beyond the standard library, because tests put it into images. The
variables are those of ``tao_converter.py``; here ``FAKE_TOOL_MODE`` counts for builds, and
``FAKE_LOAD_MODE`` for ``--loadEngine``: ``ok``, ``fail`` or ``hang``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

# With a value, as --name=value.
VALUES = {
    "onnx",
    "saveEngine",
    "loadEngine",
    "minShapes",
    "optShapes",
    "maxShapes",
    "shapes",
    "batch",
    "calib",
    "memPoolSize",
    "warmUp",
    "duration",
    "iterations",
}
SWITCHES = {"fp16", "int8", "skipInference", "verbose"}
REMOVED_IN_11 = {"fp16", "int8", "calib", "batch"}
VERSION = os.environ.get("FAKE_TENSORRT", "8603")
# 8603 is 8.6.3; from 10 on 100001 is 10.0.1.
MAJOR = int(VERSION) // (10_000 if len(VERSION) > 4 else 1000)


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def fail(words: str) -> NoReturn:
    say(f"[E] {words}")
    say(f"&&&& FAILED TensorRT.trtexec [TensorRT v{VERSION}] # {' '.join(sys.argv)}")
    sys.exit(1)


def log_call() -> None:
    if path := os.environ.get("FAKE_TOOL_LOG"):
        secrets = [name for name in os.environ if "NGC" in name and "KEY" in name]
        with Path(path).open("a") as file:
            call = {"tool": "trtexec", "argv": sys.argv[1:], "secrets": secrets}
            file.write(json.dumps(call) + "\n")


def read_options(argv: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in argv:
        name, equals, value = word.removeprefix("--").partition("=")
        known = name in VALUES if equals else name in SWITCHES
        if not word.startswith("--") or not known or (MAJOR >= 11 and name in REMOVED_IN_11):
            fail(f"Unknown option: {word}")
        if equals and not value:
            fail(f"{word} needs a value")
        if name in options:
            fail(f"--{name} is given twice")
        options[name] = value
    return options


def read_shapes(text: str) -> tuple[str, list[int]]:
    """Read one ``name:1x2x3``; a name that holds a colon must be in single quotes."""
    match = re.fullmatch(r"(?:'([^']+)'|([^':,]+)):(\d+(?:x\d+)*)", text)
    if not match:
        fail(f"could not parse shapes {text!r}: expected name:NxCxHxW, a colon in quotes")
    return match[1] or match[2], [int(part) for part in match[3].split("x")]


def check_build(options: dict[str, str]) -> dict:
    network = Path(options["onnx"])
    if not network.is_file():
        fail(f"Could not open file {network}")
    data = network.read_bytes()
    shapes = []
    for word in ("min", "opt", "max"):
        if f"{word}Shapes" not in options:
            fail("all of --minShapes, --optShapes and --maxShapes must be given")
        shapes.append(read_shapes(options[f"{word}Shapes"]))
    name = shapes[0][0]
    if {shape[0] for shape in shapes} != {name}:
        fail("the three shapes name different inputs")
    if name.encode() not in data:
        fail(f"Cannot find input tensor with name {name!r} in the network")
    batches = [shape[1][0] for shape in shapes]
    if batches != sorted(batches) or batches[0] < 1:
        fail(f"expected 1 <= min <= opt <= max, got {batches}")
    if len({tuple(shape[1][1:]) for shape in shapes}) != 1:
        fail("the three shapes differ in more than the batch")
    if "calib" in options:
        if "int8" not in options:
            fail("--calib has no effect without --int8")
        if not Path(options["calib"]).is_file():
            fail(f"Could not open calibration cache {options['calib']}")
    if not re.fullmatch(r"workspace:\d+(\.\d+)?", options.get("memPoolSize", "workspace:1")):
        fail(f"could not parse --memPoolSize={options['memPoolSize']}")
    precision = "int8" if "int8" in options else "fp16" if "fp16" in options else "fp32"
    return {
        "tensorrt": VERSION,
        "precision": precision,
        "implicit": False,
        "inputs": {name: shapes[0][1][1:]},
        "batch": [batches[0], batches[2]],
        # No two builds of TensorRT give the same bytes either.
        "build": os.urandom(8).hex(),
    }


def build(options: dict[str, str]) -> None:
    head = check_build(options)
    mode = os.environ.get("FAKE_TOOL_MODE", "ok")
    stub = f"FAKE ENGINE {json.dumps(head)}\n".encode() + b"\0" * 4096 + b"END\n"
    say("[I] Building engine")
    if mode == "hang":
        while True:
            time.sleep(60)
    if mode == "slow":
        time.sleep(float(os.environ.get("FAKE_TOOL_SECONDS", "3")))
    if mode == "memory":
        fail("[virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory")
    if mode != "no-engine":
        content = {"half": stub[: len(stub) // 2], "crash": stub[: len(stub) // 2], "empty": b""}
        try:
            Path(options["saveEngine"]).write_bytes(content.get(mode, stub))
        except OSError as error:
            fail(f"Could not write {options['saveEngine']}: {error.strerror}")
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "exit-1":
        fail("after the engine was written")


def load(options: dict[str, str]) -> None:
    engine = Path(options["loadEngine"])
    mode = os.environ.get("FAKE_LOAD_MODE", "ok")
    if mode == "hang":
        while True:
            time.sleep(60)
    if mode == "fail":
        fail("Error Code 4: Internal Error (Engine deserialization failed.)")
    if not engine.is_file():
        fail(f"Error opening engine file: {engine}")
    data = engine.read_bytes()
    if not data.startswith(b"FAKE ENGINE ") or not data.endswith(b"END\n"):
        say("[E] Error Code 1: Serialization (Serialization assertion magicTagRead == kMAGIC_TAG")
        fail("Error Code 4: Internal Error (Engine deserialization failed.)")
    head = json.loads(data.partition(b"\n")[0].removeprefix(b"FAKE ENGINE "))
    if head["tensorrt"] != VERSION:
        fail(
            "Error Code 6: The engine plan file is not compatible with this version of TensorRT, "
            f"expecting library version {VERSION} got {head['tensorrt']}, please rebuild."
        )
    if head["implicit"]:
        if "shapes" in options:
            fail("--shapes is for engines of explicit batch; this one takes --batch")
        batch = int(options.get("batch", "1"))
    else:
        if "batch" in options:
            fail("--batch is for engines of implicit batch; this one takes --shapes")
        name, shape = read_shapes(options["shapes"])
        if head["inputs"].get(name) != shape[1:]:
            fail(f"the engine has no input {name} of {shape[1:]}")
        batch = shape[0]
    low, high = head["batch"]
    if not low <= batch <= high:
        fail(f"batch {batch} is outside the engine's {low}..{high}")
    for name, dims in head.get("outputs", {}).items():
        shape = dims if head["implicit"] else [batch, *dims]
        say(f"[I] Created output binding for {name} with dimensions {'x'.join(map(str, shape))}")


def main() -> None:
    log_call()
    options = read_options(sys.argv[1:])
    say(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{VERSION}] # {' '.join(sys.argv)}")
    if os.environ.get("FAKE_GPUS") == "":
        fail("Cuda failure: no CUDA-capable device is detected")
    if "onnx" in options and "saveEngine" in options:
        build(options)
    elif "loadEngine" in options:
        load(options)
    else:
        fail("Model missing or format not recognized")
    say(f"&&&& PASSED TensorRT.trtexec [TensorRT v{VERSION}] # {' '.join(sys.argv)}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A stand-in for NVIDIA's ``tao-converter``: checks every argument, then writes an engine stub.

One file with no imports beyond the standard library, because tests download it as NGC serves it.
It reads stand-ins for ``.etlt`` files (``networks.py``) and is told what to do by variables:

``FAKE_TOOL_MODE``
    ``ok``; ``no-engine``, nothing written and exit 0; ``half``, half of the engine and exit 0;
    ``empty``; ``wrong-key``, as if the key did not fit; ``exit-1``, a whole engine and exit 1;
    ``crash``, by a signal with half of the engine written; ``hang``, for ever; ``slow``, silent
    for ``FAKE_TOOL_SECONDS`` (3); ``memory``, out of GPU memory and exit 1
``FAKE_TOOL_LOG``
    a file that gets one line of JSON a call: the arguments, and the names of variables that hold
    an NGC key
``FAKE_TENSORRT``
    the version number it was built for (8603 is 8.6.3)
``FAKE_GPUS``
    set and empty: there is no GPU
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

USAGE = (
    "usage: tao-converter [-h] -k <encryption_key> -d <input_dimensions> -o <output nodes> "
    "[-c <calibration cache>] [-e <engine>] [-b <calibration batch>] [-m <max batch>] "
    "[-t <fp32|fp16|int8>] [-w <workspace>] [-i <nchw|nhwc|nc>] [-p <profile>] [-s] [-u <dla>] "
    "input_file"
)
WITH_VALUE = set("kdocebmtwipu")


def refuse(words: str) -> NoReturn:
    sys.stderr.write(f"[ERROR] {words}\n{USAGE}\n")
    sys.exit(1)


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def log_call() -> None:
    if path := os.environ.get("FAKE_TOOL_LOG"):
        secrets = [name for name in os.environ if "NGC" in name and "KEY" in name]
        with Path(path).open("a") as file:
            call = {"tool": "tao-converter", "argv": sys.argv[1:], "secrets": secrets}
            file.write(json.dumps(call) + "\n")


def read_options(argv: list[str]) -> tuple[dict[str, list[str]], str]:
    options: dict[str, list[str]] = {}
    files: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "-h":
            say(USAGE)
            sys.exit(0)
        if not word.startswith("-"):
            files.append(word)
        elif word == "-s":
            options["s"] = ["yes"]
        elif len(word) != 2 or word[1] not in WITH_VALUE:
            refuse(f"unknown option {word}")
        elif not rest or (rest[0].startswith("-") and len(rest[0]) == 2):
            refuse(f"{word} needs a value")
        else:
            options.setdefault(word[1], []).append(rest.pop(0))
    for name, values in options.items():
        if len(values) > 1 and name != "p":
            refuse(f"-{name} is given twice")
    if len(files) != 1:
        refuse(f"expected one input_file, got {files}")
    return options, files[0]


def whole_number(options: dict[str, list[str]], name: str, default: int) -> int:
    text = options.get(name, [str(default)])[0]
    if not text.isdigit() or int(text) < 1:
        refuse(f"-{name} takes a whole number above 0, got {text!r}")
    return int(text)


def read_network(path: str, key: str) -> dict:
    if not Path(path).is_file():
        refuse(f"input_file {path} does not exist")
    data = Path(path).read_bytes()
    head, _, _ = data.partition(b"\n")
    if not head.startswith(b"FAKE ETLT "):
        refuse(f"input_file {path} is no .etlt")
    network = json.loads(head.removeprefix(b"FAKE ETLT "))
    if network["key"] != key or os.environ.get("FAKE_TOOL_MODE") == "wrong-key":
        wrong_key()
    return network


def wrong_key() -> NoReturn:
    # What the tool says, and that it then ends as if all were well.
    say("[ERROR] UffParser: Could not read buffer.")
    say(
        "[ERROR] Failed to parse the model, please check the encoding key to make sure it's correct"
    )
    say("[ERROR] Network must have at least one output")
    say("[ERROR] Network validation failed.")
    say("[ERROR] Unable to create engine")
    sys.exit(0)


def check_uff(options: dict[str, list[str]], network: dict) -> list[int]:
    if "p" in options:
        refuse("-p is for models with dynamic shape; this one has none")
    for name in "do":
        if name not in options:
            refuse(f"-{name} is required")
    (dims,) = network["inputs"].values()
    check_dims(options["d"][0], dims)
    unknown = set(options["o"][0].split(",")) - set(network["outputs"])
    if unknown:
        refuse(f"-o names no output of this model: {', '.join(sorted(unknown))}")
    return [1, whole_number(options, "m", 16)]


def check_dims(text: str, dims: list[int]) -> None:
    if text != ",".join(map(str, dims)):
        refuse(f"-d {text} is not the model's {','.join(map(str, dims))}")


def check_onnx(options: dict[str, list[str]], network: dict) -> list[int]:
    if "m" in options:
        refuse("-m is for models without dynamic shape; give -p")
    if "d" in options:
        (dims,) = network["inputs"].values()
        check_dims(options["d"][0], dims)
    batches: list[int] = []
    missing = set(network["inputs"])
    for profile in options.get("p", []):
        name, *shapes = profile.split(",")
        if name not in network["inputs"]:
            refuse(f"-p names no input of this model: {name}")
        if len(shapes) != 3 or not all(re.fullmatch(r"\d+(x\d+)+", shape) for shape in shapes):
            refuse(f"-p takes <input>,<min>,<opt>,<max> as NxCxHxW, got {profile}")
        numbers = [[int(part) for part in shape.split("x")] for shape in shapes]
        if any(shape[1:] != network["inputs"][name] for shape in numbers):
            refuse(f"-p {profile}: the model's dims are {network['inputs'][name]}")
        batches = [shape[0] for shape in numbers]
        if batches != sorted(batches) or batches[0] < 1:
            refuse(f"-p {profile}: expected 1 <= min <= opt <= max")
        missing.discard(name)
    if missing:
        refuse(f"-p is required for each input: {', '.join(sorted(missing))}")
    return [batches[0], batches[2]]


def check_calibration(options: dict[str, list[str]], precision: str) -> None:
    if precision != "int8":
        for name in "cb":
            if name in options:
                refuse(f"-{name} is only used in INT8 mode")
        return
    cache = Path(options.get("c", ["./cal.bin"])[0])
    if not cache.is_file():
        refuse(f"-c {cache} does not exist")
    if not re.match(rb"TRT-\d+-EntropyCalibration2\n", cache.read_bytes()):
        refuse(f"-c {cache} is no calibration cache")
    whole_number(options, "b", 8)


def write_engine(path: Path, stub: bytes) -> None:
    mode = os.environ.get("FAKE_TOOL_MODE", "ok")
    say("[INFO] Building engine")
    if mode == "hang":
        while True:
            time.sleep(60)
    if mode == "slow":
        time.sleep(float(os.environ.get("FAKE_TOOL_SECONDS", "3")))
    if mode == "memory":
        say("[ERROR] [virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory")
        say("[ERROR] Unable to create engine")
        sys.exit(1)
    if mode == "no-engine":
        return
    content = {"half": stub[: len(stub) // 2], "crash": stub[: len(stub) // 2], "empty": b""}
    try:
        path.write_bytes(content.get(mode, stub))
    except OSError:
        return  # as the tool does where the folder can't be written
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "exit-1":
        sys.exit(1)
    say("[INFO] Engine written")


def main() -> None:
    log_call()
    options, file = read_options(sys.argv[1:])
    if "k" not in options:
        refuse("-k is required")
    precision = options.get("t", ["fp32"])[0]
    if precision not in ("fp32", "fp16", "int8"):
        refuse(f"-t {precision} is none of fp32, fp16, int8")
    if options.get("i", ["nchw"])[0] not in ("nchw", "nhwc", "nc"):
        refuse("-i is none of nchw, nhwc, nc")
    whole_number(options, "w", 1 << 30)
    check_calibration(options, precision)
    if os.environ.get("FAKE_GPUS") == "":
        say("[ERROR] CUDA initialization failure with error: 100")
        sys.exit(1)
    network = read_network(file, options["k"][0])
    check = check_uff if network["kind"] == "uff" else check_onnx
    batch = check(options, network)
    head = {
        "tensorrt": os.environ.get("FAKE_TENSORRT", "8603"),
        "precision": precision,
        "implicit": network["kind"] == "uff",
        "inputs": network["inputs"],
        "outputs": network["outputs"],
        "batch": batch,
        # No two builds of TensorRT give the same bytes either.
        "build": os.urandom(8).hex(),
    }
    stub = f"FAKE ENGINE {json.dumps(head)}\n".encode() + b"\0" * 4096 + b"END\n"
    write_engine(Path(options.get("e", ["./saved.engine"])[0]), stub)


if __name__ == "__main__":
    main()

"""What a tool's last lines mean, and what to do about it."""

from __future__ import annotations

import re
import signal

from conversion.toolrun import ToolRun
from facekit.engines.manifest import REPAIR

# What the tools print, the likely cause, and the way out; the first that fits is said.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"encoding key|failed to decode|wrong key",
        "the key does not open the file",
        "put the key it was encrypted with into `key:` of the weights' stanza",
    ),
    (
        r"out ?of ?memory|cudaErrorMemoryAllocation|insufficient memory",
        "the GPU has too little free memory",
        "end what else uses it (docker compose stop triton-server), then run the converter again",
    ),
    (
        r"error while loading shared libraries: (\S+?):",
        "a library that the tool needs is missing",
        f"run it in the converter's image, whose TensorRT fits the tool: {REPAIR}",
    ),
    (
        r"not compatible with this version of TensorRT|version tag does not match",
        "the tool and TensorRT are of different versions",
        "take a tool that fits: conversion/releases.yaml tells which",
    ),
    (
        r"CUDA initialization failure|no CUDA-capable device|driver version is insufficient",
        "CUDA finds no usable GPU",
        "see that nvidia-smi works on the host, and that the container is given the GPU",
    ),
    (
        r"magic ?tag",
        "the tool left half an engine, or a damaged one",
        "see that there is room left (df), then run the converter again",
    ),
    (
        r"no space left on device",
        "the disk is full",
        "make room, then run the converter again",
    ),
    (
        r"permission denied|read-only file system",
        "the tool may not write there",
        "see who owns the folders: FACEKIT_UID and FACEKIT_GID in .env",
    ),
    (
        r"exec format error",
        "the tool is for another processor",
        "delete it, and fetch the one for this machine",
    ),
    (
        r"unknown option|unrecognized|invalid option",
        "the tool does not know an option: it is of another version",
        "take a tool that fits: conversion/releases.yaml tells which",
    ),
)


def explain(run: ToolRun, what: str, tool: str, model: str) -> str:
    """Return what went wrong, the tool's last lines, the likely cause and what to do.

    Args:
        run: how the tool ended.
        what: what is wrong with its result, as a clause.
        tool: the tool's name.
        model: what it worked on.
    """
    lines = [f"{model}: {tool} {run.ending}, and {what}"]
    if run.tail:
        lines += ["its last lines:", *(f"  | {line}" for line in run.tail)]
    cause, remedy = _cause(run)
    if cause:
        lines.append(f"likely: {cause}")
    lines.append(f"what to do: {remedy}")
    return "\n".join(lines)


def _cause(run: ToolRun) -> tuple[str, str]:
    text = "\n".join(run.tail)
    for pattern, cause, remedy in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            return cause, remedy
    if run.timed_out:
        return (
            "the tool hangs: a build takes minutes",
            "run the converter again; if it hangs again, restart the machine's GPU driver",
        )
    if run.code == -signal.SIGKILL:
        return (
            "the machine ran out of memory, and the kernel ended the tool",
            "give the container more memory (its limit is in docker-compose.yml)",
        )
    if run.code < 0:
        return (
            "the tool crashed, which it does with a TensorRT it was not made for",
            "take a tool that fits: conversion/releases.yaml tells which",
        )
    return "", "read its lines above, then run the converter again"

"""Which GPUs a TensorRT knows, and the known holes of a Triton.

The converter plans by it, a server checks it at its start, and ``facekit status`` reports it. All
else that is known of a release is in ``conversion/releases.yaml``.
"""

import re

from facekit.engines.machine import Gpu
from facekit.text import count

TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:{}-py3"
"""NVIDIA's image of a Triton tag, such as ``24.04``."""

# From this TensorRT on: the last tag that has such a one, the oldest and the newest compute
# capability. "Hardware and Precision" in TensorRT's support matrices of 8.6, 10.1 and 10.8, its
# release notes of 10.5 (Volta removed), and those of the images (24.04: from 6.0; 26.10: from 7.5).
_GPUS = (
    ("8.6", "24.04", "6.0", "9.0"),
    ("10.0", "24.09", "7.0", "9.0"),
    ("10.5", "24.12", "7.5", "9.0"),
    ("10.8", "25.07", "7.5", "12.0"),
    ("10.13", "26.10", "7.5", "12.1"),
)
# The version and the tag that closed them: what concerns this kit of NVIDIA's security bulletins.
# docs/security.md tells what each is, and what the kit does about it.
_HOLES = (
    ("2.59.1", "25.07", "CVE-2025-23310/23311"),
    ("2.59.1", "25.07", "CVE-2025-23319/23320/23334"),
    ("2.62.0", "25.10", "CVE-2025-33201/33211"),
    ("2.66.0", "26.02", "CVE-2026-24146/24173/24174/24175"),
    ("2.67.0", "26.03", "CVE-2026-24206/24207"),
    ("2.67.0", "26.03", "CVE-2026-24213/24214/24215"),
    ("2.68.0", "26.04", "CVE-2026-24264"),
    ("2.68.0", "26.04", "CVE-2026-47625"),
    ("2.71.0", "26.07", "CVE-2026-16497"),
)


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers: (8, 6, 3) of ``8.6.3``."""
    return tuple(int(part) for part in re.findall(r"\d+", version)) or (0,)


def known_holes(version: str) -> str:
    """Return one line about the known holes of a Triton version, such as ``2.51.0``; "" for none.

    A version that is not known is "" too.

    >>> known_holes("2.68.0")
    'Triton 2.68.0 has known holes (1 CVE, the last closed in 26.07; see docs/security.md): \
let only trusted clients reach it'
    >>> known_holes("2.71.0")
    ''
    """
    found = [(tag, hole) for fixed, tag, hole in _HOLES if numbers(version) < numbers(fixed)]
    if not version or not found:
        return ""
    number = sum(1 + hole.count("/") for _, hole in found)
    return (
        f"Triton {version} has known holes ({count(number, 'CVE')}, the last closed in "
        f"{found[-1][0]}; see docs/security.md): let only trusted clients reach it"
    )


def gpu_problem(gpu: Gpu, tensorrt: str) -> str | None:
    """Return why a TensorRT has no engine for a GPU, and the Triton that has; ``None`` if it has.

    A GPU newer than every one known here is left to the newest TensorRT to judge.
    """
    capability = numbers(gpu.compute_capability)
    rows = [span for since, _, *span in _GPUS if numbers(since) <= numbers(tensorrt)]
    is_unknown = capability > numbers(_GPUS[-1][-1])
    if not rows or _within(capability, *rows[-1]) or (is_unknown and len(rows) == len(_GPUS)):
        return None
    fits = [tag for _, tag, *span in _GPUS if is_unknown or _within(capability, *span)]
    remedy = "take a newer GPU"
    if fits:
        remedy = f"take Triton {fits[-1]} (TRITON_IMAGE={TRITON_IMAGE.format(fits[-1])} in .env)"
    oldest, newest = rows[-1]
    return (
        f"{gpu} is too {'old' if capability < numbers(oldest) else 'new'} for TensorRT {tensorrt}, "
        f"which knows compute capabilities {oldest} to {newest}: {remedy}"
    )


def _within(capability: tuple[int, ...], oldest: str, newest: str) -> bool:
    return numbers(oldest) <= capability <= numbers(newest)

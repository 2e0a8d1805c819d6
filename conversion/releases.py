"""Which versions of Triton, TensorRT, DALI and ``tao-converter`` fit together (``releases.yaml``).

An ``.etlt`` is a one-way street: only ``tao-converter`` reads it, the last one is for TensorRT
8.6, and TensorRT has no reader of UFF graphs from version 9 on. Whoever asks for more is told
here, before anything is downloaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conversion.catalog import Format, License, Weights
from conversion.errors import ReleaseError
from conversion.yaml_nodes import Entry, listed, read

TABLE = Path(__file__).with_name("releases.yaml")

ARCHITECTURES = ("x86_64", "aarch64")
"""Processors, named as ``platform.machine()`` does."""

UFF_ENDS = 9
"""First major version of TensorRT without a UFF reader (tao_deploy: ``UFF_ENABLED = trt < 9``)."""

TOOL_LICENSE = License(
    name="NVIDIA TAO Toolkit Model EULA",
    url="https://developer.nvidia.com/deep-learning-models-license-agreement",
    accept=True,
)
"""What ``tao-converter`` is under, also where the network is somebody's own."""

TAG_VARIABLE = "NVIDIA_TRITON_SERVER_VERSION"
"""NVIDIA's images hold their own tag in it, such as ``24.04``."""

_TAG = re.compile(r"\d\d\.\d\d")
_JETSON = "_jp"
_VERSION = re.compile(r"\d+(\.\d+){1,3}")


@dataclass(frozen=True)
class Release:
    """One Triton image and what fits it.

    Attributes:
        tag: of ``nvcr.io/nvidia/tritonserver:<tag>-py3``.
        tensorrt: what the image holds, such as ``8.6.3``.
        dali: what the image's DALI backend is.
        dali_wheel: the PyPI wheel whose serialized pipelines that backend reads.
        tao_converter: its version on NGC by processor; empty where none fits.
    """

    tag: str
    tensorrt: str
    dali: str
    dali_wheel: str
    tao_converter: Mapping[str, str]


@dataclass(frozen=True)
class Releases:
    """The whole table, oldest first."""

    known: tuple[Release, ...]
    default: Release

    def by_tag(self, tag: str) -> Release:
        """Return the release of a Triton tag.

        Raises:
            ReleaseError: the table does not hold it.
        """
        for release in self.known:
            if release.tag == tag:
                return release
        known = ", ".join(release.tag for release in self.known)
        raise ReleaseError(f"Triton {tag} is not in {TABLE.name}; known are {known}")

    def here(self, environment: Mapping[str, str] = os.environ) -> Release | None:
        """Return the release of the image that this runs in; ``None`` if it is not known."""
        tag = environment.get(TAG_VARIABLE, "")
        return next((release for release in self.known if release.tag == tag), None)

    def by_tensorrt(self, version: str) -> Release | None:
        """Return the release with this TensorRT: the default, or the newest; ``None`` if none."""
        wanted = numbers(version)[:3]
        fits = [release for release in self.known if numbers(release.tensorrt)[:3] == wanted]
        if self.default in fits:
            return self.default
        return fits[-1] if fits else None

    def tao_converter(self, tensorrt: str, architecture: str) -> str:
        """Return the version of ``tao-converter`` for a TensorRT and a processor.

        Another patch of the same TensorRT, such as 8.6.1, takes the same one: it loads whatever
        TensorRT the machine has.

        Raises:
            ReleaseError: there is none; says what else can be done.
        """
        wanted = numbers(tensorrt)
        for length in (3, 2):
            for release in reversed(self.known):
                same = numbers(release.tensorrt)[:length] == wanted[:length]
                if same and architecture in release.tao_converter:
                    return release.tao_converter[architecture]
        known = sorted({name for release in self.known for name in release.tao_converter})
        raise ReleaseError(
            f"NVIDIA has no tao-converter for TensorRT {tensorrt} on {architecture} (known: "
            f"{self._spoken_range()}, {listed(known)}). {self._ways_out()}"
        )

    def check(self, weights: Weights, tensorrt: str, architecture: str) -> str | None:
        """Check that weights can be built with a TensorRT on a kind of processor.

        Returns:
            A warning, where it may well work but is not known to.

        Raises:
            ReleaseError: it can't work; says why, and the ways out.
        """
        major = numbers(tensorrt)[0]
        if weights.format is not Format.ONNX and major >= 10:
            raise ReleaseError(
                f"TensorRT {tensorrt} cannot read a UFF or .etlt model. {self._ways_out()}"
            )
        if weights.format is Format.UFF_ETLT and major >= UFF_ENDS:
            raise ReleaseError(
                f"TensorRT {tensorrt} cannot read a UFF model; version {UFF_ENDS - 1} was the "
                f"last. {self._ways_out()}"
            )
        if weights.format is not Format.ONNX:
            version = self.tao_converter(tensorrt, architecture)
            if _JETSON in version:
                return f"tao-converter {version} is made for JetPack, not for other {architecture}"
        if self.by_tensorrt(tensorrt) is None:
            known = ", ".join(dict.fromkeys(release.tensorrt for release in self.known))
            return f"TensorRT {tensorrt} is not in conversion/{TABLE.name}; known are {known}"
        return None

    def _spoken_range(self) -> str:
        tags = [release.tag for release in self.known if release.tao_converter]
        versions = dict.fromkeys(r.tensorrt for r in self.known if r.tao_converter)
        return f"TensorRT {listed(list(versions))} of Triton {tags[0]} to {tags[-1]}"

    def _ways_out(self) -> str:
        tags = [release.tag for release in self.known if release.tao_converter]
        return f"Ways out: --weights open, or Triton {tags[0]} to {tags[-1]}"


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers.

    >>> numbers("8.6.3")
    (8, 6, 3)
    """
    return tuple(int(part) for part in re.findall(r"\d+", version)) or (0,)


def load(path: Path = TABLE) -> Releases:
    """Return the table.

    Raises:
        ReleaseError: it is wrong; names file, line, key and what was expected.
    """
    root = read(path, ReleaseError)
    fields = root.fields(("default", "releases"))
    entries = fields["releases"].entries() if "releases" in fields else {}
    if "releases" in fields and not entries:
        fields["releases"].expected("at least one release")
    found = [_release(tag, entry) for tag, entry in entries.items()]
    found.sort(key=lambda release: numbers(release.tag))
    default = ""
    if "default" in fields:
        default = fields["default"].text('a tag in quotes, such as "24.04"')
        if default and default not in entries:
            fields["default"].expected(f"one of {listed(entries)}")
    if found and not any(release.tao_converter for release in found):
        fields["releases"].add("expected a release with a tao_converter")
    root.problems.stop()
    by_tag = {release.tag: release for release in found}
    return Releases(tuple(found), by_tag[default])


def _release(tag: str, entry: Entry) -> Release:
    if not _TAG.fullmatch(tag):
        entry.add("expected a tag such as 24.04")
    fields = entry.fields(("tensorrt", "dali", "dali_wheel", "tao_converter"))
    versions = {}
    for name in ("tensorrt", "dali", "dali_wheel"):
        versions[name] = ""
        if name in fields:
            versions[name] = fields[name].text("a version in quotes")
            if versions[name] and not _VERSION.fullmatch(versions[name]):
                fields[name].expected("a version such as 8.6.3")
    converters = {}
    if "tao_converter" in fields:
        for architecture, value in fields["tao_converter"].entries().items():
            if architecture not in ARCHITECTURES:
                value.add(f"unknown processor; known are {listed(ARCHITECTURES)}")
            converters[architecture] = value.text("the version's name on NGC")
    return Release(tag, tao_converter=converters, **versions)

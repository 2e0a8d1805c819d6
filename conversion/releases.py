"""Which versions of Triton, TensorRT, DALI and ``tao-converter`` fit together (``releases.yaml``).

Only ``tao-converter`` reads an ``.etlt``, the last one is for TensorRT 8.6, and TensorRT has no
reader of UFF graphs from version 9 on. Who asks for more is told before anything is downloaded.
"""

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from conversion.catalog import Format, License, Weights, listed
from conversion.errors import ReleaseError
from conversion.yaml_file import Entry, YamlFile, matching

TABLE = Path(__file__).with_name("releases.yaml")
UFF_ENDS = 9
"""First major version of TensorRT without a UFF reader (tao_deploy: ``UFF_ENABLED = trt < 9``)."""

TOOL_LICENSE = License(
    name="NVIDIA TAO Toolkit Model EULA",
    url="https://developer.nvidia.com/deep-learning-models-license-agreement",
    accept=True,
)
"""The license of ``tao-converter``, also where the network is somebody's own."""

TAG_VARIABLE = "NVIDIA_TRITON_SERVER_VERSION"
"""NVIDIA's images hold their own tag in it, such as ``24.04``."""

_JETPACK = "_jp"
_BASE_TAG = re.compile(r":(\d\d\.\d\d)-py3")

Tag = Annotated[str, matching(r"\d\d\.\d\d", 'a tag in quotes, such as "24.04"')]
Version = Annotated[str, matching(r"\d+(\.\d+){1,3}", "a version such as 8.6.3")]


class Release(Entry):
    """One Triton image and what fits it.

    The image's DALI backend reads pipelines of the PyPI wheel ``dali_wheel``. ``tao_converter`` is
    the version on NGC by processor, as ``platform.machine()`` names it.
    """

    tensorrt: Version
    dali: Version
    dali_wheel: Version
    tao_converter: dict[Literal["x86_64", "aarch64"], str]


class Releases(Entry):
    """The whole table: releases by the tag of ``nvcr.io/nvidia/tritonserver:<tag>-py3``."""

    default_tag: Tag = Field(alias="default")
    releases: Annotated[dict[Tag, Release], Field(min_length=1)]

    @cached_property
    def known(self) -> dict[str, Release]:
        """All releases, oldest first."""
        return dict(sorted(self.releases.items()))

    @property
    def default(self) -> Release:
        """The release that the images are built on."""
        return self.releases[self.default_tag]

    def by_tag(self, tag: str) -> Release:
        """Return the release of a Triton tag; raises ReleaseError if the table does not have it."""
        if tag in self.releases:
            return self.releases[tag]
        raise ReleaseError(f"Triton {tag} is not in {TABLE.name}; known are {listed(self.known)}")

    def here(self, environment: Mapping[str, str] = os.environ) -> Release | None:
        """Return the release of the image that this runs in; ``None`` if it is not known."""
        return self.releases.get(environment.get(TAG_VARIABLE, ""))

    def by_tensorrt(self, version: str) -> Release | None:
        """Return the release with this TensorRT: the default, or the newest; ``None`` if none."""
        fits = [
            release
            for release in (*self.known.values(), self.default)
            if numbers(release.tensorrt)[:3] == numbers(version)[:3]
        ]
        return fits[-1] if fits else None

    def tao_converter(self, tensorrt: str, architecture: str) -> str:
        """Return the version of ``tao-converter`` for a TensorRT and a processor.

        Another patch of the same TensorRT, such as 8.6.1, takes the same one: it loads whatever
        TensorRT the machine has. Where there is none, ReleaseError says what else can be done.
        """
        for length in (3, 2):
            for release in reversed(self.known.values()):
                same = numbers(release.tensorrt)[:length] == numbers(tensorrt)[:length]
                if same and architecture in release.tao_converter:
                    return release.tao_converter[architecture]
        processors = sorted({name for r in self.known.values() for name in r.tao_converter})
        versions = dict.fromkeys(r.tensorrt for r in self.known.values() if r.tao_converter)
        raise ReleaseError(
            f"NVIDIA has no tao-converter for TensorRT {tensorrt} on {architecture} (known: "
            f"TensorRT {listed(versions)} on {listed(processors)}). {self._alternatives()}"
        )

    def check(self, weights: Weights, tensorrt: str, architecture: str) -> str | None:
        """Check that weights can be built with a TensorRT on a kind of processor.

        Returns a warning where that may well work but is not known to; a ReleaseError says why it
        can't, and the alternatives.
        """
        major, cannot = numbers(tensorrt)[0], f"TensorRT {tensorrt} cannot read a UFF"
        if weights.format is not Format.ONNX and major >= 10:
            raise ReleaseError(f"{cannot} or .etlt model. {self._alternatives()}")
        if weights.format is Format.UFF_ETLT and major >= UFF_ENDS:
            last = f"version {UFF_ENDS - 1} was the last"
            raise ReleaseError(f"{cannot} model; {last}. {self._alternatives()}")
        if weights.format is not Format.ONNX:
            version = self.tao_converter(tensorrt, architecture)
            if _JETPACK in version:
                return f"tao-converter {version} is made for JetPack, not for other {architecture}"
        if self.by_tensorrt(tensorrt) is None:
            known = dict.fromkeys(release.tensorrt for release in self.known.values())
            return (
                f"TensorRT {tensorrt} is not in conversion/{TABLE.name}; known are {listed(known)}"
            )
        return None

    def dali_for(self, base: str, wanted: str) -> str:
        """Return the DALI for an image to build on: ``wanted``, if not "", or the newest that fits.

        Raises ReleaseError if the base's Triton does not read what that writes, or is unknown.
        """
        found = _BASE_TAG.search(base)
        if found is None:  # a user's own image, of which nothing is known
            return wanted or self.default.dali_wheel
        # A release that is not in the table reads at least what the one before it does.
        before = [tag for tag in self.known if tag <= found[1]]
        if not before:
            if wanted:
                return wanted
            raise ReleaseError(
                f"{base}: conversion/{TABLE.name} has no Triton this old (the first is "
                f"{next(iter(self.known))}): set DALI_VERSION in .env to a version that it reads"
            )
        release = self.known[before[-1]]
        newest = numbers(release.dali)
        if found[1] in self.known and numbers(wanted)[: len(newest)] > newest:
            raise ReleaseError(
                f"DALI_VERSION={wanted} is newer than the DALI of {base} ({release.dali}), which "
                "cannot read the pipelines of a newer one: leave it out, or set it to "
                f"{release.dali_wheel}"
            )
        return wanted or release.dali_wheel

    def _alternatives(self) -> str:
        tags = [tag for tag, release in self.known.items() if release.tao_converter]
        return f"Alternatives: --weights open, or Triton {tags[0]} to {tags[-1]}"


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers: (8, 6, 3) of ``8.6.3``."""
    return tuple(int(part) for part in re.findall(r"\d+", version)) or (0,)


def load_releases(path: Path = TABLE) -> Releases:
    """Return the table; a ReleaseError names file, line and key of what is wrong in it."""
    file = YamlFile(path, Releases, ReleaseError)
    if file.root.default_tag not in file.root.releases:
        expected = f"expected one of {listed(file.root.releases)}, got {file.root.default_tag!r}"
        file.add(("default",), expected)
    if not any(release.tao_converter for release in file.root.releases.values()):
        file.add(("releases",), "expected a release with a tao_converter")
    file.check()
    return file.root

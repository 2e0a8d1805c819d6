"""Which versions of Triton, TensorRT and ``tao-converter`` fit together (``releases.yaml``).

Only ``tao-converter`` reads an ``.etlt``, the last one is for TensorRT 8.6, and TensorRT has no
reader of UFF graphs from version 9 on. Who asks for more is told before anything is downloaded.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from conversion.catalog import Format, License, Weights, listed
from conversion.errors import ReleaseError
from conversion.yaml_file import Entry, YamlFile, matching
from facekit.engines.machine import Gpu
from facekit.engines.releases import gpu_problem, known_holes, numbers

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
# Xavier and Orin. Their images are of their own, until JetPack 7.
_JETSONS = ("7.2", "8.7")

Tag = Annotated[str, matching(r"\d\d\.\d\d", 'a tag in quotes, such as "24.04"')]
Version = Annotated[str, matching(r"\d+(\.\d+){0,3}", "a version such as 8.6.3")]


class Release(Entry):
    """One Triton image: versions of what is in it, ``None`` where that is not established.

    ``server`` is the version of Triton itself, ``driver`` the NVIDIA driver that the image is made
    for. ``tao_converter`` is the version on NGC by processor, as ``platform.machine()`` names it.
    """

    server: Version
    tensorrt: Version
    cuda: Version
    dali: Version | None = None
    python: Version
    driver: int
    tao_converter: dict[Literal["x86_64", "aarch64"], str] = {}


class Releases(Entry):
    """The whole table: releases by the tag of ``nvcr.io/nvidia/tritonserver:<tag>-py3``."""

    releases: Annotated[dict[Tag, Release], Field(min_length=1)]

    @cached_property
    def known(self) -> dict[str, Release]:
        """All releases, oldest first."""
        return dict(sorted(self.releases.items()))

    @property
    def etlt_tags(self) -> list[str]:
        """The tags that read an ``.etlt``, oldest first."""
        return [tag for tag, release in self.known.items() if release.tao_converter]

    def nearest(self, tag: str, tensorrt: str = "") -> tuple[str, str]:
        """Return the tag that a Triton is treated as, and a warning if that is not its own.

        One that is not in the table is treated as the newest of its TensorRT's major version, or as
        the last before it. ``tag`` is "" for an image that is not NVIDIA's. Raises ReleaseError for
        a Triton older than the table.
        """
        if tag in self.known:
            return tag, ""
        exact, major = (
            [t for t, r in self.known.items() if _starts(r.tensorrt, n) == _starts(tensorrt, n)]
            for n in (3, 1)
        )
        if exact and not tag:
            return exact[-1], ""
        like = exact or major or [known for known in self.known if not tag or known <= tag]
        if not like:
            raise ReleaseError(
                f"Triton {tag} is not in {TABLE.name}; known are {_span(self.known)}"
            )
        what = f"Triton {tag}" if tag else f"TensorRT {tensorrt}"
        table = f"conversion/{TABLE.name}"
        return like[-1], f"{what} is not in {table}: treated as Triton {like[-1]}, and untested"

    def best(
        self, weights: Iterable[Weights], gpus: Sequence[Gpu] = (), driver: int | None = None
    ) -> str:
        """Return the tag to build on: the newest without known holes for these weights and GPUs.

        An ``.etlt`` leaves no choice. Where the NVIDIA driver is older than all without holes are
        made for, it is the oldest of those; where no such one knows the GPUs, the newest that does.
        """
        if any(each.format is not Format.ONNX for each in weights):
            return self.etlt_tags[-1]
        fits = {
            tag: release
            for tag, release in self.known.items()
            if not any(gpu_problem(gpu, release.tensorrt) for gpu in gpus)
        }
        safe = [tag for tag in fits if not known_holes(fits[tag].server)]
        drivable = [tag for tag in safe if driver is None or fits[tag].driver <= driver]
        return (drivable or safe[:1] or list(fits) or list(self.known))[-1]

    def notes(self, tag: str, weights: Iterable[Weights]) -> list[str]:
        """Return a line about the known holes of a release, and whether that can be helped."""
        holes = known_holes(self.known[tag].server)
        if holes and any(each.format is not Format.ONNX for each in weights):
            holes += (
                f". Only Triton {_span(self.etlt_tags)} reads NVIDIA's .etlt; --weights open takes "
                f"{self.best(())}, without known holes"
            )
        return [holes] if holes else []

    def tao_converter(self, tensorrt: str, architecture: str) -> str:
        """Return the version of ``tao-converter`` for a TensorRT and a processor.

        Another patch of the same TensorRT, such as 8.6.1, takes the same one: it loads whatever
        TensorRT the machine has. Where there is none, ReleaseError says what else can be done.
        """
        for length in (3, 2):
            for release in reversed(self.known.values()):
                same = _starts(release.tensorrt, length) == _starts(tensorrt, length)
                if same and architecture in release.tao_converter:
                    return release.tao_converter[architecture]
        processors = sorted({name for r in self.known.values() for name in r.tao_converter})
        versions = dict.fromkeys(r.tensorrt for r in self.known.values() if r.tao_converter)
        raise ReleaseError(
            f"NVIDIA has no tao-converter for TensorRT {tensorrt} on {architecture} (known: "
            f"TensorRT {listed(versions)} on {listed(processors)}). {self._alternatives()}"
        )

    def check(
        self, weights: Weights, tensorrt: str, architecture: str, gpus: Sequence[Gpu] = ()
    ) -> str | None:
        """Check that weights can be built with a TensorRT on a kind of processor, for some GPUs.

        Returns a warning where that may well work but is not known to; a ReleaseError says why it
        can't, and the alternatives.
        """
        major, cannot = numbers(tensorrt)[0], f"TensorRT {tensorrt} cannot read a UFF"
        is_onnx = weights.format is Format.ONNX
        # No other TensorRT reads an .etlt, whichever this is.
        reads = tensorrt if is_onnx else self.known[self.etlt_tags[-1]].tensorrt
        for gpu in gpus:
            if problem := gpu_problem(gpu, reads):
                needs_open = "" if is_onnx else "; it reads no .etlt: --weights open"
                raise ReleaseError(problem + needs_open)
        if not is_onnx and major >= 10:
            raise ReleaseError(f"{cannot} or .etlt model. {self._alternatives()}")
        if weights.format is Format.UFF_ETLT and major >= UFF_ENDS:
            last = f"version {UFF_ENDS - 1} was the last"
            raise ReleaseError(f"{cannot} model; {last}. {self._alternatives()}")
        version = "" if is_onnx else self.tao_converter(tensorrt, architecture)
        jetsons = [str(gpu) for gpu in gpus if gpu.compute_capability in _JETSONS]
        if _JETPACK in version and not jetsons:
            return f"tao-converter {version} is made for JetPack, not for other {architecture}"
        if jetsons:
            return (
                f"{jetsons[0]} is a Jetson, on which this kit was never tried: before JetPack 7 it "
                "needs NVIDIA's <tag>-py3-igpu (TRITON_IMAGE in .env)"
            )
        return None

    def _alternatives(self) -> str:
        return f"Alternatives: --weights open, or Triton {_span(self.etlt_tags)}"


def tag_of(image: str) -> str:
    """Return the Triton tag of an image's name; "" for an image that is not NVIDIA's."""
    found = re.search(r":(\d\d\.\d\d)-py3", image)
    return found[1] if found else ""


def load_releases(path: Path = TABLE) -> Releases:
    """Return the table; a ReleaseError names file, line and key of what is wrong in it."""
    file = YamlFile(path, Releases, ReleaseError)
    if not any(release.tao_converter for release in file.root.releases.values()):
        file.add(("releases",), "expected a release with a tao_converter")
    file.check()
    return file.root


def _starts(version: str, length: int) -> tuple[int, ...]:
    return numbers(version)[:length]


def _span(tags: Iterable[str]) -> str:
    first, *_, last = tags
    return f"{first} to {last}"

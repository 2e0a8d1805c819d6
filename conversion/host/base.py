"""Which Triton image the converter is built on, and whether that fits the weights and the GPU."""

import argparse
import platform
import re
import subprocess
from collections.abc import Sequence

from conversion.catalog import Weights
from conversion.catalog_file import load_catalog
from conversion.cli import build_parser
from conversion.errors import CatalogError, ReleaseError
from conversion.host.checks import Finding, State
from conversion.host.compose import Settings
from conversion.releases import TAG_VARIABLE, load_releases, tag_of
from conversion.selection import WEIGHTS_VARIABLE, select
from facekit.engines.machine import Gpu
from facekit.engines.releases import TRITON_IMAGE

_TIMEOUT_S = 20.0
_GPU_LINE = re.compile(r"(.+), (\d+\.\d+), (\d+)\.")


def selected_weights(
    args: argparse.Namespace, arguments: Sequence[str], settings: Settings, tag: str
) -> list[Weights]:
    """Return the weights that the converter is asked for; none where it will refuse the request.

    ``args`` are the host's own options, ``arguments`` the converter's. ``tag`` is that of the image
    that was asked for; "" for none.
    """
    asked = build_parser().parse_args(arguments)
    environment = {WEIGHTS_VARIABLE: settings.weights, TAG_VARIABLE: tag}
    try:
        catalog = load_catalog(args.models, repository=settings.repository)
        jobs = select(catalog, asked.weights, asked.model, environment)
    except CatalogError:
        return []
    return [job.weights for job in jobs]


def host_gpus(ids: str) -> tuple[list[Gpu], int | None]:
    """Return GPUs of this host, by index or UUID, and the major version of its NVIDIA driver.

    What ``nvidia-smi`` does not tell, is told by the container later.
    """
    query = ["nvidia-smi", f"--id={ids}", "--query-gpu=name,compute_cap,driver_version"]
    try:
        done = subprocess.run(
            [*query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return [], None
    found = [line for each in done.stdout.splitlines() if (line := _GPU_LINE.match(each))]
    return [Gpu(line[1], line[2]) for line in found], int(found[0][3]) if found else None


def best_image(weights: Sequence[Weights], gpus: Sequence[Gpu], driver: int | None) -> str:
    """Return the image to build on where none was asked for."""
    return TRITON_IMAGE.format(load_releases().best(weights, gpus, driver))


def check_base(
    settings: Settings, weights: Sequence[Weights], gpus: Sequence[Gpu], driver: int | None
) -> list[Finding]:
    """Return whether the weights can be built on the base for these GPUs; nothing is fetched.

    Raises ReleaseError for a Triton older than those known.
    """
    tag = tag_of(settings.base)
    if not tag:
        return [Finding("base", State.OK, f"{settings.base}, which is not known here")]
    table = load_releases()
    nearest, note = table.nearest(tag)
    release = table.known[nearest]
    try:
        remarks = {
            table.check(each, release.tensorrt, platform.machine(), gpus) for each in weights
        }
    except ReleaseError as error:
        return [Finding("base", State.FAILED, f"Triton {tag}: {error}")]
    if driver is not None and driver < release.driver:
        remarks.add(
            f"the NVIDIA driver {driver} is older than {release.driver}, for which Triton {tag} is "
            "made: if the container does not start, install a newer one"
        )
    warnings = filter(None, (note, *table.notes(nearest, weights), *remarks))
    names = ", ".join(dict.fromkeys(map(str, gpus)))
    text = f"Triton {tag}, TensorRT {release.tensorrt}" + (f", for {names}" if names else "")
    return [
        Finding("base", State.OK, text),
        *(Finding("base", State.WARNING, warning) for warning in warnings),
    ]

"""What is measured on what: the machine, and what a server tells of its own models."""

import hashlib
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from facekit.client.connection import Connection
from facekit.contract import MODELS, is_optional
from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.engines.configs import parameters
from facekit.errors import DISTRIBUTION, ServerError
from facekit.limits import MAX_TIMEOUT_S

_PACKAGES = (
    DISTRIBUTION,
    "numpy",
    "nvidia-pytriton",
    "nvidia-dali-cuda120",
    "onnxruntime",
    "pillow",
    "scikit-learn",
    "tritonclient",
)
_PHASES = {
    "queue_ms": "queue",
    "input_ms": "compute_input",
    "infer_ms": "compute_infer",
    "output_ms": "compute_output",
}


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory, load, system and Python as text."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": str(cores()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": platform.platform(aliased=True, terse=True),
        "python": platform.python_version(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that matter, those installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def file_hashes(repository: Path) -> dict[str, str]:
    """Return the first 12 digits of the SHA-256 of each model file of a repository."""
    files = sorted((*repository.glob("*/1/*.onnx"), *repository.glob("*/1/*.cpu.dali")))
    return {
        f"{path.parent.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in files
    }


def configuration_text(configuration: dict[str, Any]) -> str:
    """Return the configuration of a run, one indented block a part."""
    lines = []
    for part, values in configuration.items():
        lines.append(part)
        width = max(map(len, values))
        for name, value in values.items():
            if isinstance(value, dict):
                text = ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
            else:
                text = _plain(value)
            lines.append(f"  {name.ljust(width)}  {text}")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Settings:
    """How a server is configured, as far as the bound must know to do the same work."""

    color: str
    """What FaceNet is fed, ``gray`` or ``rgb``."""
    parameters: list[ClusteringParameters]
    """Of the clustering, one a class."""
    points: int
    """Landmarks of a face."""
    reduces: bool
    """Whether large JPEGs are decoded smaller."""


class ServerInfo:
    """Asks the server at ``host:port`` about itself; every question may raise ServerError."""

    def __init__(self, url: str) -> None:
        # With the options of every client of the kit, such as no proxy to this machine's servers.
        self._client = Connection(url, MAX_TIMEOUT_S).opened(triton.InferenceServerClient)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def version(self) -> str:
        """Return Triton's version."""
        return str(self._ask(self._client.get_server_metadata).version)

    def serves(self, model: str) -> bool:
        """Return whether it has a model; one that every server must have counts as there."""
        if not is_optional(model):
            return True
        try:
            self._client.get_model_config(model)
        except InferenceServerException:
            return False
        return True

    def instances(self) -> dict[str, str]:
        """Return backend, instance count and threads of every model the kit knows."""
        found = {}
        for name in filter(self.serves, MODELS):
            config = self._config(name)
            count = sum(group.count for group in config.instance_group)
            if config.platform != "ensemble":
                threads = [
                    f", {key} {config.parameters[key].string_value}"
                    for key in ("intra_op_thread_count", "num_threads")
                    if key in config.parameters
                ]
                found[name] = f"{config.backend} x{count}{''.join(threads)}"
        return found

    def settings(self) -> Settings:
        """Return how the models are configured; raises ConfigError for wrong parameters."""
        postprocess = self._config("facenet_postprocess")
        names = [f"class {k}" for k in range(int(postprocess.input[1].dims[0]))]
        return Settings(
            color=self._config("facenet_preprocess").default_model_filename.partition(".")[0],
            parameters=parse_parameters(parameters(postprocess), names, others=("label_file",)),
            points=int(self._config("fpenet").output[0].dims[0]),
            reduces="reduced_decode" in self._config("photo_reduce").parameters,
        )

    def counters(self) -> dict[str, Any]:
        """Return Triton's statistics by model, to be given to ``stages_since``."""
        answer = self._ask(self._client.get_inference_statistics)
        return {entry.name: entry for entry in answer.model_stats if entry.name in MODELS}

    def stages_since(self, before: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the mean times of a request in the models that answered since ``before``.

        In milliseconds: waiting for a free instance, gathering the inputs, the model itself (for
        Triton's Python backend everything but the queue), and handing on the outputs. ``batch`` is
        the mean number of samples of one execution.
        """
        stages = []
        after = self.counters()
        for name in (name for name in MODELS if name in after):
            old, new = before[name], after[name]
            requests = new.inference_stats.success.count - old.inference_stats.success.count
            if requests <= 0:
                continue
            executions = new.execution_count - old.execution_count
            samples = new.inference_count - old.inference_count
            stage = {"model": name, "requests": requests, "batch": samples / max(executions, 1)}
            for key, phase in _PHASES.items():
                spent = getattr(new.inference_stats, phase).ns
                stage[key] = (spent - getattr(old.inference_stats, phase).ns) / requests / 1e6
            stages.append(stage)
        return stages

    def _config(self, model: str) -> Any:
        return self._ask(self._client.get_model_config, model).config

    def _ask(self, question: Any, *args: Any) -> Any:
        try:
            return question(*args)
        except InferenceServerException as error:
            raise ServerError(error.message()) from error

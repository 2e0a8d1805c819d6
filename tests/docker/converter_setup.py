"""The converter as a user runs it, with a stand-in for NGC and for the tools of NVIDIA."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from facekit.engines.manifest import (
    EngineManifest,
    engine_path,
    manifest_path,
    read_manifest,
    sha256_of,
)
from tests.docker import engine, pixels
from tests.docker.engine import ROOT
from tests.fakes import networks, nvidia
from tests.fakes.ngc_scenarios import Script
from tests.fakes.ngc_server import NgcServer

BASE = "facekit-test/tritonserver-for-converter:latest"
IMAGE = "facekit-test/converter:latest"
FAKES = ROOT / "tests" / "fakes"
FACENET = "facenet_vpruned_quantized_v2.0.1"
FPENET = "fpenet_vdeployable_v3.0"
TOOL = "tao-converter_v5.1.0_8.6.3.1_x86"
# Not root, and nobody of this machine.
USER = 4711
# Long enough to be cut, resumed and trickled.
NETWORK_BYTES = 20_000
END = b"END\n"


def build_base(debian: str, context: Path) -> str:
    """Build what the converter's image stands on; its cache holds while the stand-ins do."""
    nvidia.build(context / "nvidia" / "lib")
    tools = context / "nvidia" / "tensorrt" / "bin"
    tools.mkdir(parents=True)
    shutil.copyfile(FAKES / "trtexec.py", tools / "trtexec")
    (tools / "trtexec").chmod(0o755)
    dockerfile = Path(__file__).parent / "converter_base" / "Dockerfile"
    return engine.build(BASE, dockerfile, context, "--build-arg", f"DEBIAN_IMAGE={debian}")


def write_downloads(folder: Path) -> Path:
    """Write what NGC has, in the layout that its command line leaves."""
    files = {
        f"{FACENET}/model.etlt": networks.facenet_etlt(size=NETWORK_BYTES),
        f"{FACENET}/int8_calibration.txt": networks.calibration_cache(),
        "facenet_vdeployable_v1.0/model.etlt": networks.facenet_etlt(size=NETWORK_BYTES),
        f"{FPENET}/model.etlt": networks.fpenet_etlt(size=NETWORK_BYTES),
        f"{FPENET}/int8_calibration.txt": networks.calibration_cache(),
        f"{TOOL}/tao-converter": (FAKES / "tao_converter.py").read_bytes(),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    # Also read by the container's user, when it is given with --from.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def gateway() -> str:
    """Return this machine's address as containers see it."""
    (network,) = json.loads(engine.docker("network", "inspect", "bridge"))
    (pool,) = network["IPAM"]["Config"]
    # Older engines leave out the default.
    return str(pool.get("Gateway") or next(ip_network(pool["Subnet"]).hosts()))


class Background(engine.Compose):
    """docker-compose.yml, whose commands can also be started without waiting for their end."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__(env)
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a Compose command, and don't wait for it."""
        process = subprocess.Popen(
            [*self._command, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def down(self) -> None:
        """Remove what a run left, and the processes that a failed test did not wait for."""
        self.run("--profile", "convert", "down", "--remove-orphans", "--timeout", "1")
        for process in self._started:
            process.kill()
            process.communicate()


@dataclass
class Done:
    """How a run ended: its exit code, and both streams of its output."""

    code: int
    output: str

    def __contains__(self, words: str) -> bool:
        # Lines of a table are as wide as they need be.
        return " ".join(words.split()) in " ".join(self.output.split())


@dataclass
class Converter:
    """A model repository of its own, downloads of its own, and a play NGC.

    Attributes:
        compose: the project.
        repository: as a clone has it.
        weights: what was downloaded.
        ngc: the server; its script may be changed between runs.
        env: variables of the container.
    """

    compose: Background
    repository: Path
    weights: Path
    ngc: NgcServer
    env: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str, options: tuple[str, ...] = (), **env: str) -> list[str]:
        """Return the words of Compose that run it."""
        given = {**self.env, **env}
        variables = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
        return ["run", "--rm", "-T", *variables, *options, "converter-cpu", *arguments]

    def run(self, *arguments: str, options: tuple[str, ...] = (), **env: str) -> Done:
        """Run it to its end."""
        done = self.compose.run(*self.command(*arguments, options=options, **env), timeout_s=300)
        return Done(done.returncode, done.stdout + done.stderr)

    def all(self, *arguments: str, **env: str) -> Done:
        """Run all of it, with pipelines for the processor: those of a GPU need CUDA."""
        return self.run("all", "--device", "cpu", *arguments, **env)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start it, and don't wait."""
        return self.compose.start(*self.command(*arguments, **env))

    def container(self) -> str:
        """Return the id of the one that runs, as soon as it does."""

        def running() -> str:
            project = f"label=com.docker.compose.project={self.compose.project}"
            return engine.docker("ps", "--quiet", "--no-trunc", "--filter", project).strip()

        return engine.wait_until(running, "a converter runs", 60)

    def kill(self) -> None:
        """Kill the first process of the one that runs, from this machine and without a warning."""
        os.kill(engine.inspect(self.container())["State"]["Pid"], signal.SIGKILL)

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls of the tools so far."""
        log = self.weights / "tools.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def built(self) -> list[list[str]]:
        """Return the arguments of the calls that build."""
        return [call["argv"] for call in self.calls() if not _loads(call["argv"])]

    def engine(self, model: str) -> EngineManifest:
        """Return what is known of an engine that was made."""
        found = read_manifest(self.repository, model)
        assert found is not None, f"{model} has no engine"
        return found

    def made(self) -> dict[str, bytes]:
        """Return all that lies in the repository, by its path there."""
        return {
            str(path.relative_to(self.repository)): path.read_bytes()
            for path in sorted(self.repository.rglob("*"))
            if path.is_file() and path.name != ".converter.lock"
        }

    def fits(self, model: str) -> bool:
        """Whether an engine is the one of its manifest."""
        return self.engine(model).engine_sha256 == sha256_of(engine_path(self.repository, model))

    def leftovers(self) -> list[str]:
        """Return half files in the repository."""
        return [name for name in self.made() if name.endswith(".part")]


def _loads(argv: list[str]) -> bool:
    return any(word.startswith("--loadEngine") for word in argv)


def half_made(converter: Converter) -> list[str]:
    """Return what a server would find half done: there must be nothing, whenever a run ended."""
    problems = []
    for model in ("facenet", "fpenet", "facemask"):
        path = engine_path(converter.repository, model)
        if path.exists() and not path.read_bytes().endswith(END):
            problems.append(f"{path} is not whole")
        if manifest_path(converter.repository, model).exists():
            # Raises where it is damaged. The engine comes first: a kill between the two leaves a
            # manifest of the engine before, which the server refuses and the next run replaces.
            converter.engine(model)
            if not path.exists():
                problems.append(f"{path} is missing beside its manifest")
    for path in converter.repository.glob("*/1/*.dali"):
        try:
            # No two runs write the same bytes: there is a seed in them.
            pixels.load(path)
        except RuntimeError as error:
            problems.append(f"{path} is not whole: {error}")
    return problems


@contextmanager
def converter_of(
    image: str, downloads: Path, folder: Path, script: Script | None = None, user: int = USER
) -> Iterator[Converter]:
    """A converter with everything it needs; what it left is removed."""
    repository = engine.copy_repository(folder / "models", owner=user)
    weights = folder / "weights"
    weights.mkdir()
    os.chown(weights, user, user)
    with NgcServer(downloads, script, host="0.0.0.0") as ngc:
        env = {
            "FACEKIT_CONVERTER_IMAGE": image,
            "FACEKIT_MODEL_REPOSITORY": str(repository),
            "FACEKIT_WEIGHTS_DIR": str(weights),
            "FACEKIT_UID": str(user),
            "FACEKIT_GID": str(user),
            "FACEKIT_ACCEPT_EULA": "yes",
            "FACEKIT_NGC_URL": f"http://{gateway()}:{ngc.port}",
        }
        compose = Background(env)
        converter = Converter(compose, repository, weights, ngc)
        converter.env["FAKE_TOOL_LOG"] = "/weights/tools.log"
        try:
            yield converter
        finally:
            compose.down()

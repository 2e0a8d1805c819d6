"""Docker Compose, which builds and runs the converter as ``docker-compose.yml`` says."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from facekit.errors import ConfigError, reading

CONVERTER, CONVERTER_CPU = "converter", "converter-cpu"
"""The services with and without a GPU."""
_KEY_FILE = "/run/secrets/ngc_api_key"


@dataclass(frozen=True)
class Settings:
    """What Compose uses for the converter, from the environment, ``.env`` and its defaults.

    ``base`` is the image that the converter's is built on, ``user`` the ``UID:GID`` that the files
    belong to, ``gpu`` the GPU's index or UUID, ``weights`` what FACEKIT_WEIGHTS selects.
    """

    repository: Path
    weights_dir: Path
    image: str
    base: str
    user: str
    gpu: str
    memory: str
    weights: str
    key: str | None = field(repr=False)


class Compose:
    """Docker Compose in the clone, by ``command`` or what is installed; else a ConfigError."""

    def __init__(
        self, root: Path, environ: Mapping[str, str], command: Sequence[str] | None = None
    ) -> None:
        self._root, self.environ = root, dict(environ)
        self._command = [*(command or _find_compose()), "--profile", "convert"]

    def settings(self, **changes: str | None) -> Settings:
        """Set variables that are given, then return what Compose uses.

        Files belong to the repository's owner where ``FACEKIT_UID`` is not set. Raises ConfigError
        if Compose's file, ``.env`` or the key's file can't be read.
        """
        self.environ |= {name: value for name, value in changes.items() if value is not None}
        service = self._service()
        volumes = dict(map(_source_and_target, service["volumes"]))
        repository = Path(volumes["/models"])
        if repository.is_dir() and not self.is_set("FACEKIT_UID"):
            owner = repository.stat()
            self.environ["FACEKIT_UID"] = str(owner.st_uid)
            if not self.is_set("FACEKIT_GID"):
                self.environ["FACEKIT_GID"] = str(owner.st_gid)
            service = self._service()
        if not re.fullmatch(r"\d+:\d+", str(service["user"])):
            raise ConfigError(
                f"FACEKIT_UID and FACEKIT_GID: expected numbers such as 1000, got {service['user']}"
            )
        devices = service["deploy"]["resources"]["reservations"]["devices"]
        passed_on = service.get("environment") or {}
        return Settings(
            repository=repository,
            weights_dir=Path(volumes["/weights"]),
            image=str(service["image"]),
            base=str(service["build"]["args"]["TRITON_IMAGE"]),
            user=str(service["user"]),
            gpu=",".join(devices[0]["device_ids"]),
            memory=str(service["mem_limit"]),
            weights=passed_on.get("FACEKIT_WEIGHTS") or "",
            key=passed_on.get("NGC_API_KEY") or _key_in(Path(volumes[_KEY_FILE])),
        )

    def call(self, *arguments: str, terminal: bool = True) -> int:
        """Run a command of Compose and return its exit code; Ctrl-C ends it too."""
        stdin = None if terminal else subprocess.DEVNULL
        command = [*self._command, *arguments]
        process = subprocess.Popen(command, cwd=self._root, env=self.environ, stdin=stdin)
        return process.wait()

    def _service(self) -> dict[str, Any]:
        command = [*self._command, "config"]
        done = subprocess.run(
            command, cwd=self._root, env=self.environ, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ConfigError(f"docker-compose.yml or .env: {done.stderr.strip()}")
        # A dollar sign is printed as it is written in a Compose file: twice.
        text = done.stdout.replace("$$", "$")
        service: dict[str, Any] = yaml.safe_load(text)["services"][CONVERTER]
        return service

    def is_set(self, name: str) -> bool:
        """Return whether the environment or ``.env`` gives a variable a value."""
        if name in self.environ:
            return self.environ[name] != ""
        env_file = self._root / ".env"
        text = env_file.read_text("utf-8", "replace") if env_file.is_file() else ""
        return re.search(rf"^\s*(export\s+)?{name}\s*=\s*\S", text, re.MULTILINE) is not None


def _find_compose() -> list[str]:
    with contextlib.suppress(OSError):
        plugin = ["docker", "compose"]
        if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
            return plugin
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise ConfigError(
        "Docker Compose is not installed: https://docs.docker.com/compose/install/ "
        "(v2, or 1.29 as docker-compose)"
    )


def _source_and_target(volume: Any) -> tuple[str, str]:
    """Return target and source of a volume, as Compose 1.29 and v2 print it."""
    if isinstance(volume, str):
        source, target, *_ = volume.split(":")
        return target, source
    return volume["target"], volume["source"]


def _key_in(path: Path) -> str | None:
    """Return the NGC key in a file, which may be readable for this user alone; ``None`` without.

    Raises ConfigError if it can't be read: Docker would make a folder in place of a missing file.
    """
    with reading(path, ConfigError):
        return path.read_text("utf-8").strip() or None


@contextlib.contextmanager
def secret_file(secret: str) -> Iterator[Path]:
    """Write a secret where only this user finds it, for as long as the block runs.

    The file itself can be read by all: the container's user is another one. Its folder can't be
    entered by anybody else, and a container that has the file mounted needs not enter it.
    """
    # In memory, where there is such a folder.
    home = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = home if os.access(home, os.W_OK | os.X_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="facekit-", dir=usable))
    try:
        path = folder / "ngc_api_key"
        path.write_text(secret, "utf-8")
        path.chmod(0o444)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""What the tests of the downloads share: the files of a play NGC, and an impatient download."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conversion.catalog import RemoteFile
from conversion.download import download
from conversion.ngc import Artifact
from conversion.ngc_client import Ngc, NgcFile, Timeouts
from tests.fakes.ngc_server import NgcServer

FACENET = Artifact("models", "nvidia/tao/facenet:pruned_quantized_v2.0.1")
FOLDER = "facenet_vpruned_quantized_v2.0.1"
NETWORK = random.Random(3).randbytes(20_000)
SHA256 = hashlib.sha256(NETWORK).hexdigest()
TIMEOUTS = Timeouts(connect_s=5.0, read_s=0.5)


def write_files(folder: Path) -> Path:
    """Fill a folder as NGC's command line leaves it."""
    (folder / FOLDER).mkdir(parents=True)
    (folder / FOLDER / "model.etlt").write_bytes(NETWORK)
    (folder / FOLDER / "int8_calibration.txt").write_text("TRT-8-cache\n")
    tool = folder / "tao-converter_v5.1.0_8.6.3.1_x86" / "tao-converter"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    return folder


@dataclass
class Download:
    """One download of ``model.etlt``, which can be run again."""

    server: NgcServer
    folder: Path
    key: str | None = None
    attempts: int = 3
    expected: RemoteFile = field(default_factory=RemoteFile)
    said: list[str] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Path:
        return self.folder / "model.etlt"

    @property
    def part(self) -> Path:
        return self.folder / "model.etlt.part"

    def run(self) -> bytes:
        """Download; return what came."""
        self.folder.mkdir(exist_ok=True)
        environment = {"FACEKIT_NGC_URL": self.server.url, **self.environment}
        source = NgcFile(Ngc(self.key, TIMEOUTS, environment), FACENET, "model.etlt")
        download(source, self.target, self.expected, self.said.append, attempts=self.attempts)
        return self.target.read_bytes()

    def sent(self, header: str) -> list[tuple[str, str | None]]:
        """Return to which host what was sent in a header, request by request."""
        return [(entry["on"], entry["headers"].get(header)) for entry in self.server.requests]

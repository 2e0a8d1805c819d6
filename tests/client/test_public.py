from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import facekit
import facekit.client
import facekit.errors

ROOT = Path(facekit.__file__).parents[1]

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        heavy = ("PIL", "nvidia", "onnxruntime", "pytriton", "skimage", "sklearn", "scipy",
                 "matplotlib", "yaml", "pyarrow", "redis", "ray")
        if name.split(".")[0] in heavy:
            raise ImportError("not installed: " + name)
sys.meta_path.insert(0, Blocker())
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:facekit", "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_names_exist_and_are_listed() -> None:
    assert facekit.__all__ == sorted(facekit.__all__)
    for name in facekit.__all__:
        assert getattr(facekit, name) is not None
        assert name in dir(facekit)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = facekit.Nothing


def test_all_holds_every_error_and_every_client_name() -> None:
    errors = {
        name
        for name, value in vars(facekit.errors).items()
        if isinstance(value, type) and issubclass(value, facekit.FacekitError)
    }
    assert errors | set(facekit.client.__all__) <= set(facekit.__all__)


def test_client_needs_no_more_than_the_base_packages() -> None:
    out = run(
        BLOCKED
        + "import facekit\n"
        + "from facekit import *\n"
        + "from facekit.data import probe_photo\n"
        + "client = Client('localhost:1', timeout_s=1)\n"
        + "try:\n    client.detect(probe_photo())\n"
        + "except ServerUnavailableError as e:\n    print('unavailable')\n"
        + "import numpy\n"
        + "try:\n    client.detect(numpy.zeros((9, 9, 3), numpy.uint8))\n"
        + "except ServerUnavailableError as e:\n    print('unavailable')\n"
    )
    assert out.splitlines() == ["unavailable", "unavailable"]


def test_import_alone_loads_neither_grpc_nor_numpy() -> None:
    out = run("import sys, facekit\nprint([m for m in ('grpc', 'numpy') if m in sys.modules])")
    assert out.strip() == "[]"


def test_annotate_needs_no_more_than_the_base_packages(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    out = run(
        BLOCKED
        + "from pathlib import Path\n"
        + "from facekit.annotate import Options, Outputs, annotate\n"
        + "from facekit.errors import ServerUnavailableError\n"
        + f"folder = Path({str(tmp_path)!r})\n"
        + "outputs = Outputs(coco=folder / 'out' / 'instances.json')\n"
        + "options = Options(urls=('localhost:1',), timeout_s=1, server_wait_s=0)\n"
        + "try:\n    annotate(folder, outputs, options)\n"
        + "except ServerUnavailableError as e:\n    print('unavailable')\n"
    )
    assert out.splitlines() == ["unavailable"]

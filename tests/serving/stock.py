"""A folder like an image's ``/opt/tritonserver``, assembled from the wheel and the stand-ins."""

from __future__ import annotations

import shutil
from pathlib import Path

from facekit.serving.installation import find_installation
from facekit.serving.runtime import PACKAGE


def stock_triton(root: Path) -> Path:
    """Fill ``root`` and return it."""
    found = find_installation()
    (root / "bin").mkdir(parents=True)
    libraries = ":".join(str(folder) for folder in found.library_dirs)
    program = root / "bin" / "tritonserver"
    program.write_text(
        "#!/bin/sh\n"
        f'export LD_LIBRARY_PATH="{libraries}:$LD_LIBRARY_PATH"\n'
        f'exec "{found.binary}" "$@"\n'
    )
    program.chmod(0o755)
    python = root / "backends" / "python"
    python.mkdir(parents=True)
    for file in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copyfile(found.python_backend / file, python / file)
    shutil.copyfile(found.stub, python / found.stub.name)
    (python / found.stub.name).chmod(0o755)
    for name in ("dali", "onnxruntime"):
        (root / "backends" / name).mkdir()
        stand_in = PACKAGE / "backends" / name / "model.py"
        shutil.copyfile(stand_in, root / "backends" / name / "model.py")
    return root

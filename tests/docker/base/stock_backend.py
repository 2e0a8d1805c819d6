"""Stands for a native backend of the stock image: the kit's stand-in, with the wheels it needs."""

import importlib
import sys
from pathlib import Path

# Behind the image's own packages, which are what is under test.
sys.path.append("/opt/stand-in")

_NAME = Path(__file__).parent.name
TritonPythonModel = importlib.import_module(f"facekit.backends.{_NAME}.model").TritonPythonModel

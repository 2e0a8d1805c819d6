"""A folder of photos in, a dataset of faces out; may be stopped and goes on at any time.

::

    from facekit.annotate import Outputs, annotate

    summary = annotate(Path("photos"), Outputs(coco=Path("instances.json")))
"""

from facekit.annotate.options import Options, Outputs, Summary
from facekit.annotate.photo import PendingPhoto, ServersAwayError, annotate_photo
from facekit.annotate.run import annotate
from facekit.annotate.servers import ServerPool

__all__ = [
    "Options",
    "Outputs",
    "PendingPhoto",
    "ServerPool",
    "ServersAwayError",
    "Summary",
    "annotate",
    "annotate_photo",
]

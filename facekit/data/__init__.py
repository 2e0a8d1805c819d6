"""The built-in photo that health checks, warm-up and the demo use."""

from importlib.resources import files


def probe_photo() -> bytes:
    """Return the encoded probe photo: a JPEG of 360 x 300 pixels with one frontal face.

    Its source is in the file NOTICE beside it.
    """
    return files(__name__).joinpath("probe.jpg").read_bytes()

"""Run a command: exit statuses, and one line for each kind of error."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from facekit.errors import FacekitError, install_hint
from facekit.text import show

EXIT_FAILED = 1
"""Some of the work failed; the output has the details."""
EXIT_UNUSABLE = 2
"""Nothing could be done: wrong options, or something is missing on this machine."""
_EXIT_SIGNAL = 128

_EXTRAS: dict[str, tuple[str, ...]] = {
    "PIL": ("draw", "data", "evaluate", "train", "video"),
    "av": ("video",),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "h11"), ("gateway", "server")),
    "pyarrow": ("parquet",),
    "redis": ("redis",),
    "ray": ("ray",),
    "scipy": ("data", "train", "video"),
    "nvidia": ("server",),
    "pytriton": ("server",),
    "onnxruntime": ("server", "train"),
    "onnx": ("train",),
    "torch": ("train",),
    "pydantic": ("train", "convert"),
    "sklearn": ("bench",),
    "skimage": ("bench",),
    "matplotlib": ("bench", "evaluate", "train"),
    "threadpoolctl": ("bench",),
    "yaml": ("convert",),
    "requests": ("convert",),
    "urllib3": ("convert",),
    "docker": ("convert",),
    # Needed without any extra.
    **dict.fromkeys(("tritonclient", "google", "grpc", "numpy"), ("",)),
}
"""Package to the extras that include it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command's work as Ctrl-C does."""


def run_command(
    run: Callable[[], int],
    name: str,
    *,
    extra: str = "",
    when_stopped: str = "",
    handle_sigterm: bool = False,
) -> int:
    """Do a command's work and return its exit status; an error becomes a line on standard error.

    Args:
        run: Does the work and returns the exit status.
        name: The command's, with which the line begins.
        extra: The extra to name for a missing package that several extras include.
        when_stopped: Printed after "stopped" when the work was interrupted.
        handle_sigterm: Whether SIGTERM ends the work as Ctrl-C does; the first process of a
            container ignores it otherwise.

    The status is that of ``run``; ``EXIT_UNUSABLE`` after an error, 130 after Ctrl-C, 143 after
    SIGTERM, and ``EXIT_FAILED`` after a broken pipe of the output.
    """
    before = signal.signal(signal.SIGTERM, _terminate) if handle_sigterm else signal.SIG_DFL
    try:
        return run()
    except FacekitError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        extras = _EXTRAS.get((error.name or "").partition(".")[0])
        if extras is None:
            raise
        hint = install_hint(extra if extra in extras else extras[0])
        message = f"{error.name} is not installed: {hint}"
    except KeyboardInterrupt as error:
        by_signal = isinstance(error, Terminated)
        with suppress(OSError, ValueError):  # the terminal may be gone
            show(f"{name}: stopped{' by SIGTERM' * by_signal}{when_stopped}", sys.stderr)
        return _EXIT_SIGNAL + (signal.SIGTERM if by_signal else signal.SIGINT)
    except BrokenPipeError:
        # Python would fail again when it flushes the output at its end.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        what = "cannot write the output" if error.filename is None else error.filename
        message = f"{what}: {error.strerror or error}"
    finally:
        if handle_sigterm:
            signal.signal(signal.SIGTERM, before)
    show(f"{name}: {message}", sys.stderr)
    return EXIT_UNUSABLE


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated

"""Every error the kit raises.

::

    FacekitError
    |-- InputError                 the caller's input is wrong: correct it, do not retry
    |   |-- PhotoError             one photo's bytes: empty, truncated, unknown format, too large
    |   `-- BoxError               one box: inverted, not finite, outside the photo
    |-- DataError                  a label file, a photo or a spec on disk can't be used
    |-- ConfigError                a model's configuration or a setup option is wrong
    |-- ServerError                the server could not answer
    |   |-- ServerUnavailableError no connection, or a dead backend: try again
    |   |-- DeadlineError          no answer within ``timeout_s``
    |   |-- ModelMissingError      the server does not serve this model
    |   `-- ResponseError          the answer breaks the tensor contract
    |-- StoreError                 a store of results can't be used: its address, password, version
    |   `-- StoreUnavailableError  it does not answer now: try again
    `-- SetupError                 the embedded server can't start on this machine
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISTRIBUTION = "facekit-triton"
"""Name of the installed package; PyPI has another one called ``facekit``."""


def install_hint(extra: str = "") -> str:
    """Return how to install the package with an extra, for messages about a missing module."""
    brackets = f"[{extra}]" if extra else ""
    return f"install {DISTRIBUTION}{brackets} (in the clone: pip install '.{brackets}')"


class FacekitError(Exception):
    """Root of all errors raised by facekit."""


class InputError(FacekitError):
    """The caller's input is wrong; sending it again gives the same answer."""


CANNOT_BE_DECODED = "cannot be decoded"
"""Phrase of DALI's stand-in, which identifies a photo's error where Triton has lost its status."""


class PhotoError(InputError):
    """One photo can't be used: empty, truncated, of an unknown format, or over a limit."""


class BoxError(InputError):
    """One box can't be used: inverted, not finite, or outside the photo."""


class DataError(FacekitError):
    """A file on disk is missing or can't be used: labels, a photo of a data set, a spec.

    ``line`` counts from 1; None for the whole file. ``reason`` is the problem.
    """

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        """Make the message ``<path>[:<line>]: <reason>``."""
        super().__init__(f"{path}{'' if line is None else f':{line}'}: {reason}")
        self.path, self.line, self.reason = path, line, reason


class ConfigError(FacekitError):
    """A model's configuration, or an option, has an unknown name or a value out of range."""


class ServerError(FacekitError):
    """The server could not answer a request that may well be correct."""


class ServerUnavailableError(ServerError):
    """No connection, or a backend that just died: a retry may succeed."""


class DeadlineError(ServerError):
    """No answer came within ``timeout_s``."""


class ModelMissingError(ServerError):
    """The server does not serve the model that this call needs."""


class ResponseError(ServerError):
    """The answer breaks the tensor contract: another kind of server, or another version of it."""


class StoreError(FacekitError):
    """A store of results can't be used: its address, password, version, or content."""


class StoreUnavailableError(StoreError):
    """The store does not answer, or is full or busy: a retry may succeed."""


class SetupError(FacekitError):
    """The embedded server can't start on this machine; the message says what is missing."""


@contextmanager
def reading(path: Path, kind: type[FacekitError] = DataError) -> Iterator[None]:
    """Turn the errors of a block that reads a file into a ``kind`` of error that names the file.

    That is an OSError, or of a text that is not UTF-8.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise _file_error(kind, path, "no such file") from error
    except OSError as error:
        raise _file_error(kind, path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        reason = f"cannot be read as text: byte {error.start} is not {error.encoding.upper()}"
        raise _file_error(kind, path, reason) from error


@contextmanager
def writing(path: Path, kind: type[FacekitError] = DataError) -> Iterator[None]:
    """Turn an OSError of a block that writes a file into a ``kind`` of error that names the file.

    ``path`` is the file or folder itself, and not a temporary one beside it.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "; free some space and run the same command again" if full else ""
        reason = f"cannot be written: {error.strerror or error}{remedy}"
        raise _file_error(kind, path, reason) from error


def _file_error(kind: type[FacekitError], path: Path, reason: str) -> FacekitError:
    return kind(path, reason) if issubclass(kind, DataError) else kind(f"{path}: {reason}")

"""A server's log: where it goes, its last lines, and those that tell why a start failed."""

import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekit.errors import SetupError, writing

STANDARD_ERROR = "-"
"""The ``log_file`` that is this process's standard error, as containers want it."""

_KEPT_LINES = 2000
_TAIL_BYTES = 256 * 1024
_CHUNK = 65536
_FAILED = re.compile(r"failed to load '([^']+)' version (\d+): (.+)")
_ERROR_LINE = re.compile(r'^E\d{4} [\d:.]+ \d+ \S+\] "?(.+)$')
_OWN_LINE = re.compile(r"[IWE]\d{4} [\d:.]+ \d+ |[+|]")
# Logged on every machine without a GPU driver.
_HARMLESS = ("unable to create stream", "CudaDriverHelper", "Failed to initialize NVML", "DCGM")
# Names of internals that Triton puts before the sentence that matters.
_NOISE = re.compile(r"^\s*(?:Internal|Invalid argument|Not found|Unavailable):\s*")
_EXCEPTION = re.compile(r"^(?:FacekitError|ConfigError|TritonModelException):\s*")


class ServerLog:
    """The log of a server's runs, appended to a file; ``-`` is standard error, None temporary."""

    def __init__(self, log_file: str | os.PathLike[str] | None) -> None:
        self._piped = log_file is not None and os.fspath(log_file) == STANDARD_ERROR
        self.file = None if log_file is None or self._piped else Path(log_file).absolute()
        self._temporary: Path | None = None
        self._pipe: LogPipe | None = None
        self._last: list[str] = []

    @contextmanager
    def writer(self, temporary: Path) -> Iterator[int]:
        """Begin a run, which ends with ``end``; yield the descriptor for the server's output.

        The log goes to the file ``temporary`` where none was named. Raises SetupError if it can't
        be written.
        """
        self._temporary = temporary
        if self._piped:
            self._pipe = LogPipe()
            try:
                yield self._pipe.writer
            finally:
                self._pipe.close_writer()
            return
        path = self.file or temporary
        with writing(path, SetupError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("ab")
        with handle:
            yield handle.fileno()

    def tail(self, lines: int = _KEPT_LINES) -> list[str]:
        """Return the last lines of this run, or of the last one."""
        if self._pipe is not None:
            return self._pipe.tail(lines)
        path = self.file or self._temporary
        return tail(path, lines) if path is not None else self._last[-lines:]

    def finish(self) -> None:
        """Wait for the last lines of a server that has ended by itself."""
        if self._pipe is not None:
            self._pipe.finish()

    def end(self) -> None:
        """End a run; its last lines stay readable."""
        self._last = self.tail()
        self._pipe = self._temporary = None


class LogPipe:
    """A pipe to standard error whose last lines are kept; a thread copies it.

    The server cannot be given standard error itself: these lines tell why a start failed. It writes
    to the descriptor ``writer``.
    """

    def __init__(self) -> None:
        reader, self.writer = os.pipe()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._copy, args=(reader,), name="facekit-log", daemon=True
        )
        self._thread.start()

    def close_writer(self) -> None:
        """Close this process's own end: from now on the log ends with its last writer."""
        os.close(self.writer)

    def finish(self) -> None:
        """Wait for the last lines of a server that has ended."""
        self._thread.join(timeout=1)

    def tail(self, lines: int) -> list[str]:
        """Return the last lines."""
        with self._lock:
            kept = list(self._lines)
        return kept[-lines:] if lines > 0 else []

    def _copy(self, reader: int) -> None:
        rest = b""
        with os.fdopen(reader, "rb", buffering=0) as source:
            while chunk := source.read(_CHUNK):
                *whole, rest = (rest + chunk).split(b"\n")
                self._write(whole)
        self._write([rest] if rest else [])

    def _write(self, lines: list[bytes]) -> None:
        with self._lock:
            self._lines.extend(line.decode("utf-8", "replace") for line in lines)
        try:
            # Whole lines, so that they do not mix with this process's own.
            sys.stderr.buffer.write(b"".join(line + b"\n" for line in lines))
            sys.stderr.buffer.flush()
        except (OSError, ValueError):
            # A closed standard error does not stop the service, and the pipe must be read on.
            pass


def tail(path: Path, lines: int) -> list[str]:
    """Return the last ``lines`` lines of a file; none if it does not exist."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines > 0 else []


def reasons(lines: list[str], limit: int = 5) -> list[str]:
    """Return the sentences of a log that tell why the server did not start, each once."""
    models: dict[str, str] = {}
    others: dict[str, None] = {}
    for line in lines:
        if match := _FAILED.search(line):
            name, _, reason = match.groups()
            sentence = _clean(reason).removeprefix(f"model {name}: ")
            models.setdefault(name, f"model {name}: {sentence}")
        elif (match := _ERROR_LINE.match(line)) and not any(text in line for text in _HARMLESS):
            others[_clean(match.group(1))] = None
    if models:
        return list(models.values())[:limit]
    if not others:
        # The server prints its options and models as tables.
        sentences = [line for line in lines if line.strip() and line[0] not in "+|"]
        others = dict.fromkeys(sentences[-limit:])
    return list(others)[:limit]


def foreign_lines(lines: list[str]) -> list[str]:
    """Return the lines that a library or a backend process wrote, and not the server itself."""
    return [line for line in lines if line.strip() and not _OWN_LINE.match(line)]


def _clean(reason: str) -> str:
    # An exception comes with its stack, line ends written as \\n; its first line is ours.
    reason = reason.split("\\n\\nAt:")[0].replace("\\n", " ")
    return _EXCEPTION.sub("", _NOISE.sub("", reason.strip())).strip().removesuffix('"')

"""Download one file: resumed, tried again, checked, and never visible before it is complete.

Next to ``model.etlt`` an unfinished ``model.etlt.part`` is kept, with what the server said of it in
``model.etlt.part.json``, so that the next attempt, or the next run, resumes it. Where the server
names no version of the file there is no such note, and the download starts again.
"""

import http.client
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from conversion.catalog import RemoteFile
from conversion.errors import FetchError
from conversion.ngc_client import FETCH_ELSEWHERE, NgcFile, TransientError
from conversion.paths import WEIGHTS_DIR_VARIABLE, Say, not_writable
from facekit.engines.manifest import sha256_of
from facekit.files import publish
from facekit.progress import ProgressBar
from facekit.text import byte_count

ATTEMPTS = 5
"""How many attempts in a row may fail without a new byte."""
PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
"""The pause after the first of them, which doubles each time, and the longest."""
MAX_WAIT_S = 120.0
"""The longest pause that a server may ask for."""

_PIECE_BYTES = 256 * 1024
_NOT_EXPECTED = (
    "Nothing of it is kept. Either it is damaged on the way (a proxy?), or it is another file than "
    "the models file expects under `files`"
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


def mismatch(path: Path, expected: RemoteFile) -> str | None:
    """Return how a file differs from what is expected, as far as known; ``None`` if it does not."""
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        return f"it has {size} bytes, expected {expected.size}"
    if size == 0:
        return "it is empty"
    if expected.sha256 is not None:
        digest = sha256_of(path)
        if digest != expected.sha256.lower():
            return f"its SHA-256 is {digest}, expected {expected.sha256.lower()}"
    return None


@contextmanager
def writing_download(path: Path, error: Callable[[str, str], FetchError]) -> Iterator[None]:
    """Raise what the file system refuses as the error that ``error`` makes of reason and remedy."""
    try:
        yield
    except OSError as refused:
        space = ""
        if path.parent.is_dir():
            space = f" ({byte_count(shutil.disk_usage(path.parent).free)} are free there)"
        reason = f"{not_writable(path, refused)}{space}"
        raise error(reason, f"Or set {WEIGHTS_DIR_VARIABLE} to another folder") from refused


def download(
    source: NgcFile,
    target: Path,
    expected: RemoteFile,
    say: Say,
    *,
    attempts: int = ATTEMPTS,
    mode: int = 0o644,
) -> None:
    """Download a file to ``target``, which is replaced in one step when everything has come.

    Raises FetchError if it can't be fetched or is not what was expected.
    """
    part = target.with_name(target.name + ".part")
    state = target.with_name(target.name + ".part.json")
    failures, furthest, repeated = 0, _size(part), False
    while True:
        try:
            _attempt(source, part, state, say)
        except TransientError as error:
            if _size(part) > furthest:
                failures, furthest = 0, _size(part)
            failures += 1
            if failures >= attempts:
                kept = _size(part) if _read_state(state) else 0
                times = "one attempt" if failures == 1 else f"{failures} attempts"
                reason = f"{error}; given up after {times}"
                raise source.error(reason, _remedy(error, kept)) from None
            pause_s = min(PAUSE_S * 2 ** (failures - 1), MAX_PAUSE_S)
            if error.wait_s is not None:
                pause_s = min(error.wait_s, MAX_WAIT_S)
            say(f"{source.name}: {error}; trying again in {pause_s:.0f} s")
            time.sleep(pause_s)
            continue
        with writing_download(target, source.error):
            wrong = mismatch(part, expected)
            if wrong is None:
                part.chmod(mode)
                publish(part, target)
                state.unlink(missing_ok=True)
                return
            part.unlink()
            state.unlink(missing_ok=True)
        if repeated:
            raise source.error(f"{wrong}, twice in a row", _NOT_EXPECTED)
        repeated, furthest = True, 0
        say(f"{source.name}: {wrong}; fetching it again from the start")


def _remedy(error: TransientError, kept: int) -> str:
    """Return what to do when no attempt has succeeded."""
    again = (
        f"Run it again: it goes on after the {byte_count(kept)} that came"
        if kept
        else error.remedy or "Try again later"
    )
    return f"{again}. Or {FETCH_ELSEWHERE}"


@dataclass(frozen=True)
class _Unfinished:
    """What a server said of a file whose first bytes are in a ``.part``."""

    validator: str
    total: int


def _attempt(source: NgcFile, part: Path, state: Path, say: Say) -> None:
    """Request the file once and write what comes; return when it is complete."""
    unfinished = _read_state(state)
    have = _size(part) if unfinished else 0
    # Sizes and ranges count the file's own bytes, so nothing may compress them.
    headers = {"Accept-Encoding": "identity"}
    if unfinished is not None and have:
        if have == unfinished.total:
            return
        headers |= {"Range": f"bytes={have}-", "If-Range": unfinished.validator}
    with source.open(headers) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            with writing_download(part, source.error):
                part.unlink(missing_ok=True)
            reason = f"the server has no more than the {byte_count(have)} that came"
            raise TransientError(reason)
        _refuse_wrong_kind(source, response)
        start, total = _extent(response)
        if unfinished is not None and have and (start, total) == (have, unfinished.total):
            say(f"{source.name}: resuming at {have} of {total} bytes")
        elif start == 0:
            have = 0
            if total is None and "chunked" not in response.headers.get("Transfer-Encoding", ""):
                raise source.error("the server does not say how long the file is")
        else:
            with writing_download(part, source.error):
                part.unlink(missing_ok=True)
            raise TransientError("the server sent another part of the file than was asked for")
        if total is not None:
            _require_space(source, part, total - have)
        with (
            writing_download(part, source.error),
            part.open("ab" if have else "wb") as file,
            ProgressBar(total, source.name, already=have, of_bytes=True, say=say) as bar,
        ):
            if not have:
                _write_state(state, response, total)
            for piece in _pieces(source, response, sized=total is not None):
                file.write(piece)
                file.flush()  # for a run that is killed
                bar.advance(len(piece))
    got = _size(part)
    if total is not None and got != total:
        if got > total:
            with writing_download(part, source.error):
                part.unlink()
        raise TransientError(f"the connection ended after {got} of {total} bytes")


def _pieces(source: NgcFile, response: requests.Response, *, sized: bool) -> Iterator[bytes]:
    """Yield the body as it comes; whether a body of known size ended early is checked later."""
    # read1 returns what has come; read, all that older releases have, waits for a whole piece.
    read1 = getattr(response.raw, "read1", None)
    try:
        while piece := (
            read1(_PIECE_BYTES, decode_content=False)
            if read1 is not None
            else response.raw.read(4096, decode_content=False)
        ):
            yield piece
    except (urllib3.exceptions.ReadTimeoutError, TimeoutError):
        timeout_s = source.ngc.timeouts.read_s
        raise TransientError(f"nothing came for {timeout_s:g} s") from None
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        if any(isinstance(each, http.client.IncompleteRead) for each in (error, *error.args)):
            if sized:
                return
            raise TransientError("the connection ended in mid-file") from None
        # The library's own text repeats the URL with its signature.
        inner = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(inner, "strerror", None) or type(inner).__name__
        raise TransientError(f"the connection broke in mid-file ({reason})") from None


def _refuse_wrong_kind(source: NgcFile, response: requests.Response) -> None:
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise source.error(
            "the answer is a web page, not the file",
            "A proxy or a sign-in page is in between: open the address in a browser to see "
            f"which, or {FETCH_ELSEWHERE}",
        )
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise source.error(f"the answer is compressed ({coding}), which was not asked for")


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Return which byte of the file the body begins with, and the whole file's size if known."""
    if response.status_code == requests.codes.partial_content:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return (int(match[1]), int(match[2])) if match else (-1, None)
    text = response.headers.get("Content-Length", "")
    return 0, int(text) if text.isdecimal() else None


def _require_space(source: NgcFile, part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise source.error(
            f"it needs {byte_count(needed)} and {part.parent} has {byte_count(free)} left",
            f"Free some space, or set {WEIGHTS_DIR_VARIABLE} to another folder",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_state(path: Path) -> _Unfinished | None:
    try:
        values = json.loads(path.read_text("utf-8"))
        return _Unfinished(str(values["validator"]), int(values["total"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_state(path: Path, response: requests.Response, total: int | None) -> None:
    """Note what identifies this version of the file; without that there is no resuming."""
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if not validator or validator.startswith("W/") or total is None:
        path.unlink(missing_ok=True)
        return
    path.write_text(json.dumps({"validator": validator, "total": total}), "utf-8")

"""One file from the network to its place: resumed, tried again, checked, never visible by half.

Next to ``model.etlt`` an unfinished ``model.etlt.part`` is kept, with what the server said of it in
``model.etlt.part.json``, so that the next attempt, or the next run, goes on where this one ended. A
server that names no version of the file leaves no such note: then it begins again.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import requests
import urllib3

from conversion.atomic import Say, mismatch, publish, writing
from conversion.catalog import RemoteFile
from conversion.errors import FetchError
from conversion.patience import Policy, Setback
from conversion.server_words import FETCH_ELSEWHERE
from facekit.progress import ProgressBar
from facekit.text import byte_count

_PIECE = 256 * 1024
_NOT_EXPECTED = (
    "Nothing of it is kept. Either it is damaged on the way (a proxy?), or it is another file than "
    "the models file expects under `files`"
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Source(Protocol):
    """Where one file comes from."""

    @property
    def name(self) -> str:
        """The file's name."""

    @property
    def label(self) -> str:
        """The file and what it is part of, for messages."""

    def open(self, headers: Mapping[str, str], policy: Policy) -> requests.Response:
        """Ask for the file; the answer's status is 200, 206 or 416.

        Raises:
            FetchError: it can't be had.
            Setback: not now.
        """

    def error(self, said: str, remedy: str | None = None) -> FetchError:
        """Return the error that says which file, from where, what happened and what to do."""


def download(
    source: Source, target: Path, expected: RemoteFile, policy: Policy, say: Say, mode: int = 0o644
) -> None:
    """Bring a file to its place.

    Args:
        source: where it comes from.
        target: where it shall lie; replaced in one step when everything has come.
        expected: its size and SHA-256 where they are known.
        policy: how patient to be.
        say: takes lines for people.
        mode: the file's permissions.

    Raises:
        FetchError: it could not be had, or is not what was expected.
    """
    part = target.with_name(target.name + ".part")
    state = target.with_name(target.name + ".part.json")
    failures, furthest, repeated = 0, _size(part), False
    while True:
        try:
            _attempt(source, part, state, policy, say)
        except Setback as setback:
            if _size(part) > furthest:
                failures, furthest = 0, _size(part)
            failures += 1
            if failures >= policy.attempts:
                times = "one attempt" if failures == 1 else f"{failures} attempts"
                said = f"{setback}; given up after {times}"
                kept = _size(part) if _read_state(state) else 0
                raise source.error(said, _later(setback, kept)) from None
            pause_s = policy.pause_s(failures, setback.wait_s)
            say(f"{source.name}: {setback}; trying again in {pause_s:.0f} s")
            time.sleep(pause_s)
            continue
        with writing(target, source.error):
            wrong = mismatch(part, expected)
            if wrong is None:
                publish(part, target, mode)
                state.unlink(missing_ok=True)
                return
            part.unlink()
            state.unlink(missing_ok=True)
        if repeated:
            raise source.error(f"{wrong}, twice in a row", _NOT_EXPECTED)
        repeated, furthest = True, 0
        say(f"{source.name}: {wrong}; fetching it again from the start")


def _later(setback: Setback, kept: int) -> str:
    """Say what to do when patience has ended."""
    again = (
        f"Run it again: it goes on after the {byte_count(kept)} that came"
        if kept
        else setback.remedy or "Try again later"
    )
    return f"{again}. Or {FETCH_ELSEWHERE}"


@dataclass(frozen=True)
class _Unfinished:
    """What a server said of a file whose first bytes lie in a ``.part``."""

    validator: str
    total: int


def _attempt(source: Source, part: Path, state: Path, policy: Policy, say: Say) -> None:
    """Ask once, and write what comes; return when all of it is there."""
    unfinished = _read_state(state)
    have = _size(part) if unfinished else 0
    # The size and the resume are about the file's own bytes, so nothing may compress them.
    headers = {"Accept-Encoding": "identity"}
    if unfinished is not None and have:
        if have == unfinished.total:
            return
        headers |= {"Range": f"bytes={have}-", "If-Range": unfinished.validator}
    with source.open(headers, policy) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            with writing(part, source.error):
                part.unlink(missing_ok=True)
            raise Setback(f"the server has no more than the {byte_count(have)} that came")
        _refuse_wrong_kind(source, response)
        start, total = _extent(response)
        if unfinished is not None and have and (start, total) == (have, unfinished.total):
            say(f"{source.name}: going on at {have} of {total} bytes")
        elif start == 0:
            have = 0
            if total is None and "chunked" not in response.headers.get("Transfer-Encoding", ""):
                raise source.error("the server does not say how long the file is")
        else:
            with writing(part, source.error):
                part.unlink(missing_ok=True)
            raise Setback("the server sent another part of the file than was asked for")
        with writing(part, source.error):
            file = part.open("ab" if have else "wb", buffering=0)
            if not have:
                _write_state(state, response, total)
        with file:
            if total is not None:
                _require_room(source, part, total - have)
            with ProgressBar(total, source.name, already=have, of_bytes=True, say=say) as bar:
                for piece in _pieces(response, policy, sized=total is not None):
                    with writing(part, source.error):
                        # A raw file may take less than it is given.
                        written = 0
                        while written < len(piece):
                            written += file.write(piece[written:]) or 0
                    bar.advance(len(piece))
    got = _size(part)
    if total is not None and got != total:
        if got > total:
            with writing(part, source.error):
                part.unlink()
        raise Setback(f"the connection ended after {got} of {total} bytes")


def _pieces(response: requests.Response, policy: Policy, *, sized: bool) -> Iterator[bytes]:
    """Yield the body as it comes, however slowly; an early end is left to who knows the size."""
    # read1 returns what has come; read, all that older releases have, waits for a whole piece.
    read = getattr(response.raw, "read1", None)
    try:
        while True:
            piece = (
                read(_PIECE, decode_content=False)
                if read is not None
                else response.raw.read(4096, decode_content=False)
            )
            if not piece:
                return
            yield piece
    except (urllib3.exceptions.ReadTimeoutError, TimeoutError):
        raise Setback(f"nothing came for {policy.read_timeout_s:g} s") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if any(isinstance(each, http.client.IncompleteRead) for each in (error, *error.args)):
            if sized:
                return
            raise Setback("the connection ended in mid-file") from None
        # The library's words repeat the URL with its signature.
        inner = error.__context__ if isinstance(error.__context__, OSError) else error
        words = getattr(inner, "strerror", None) or type(inner).__name__
        raise Setback(f"the connection broke in mid-file ({words})") from None


def _refuse_wrong_kind(source: Source, response: requests.Response) -> None:
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html"):
        raise source.error(
            "the answer is a web page, not the file",
            "A proxy or a sign-in page stands in between: open the address in a browser to see "
            f"which, or {FETCH_ELSEWHERE}",
        )
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise source.error(f"the answer is compressed ({coding}), which was not asked for")


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Return which byte of the file the body begins with, and the whole file's size if told."""
    if response.status_code == requests.codes.partial_content:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return (int(match.group(1)), int(match.group(2))) if match else (-1, None)
    text = response.headers.get("Content-Length", "")
    return 0, int(text) if text.isdecimal() else None


def _require_room(source: Source, part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise source.error(
            f"it needs {byte_count(needed)} and {part.parent} has {byte_count(free)} left",
            "Make room, or set another --weights-dir",
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
    """Note what tells this version of the file from another; without that, no resume."""
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if not validator or validator.startswith("W/") or total is None:
        path.unlink(missing_ok=True)
        return
    path.write_text(json.dumps({"validator": validator, "total": total}), "utf-8")

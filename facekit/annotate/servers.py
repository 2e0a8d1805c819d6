"""Several servers as one: work goes to the least busy, and one that fails is left until it works.

A server that could not answer is asked for the kit's own probe photo, again and again; with the
first right answer it takes part once more. So a photo that has failed on a proven server time after
time is itself at fault.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.annotate.photo import ServersAwayError
from facekit.client import Client, PhotoLike
from facekit.closing import Closing
from facekit.data import probe_photo
from facekit.errors import (
    ConfigError,
    DeadlineError,
    FacekitError,
    ModelMissingError,
    ResponseError,
    ServerError,
    ServerUnavailableError,
)
from facekit.faces import Faces

_TRIES = 3
_JOIN_S = 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_START_PAUSE_S = 0.1, 5.0, 1.0
_GOES_ON = "the same command goes on where it stopped"

Say = Callable[[str], None]


@dataclass(eq=False)
class _Server:
    """One server; the pool keeps its numbers under its own lock.

    It gets requests while it is ``there``, and is ``proven`` once it has found faces. ``ended``
    says why it will never do so again; ``busy`` are requests in flight, ``asked`` all so far.
    """

    url: str
    client: Client
    there: bool = True
    proven: bool = False
    ended: str = ""
    busy: int = 0
    asked: int = 0


class ServerPool(Closing):
    """Finds faces on whichever of several servers is there; used by many threads at once.

    Args:
        urls: ``host:port`` of each gRPC endpoint, one at least, no two alike.
        timeout_s: Seconds that one photo may take.
        tls_certificate: The PEM file of the servers' certificate, where they are encrypted.
        wait_s: Seconds to wait while no server responds.
        say: Takes a line when a server goes or comes.
        why_ended: Returns why servers that are away have ended for good; "" where they may come
            back. None where that is unknown.

    Raises:
        ConfigError: ``urls`` or ``timeout_s`` is wrong.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout_s: float = 30.0,
        tls_certificate: Path | None = None,
        wait_s: float = 120.0,
        say: Say | None = None,
        why_ended: Callable[[], str] | None = None,
    ) -> None:
        if not urls or len(set(urls)) < len(urls):
            raise ConfigError(f"urls: expected one or more, no two alike, got {list(urls)}")
        self._wait_s = wait_s
        self._say = say or _silent
        self._why_ended = why_ended or str
        self._changed = threading.Condition()
        self._closed = False
        self._suspects = threading.Lock()
        self._servers = [
            _Server(url, Client(url, timeout_s=timeout_s, tls_certificate=tls_certificate))
            for url in urls
        ]
        self._away_since: float | None = None
        self._last_error: FacekitError | None = None
        self._threads: list[threading.Thread] = []

    def connect(self, wait_s: float = 0.0) -> None:
        """See which servers are there; the others are tried again while the run lasts.

        For the first one ``wait_s`` seconds are waited, but not for one that has another
        certificate. Raises ServerUnavailableError if none is there, and SetupError if the
        certificate can't be used.
        """
        end, pause_s = time.monotonic() + wait_s, 0.0
        while len(errors := self._unreachable()) == len(self._servers):
            reasons = "; ".join(map(str, errors.values()))
            may_come = [s.url for s, e in errors.items() if isinstance(e, ServerUnavailableError)]
            left = end - time.monotonic()
            if left <= 0 or not may_come or self._closed:
                self.close()
                raise ServerUnavailableError(reasons) from next(iter(errors.values()))
            if not pause_s:
                names = ", ".join(may_come)
                self._say(f"waiting for {names} for up to {wait_s:g} s; Ctrl-C stops: {reasons}")
            pause_s = min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_START_PAUSE_S, left)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause_s)
        for server, why in errors.items():
            self._leave(server, why)

    def detect(self, photo: PhotoLike, **how: Any) -> Faces:
        """Find all faces of one photo, as ``Client.detect`` does, on any of the servers.

        Raises:
            InputError: The photo can't be used.
            DeadlineError: No answer came in time.
            ModelMissingError: A server does not serve the model.
            ServersAwayError: No server was there for too long, or the pool has been closed.
            ServerError: The photo failed time after time on servers that work.
        """
        faces = self._try(photo, how)
        if isinstance(faces, ServerError):
            # It may have been this photo that brought the server down, and with it the requests of
            # others. One of them at a time is tried again, so that the others get their answers.
            with self._suspects:
                for _ in range(_TRIES - 1):
                    faces = self._try(photo, how)
                    if isinstance(faces, Faces):
                        break
        if isinstance(faces, ServerError):
            raise faces
        return faces

    def close(self) -> None:
        """Close all connections; calls under way in other threads end with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for server in self._servers:
            server.client.close()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def _unreachable(self) -> dict[_Server, ServerError]:
        """Connect to all at one time, and return why some could not be reached."""
        threads = ThreadPoolExecutor(len(self._servers), thread_name_prefix="connect")
        try:
            answers = {each: threads.submit(each.client.check_ready) for each in self._servers}
            errors = {}
            for server, answer in answers.items():
                try:
                    answer.result()
                except ServerError as error:
                    errors[server] = error
            return errors
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _try(self, photo: PhotoLike, how: dict[str, Any]) -> Faces | ServerError:
        """Ask one server; an error that another try may not meet is returned."""
        server = self._take()
        try:
            faces = server.client.detect(photo, **how)
            server.proven = True
            return faces
        except ServerError as error:
            if self._closed:
                raise ServersAwayError("the servers' connections have been closed") from error
            # A server that is starting again does not serve its models for a while.
            if isinstance(error, ModelMissingError) and not server.proven:
                raise
            self._leave(server, error, how)
            if isinstance(error, DeadlineError):
                raise
            return error
        finally:
            with self._changed:
                server.busy -= 1

    def _take(self) -> _Server:
        """Wait for the least busy server that is there, and count one more request to it."""
        with self._changed:
            while not self._closed:
                there = [server for server in self._servers if server.there]
                if there:
                    server = min(there, key=lambda server: (server.busy, server.asked))
                    server.busy += 1
                    server.asked += 1
                    return server
                if all(server.ended for server in self._servers):
                    reasons = "; ".join(server.ended for server in self._servers)
                    raise ServersAwayError(f"{reasons}; {_GOES_ON}")
                assert self._away_since is not None
                left = self._away_since + self._wait_s - time.monotonic()
                if left <= 0:
                    raise ServersAwayError(
                        f"no server has answered for {self._wait_s:g} s: {self._last_error}. When "
                        f"one is back, {_GOES_ON}"
                    )
                self._changed.wait(left)
        raise ServersAwayError("the servers' connections have been closed")

    def _leave(
        self, server: _Server, error: ServerError, how: dict[str, Any] | None = None
    ) -> None:
        """Send nothing more to a server until it has answered the probe photo, or is ready."""
        with self._changed:
            if not server.there:
                return
            server.there = False
            self._last_error = error
            others = sum(each.there for each in self._servers)
            if not others and self._away_since is None:
                self._away_since = time.monotonic()
        if isinstance(error, ServerUnavailableError):
            what = f"{others} other{'s' * (others != 1)} at work" if others else "waiting for it"
            self._say(f"{server.url} is away, {what}: {error}")
        thread = threading.Thread(target=self._recover, args=(server, how), daemon=True)
        with self._changed:
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _recover(self, server: _Server, how: dict[str, Any] | None) -> None:
        pause_s, photo, said = 0.0, probe_photo(), time.monotonic()
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, pause_s):
                    return
            try:
                server.client.check_ready()
                if how is not None:
                    server.client.detect(photo, **how)
                break
            except FacekitError as error:
                self._last_error = error
                server.ended = self._why_ended()
                if isinstance(error, ResponseError) and not server.proven:
                    server.ended = f"{server.url} is not a server of this kit's version: {error}"
            if server.ended:
                with self._changed:
                    self._changed.notify_all()
                return
            pause_s = min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        with self._changed:
            server.there = True
            self._away_since = None
            self._changed.notify_all()
        if time.monotonic() - said > 1:
            self._say(f"{server.url} is back")


def _silent(line: str) -> None:
    pass

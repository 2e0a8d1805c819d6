"""Who may call: bearer tokens from a file, and a rate for each client."""

import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from facekit.errors import DataError, writing
from facekit.gateway.problems import ProblemError
from facekit.text import count

# Of the tokens that `new_token` makes: 256 random bits can't be guessed from their hash, so a fast
# one is enough.
_TOKEN_BYTES = 32
_LINE = re.compile(r"([\w.@-]{1,64})\s+sha256:([0-9a-f]{64})")
_LOOK_S = 1.0
_CLIENTS = 10_000


def new_token(path: Path, name: str) -> str:
    """Make a token, add its name and hash to a file of tokens, and return it.

    Raises DataError if the name is taken or not a word, or the file can't be written.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    line = f"{name} sha256:{_hash(token)}"
    if not _LINE.fullmatch(line):
        raise DataError(path, f"name: expected letters, digits and . _ @ -, got {name!r}")
    with writing(path):
        path.touch(mode=0o600)
        if name in _read(path).values():
            raise DataError(path, f"has a token of the name {name} already")
        with path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            text = file.read()
            file.write(f"{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n")
    return token


class Tokens:
    """The tokens of a file, which is read again whenever it has changed.

    A file that is missing or can't be read lets nobody in; ``say`` is told why. ``own`` is a token
    of the server itself, in no file.

    Raises:
        DataError: At the start, the file can't be read or a line of it is wrong.
    """

    def __init__(self, path: Path, say: Callable[[str], None], own: str | None = None) -> None:
        self._path = path
        self._own = {} if own is None else {_hash(own): "facekit"}
        self._say = say
        self._names = _read(path)
        self._state = self._now()
        self._looked = time.monotonic()

    def name_of(self, authorization: str) -> str:
        """Return the name of the token in an ``Authorization`` header.

        Raises ProblemError (401) if it holds none, or an unknown one.
        """
        self._renew()
        scheme, _, token = authorization.partition(" ")
        given = _hash(token.strip()) if scheme.lower() == "bearer" and token.strip() else ""
        # Every hash is compared, each in constant time.
        found = [
            name
            for known, name in {**self._names, **self._own}.items()
            if hmac.compare_digest(known, given)
        ]
        if not found:
            what = "this token is not known" if given else "this server asks for a token"
            raise ProblemError(
                401,
                f"{what}: send the header Authorization: Bearer TOKEN",
                reason="token",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return found[0]

    def _renew(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        state = self._now()
        if state != self._state:
            self._state = state
            try:
                self._names = _read(self._path)
                self._say(f"{self._path}: {count(len(self._names), 'token')}")
            except DataError as error:
                self._names = {}
                self._say(f"{error}: nobody is let in")

    def _now(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


class Rates:
    """A bucket of requests for each client, filled at ``per_s`` a second, for two seconds."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._most = max(1.0, 2 * per_s)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Count one request of a client; raises ProblemError (429) if it has none left."""
        now = time.monotonic()
        left, since = self._left.pop(client, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_s)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        if len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        if not allowed:
            wait_s = max(1, math.ceil((1 - left) / self._per_s))
            raise ProblemError(
                429,
                f"more than {self._per_s:g} requests a second from one client",
                reason="rate",
                headers={"Retry-After": str(wait_s)},
            )


def network_of(address: str) -> str:
    """Return what one client has: an IPv4 address, or the 64 bits that an IPv6 network has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, str]:
    """Return the names of a file's tokens by their hashes."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(path, "no such file; make one with: facekit token FILE NAME") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read: {error}") from None
    names = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            if match is None:
                raise DataError(path, "expected NAME sha256:HASH", number)
            names[match[2]] = match[1]
    return names

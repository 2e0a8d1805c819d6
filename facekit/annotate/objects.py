"""Photos in an object store: a list of addresses in place of a folder.

``s3://BUCKET/KEY``, ``gs://BUCKET/KEY`` and ``file:///PATH``, opened with pyarrow on the machine
that does the work. Keys are taken as they are, nothing in them is decoded. Credentials, region and
another endpoint come from where each store's own tools have them, such as ``AWS_PROFILE``,
``AWS_REGION`` and ``AWS_ENDPOINT_URL``.
"""

import errno
import functools
import hashlib
import importlib.util
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from facekit import limits
from facekit.annotate.walk import Found
from facekit.annotations.record import FileStamp
from facekit.errors import DataError, SetupError, install_hint
from facekit.text import one_line

SCHEMES = ("s3", "gs", "file")
_REQUESTS = 32
"""Under way at a time while the list is looked at: each takes tens of milliseconds."""
_PAGE = 1024


def list_objects(path: Path, *, hash_content: bool = False) -> Iterator[Found]:
    """Yield the objects that a list names, with their present state.

    A line of it is an address; empty lines and those that start with ``#`` are skipped. With
    ``hash_content`` the objects are read, to detect changes by their content. Raises DataError if
    the list can't be read or a line is not such an address, and SetupError as ``read_object`` does.
    """
    try:
        with (
            path.open(encoding="utf-8-sig") as lines,
            ThreadPoolExecutor(_REQUESTS, thread_name_prefix="objects") as pool,
        ):
            addresses = _addresses(path, lines)
            while page := list(itertools.islice(addresses, _PAGE)):
                yield from pool.map(functools.partial(_look, hash_content=hash_content), page)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"can't be read as a list of photos: {error}") from error


def read_object(uri: str) -> tuple[bytes, FileStamp]:
    """Return an object's bytes, at most one more than a photo may have, and its state.

    Raises FileNotFoundError or another OSError if it can't be read, and SetupError if pyarrow is
    missing, or can't open such a store.
    """
    system, key = _open(uri)
    stamp = _stamp(system, key, uri)
    with system.open_input_stream(key) as stream:
        return stream.read(limits.MAX_PHOTO_BYTES + 1), stamp


def _addresses(path: Path, lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        uri = line.rstrip("\r\n")
        if not uri.strip() or uri.startswith("#"):
            continue
        scheme, separator, rest = uri.partition("://")
        if not separator or scheme not in SCHEMES or not rest.strip("/"):
            expected = "expected s3://BUCKET/KEY, gs://BUCKET/KEY or file:///PATH"
            raise DataError(path, f"{expected}, got {uri!r}", number)
        yield uri


def _look(uri: str, *, hash_content: bool) -> Found:
    # A second line of the same address has the same identity, and counts once.
    digest = hashlib.blake2b(uri.encode(), digest_size=16).digest()
    identity = (int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big"))
    try:
        if hash_content:
            data, stamp = read_object(uri)
            stamp = FileStamp(stamp.size, stamp.mtime_ns, hashlib.sha256(data).hexdigest())
        else:
            stamp = _stamp(*_open(uri), uri)
    except OSError as error:
        reason = "no such object" if isinstance(error, FileNotFoundError) else _reason(error)
        return Found(uri, FileStamp(0, 0), identity, reason)
    return Found(uri, stamp, identity, "")


def _stamp(system: Any, key: str, uri: str) -> FileStamp:
    from pyarrow.fs import FileType

    info = system.get_file_info(key)
    if info.type == FileType.NotFound:
        raise FileNotFoundError(errno.ENOENT, "no such object", uri)
    if info.type != FileType.File:
        raise OSError(errno.EISDIR, "a folder", uri)
    return FileStamp(info.size, info.mtime_ns or 0)


def _reason(error: OSError) -> str:
    return f"can't be read: {one_line(str(error.strerror or error))}"


def _open(uri: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    scheme, _, path = uri.partition("://")
    bucket = "" if scheme == "file" else path.partition("/")[0]
    return _system(scheme, bucket), path


@functools.lru_cache(maxsize=64)
def _system(scheme: str, bucket: str) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        raise SetupError(f"pyarrow is not installed: {install_hint('parquet')}")
    from pyarrow import fs

    try:
        if scheme == "file":
            return fs.LocalFileSystem()
        # From the address of the bucket alone: of a whole one pyarrow would decode the key.
        return fs.FileSystem.from_uri(f"{scheme}://{bucket}/")[0]
    except (OSError, NotImplementedError, ValueError) as error:
        # Every photo of the bucket would fail alike.
        raise SetupError(f"{scheme}://{bucket} can't be opened: {one_line(str(error))}") from error

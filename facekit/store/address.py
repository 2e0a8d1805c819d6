"""Opening a store by its address, and the names of its datasets."""

from pathlib import Path

from facekit.errors import StoreError
from facekit.store.store import Store

FORMS = "sqlite:///FILE, redis://[:PASSWORD@]HOST[:PORT][/DB], rediss://... or unix://FILE"
_REDIS = ("redis", "rediss", "unix")
_NAME_LENGTH = 200


def open_store(url: str, *, create: bool = True) -> Store:
    """Open a store to fill it, or one or a run's record to query it.

    Args:
        url: ``sqlite:///FILE`` (from the working folder; ``sqlite:////FILE`` from the root), or
            ``redis://``, ``rediss://`` (encrypted) or ``unix://`` as the package redis takes them.
        create: Whether it is to be filled, and is created where it is missing.

    Raises:
        StoreError: The address has an unknown form, or what is there is not a usable store.
        StoreUnavailableError: It does not answer.
        ModuleNotFoundError: The package redis is missing.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise StoreError(f"{masked(url)}: is not an address of a store; expected {FORMS}")
    if scheme == "sqlite":
        from facekit.store.sqlite import RECORD, STORE, SqliteStore

        if not rest.startswith("/") or rest == "/":
            raise StoreError(f"{masked(url)}: expected three slashes and a file: sqlite:///FILE")
        kinds = (STORE,) if create else (STORE, RECORD)
        return SqliteStore(Path(rest[1:]), create=create, kinds=kinds)
    if scheme in _REDIS:
        from facekit.store.redis_store import RedisStore

        return RedisStore(url, masked(url), create=create)
    raise StoreError(f"{masked(url)}: {scheme}:// is not supported; expected {FORMS}")


def masked(url: str) -> str:
    """Return an address as it may be shown: without a password, and without options.

    >>> masked("redis://:secret@host:6379/2?ssl_cert_reqs=none")
    'redis://:***@host:6379/2'
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        # What is not an address may still contain a password.
        return url if "@" not in url else "***"
    if scheme == "sqlite":
        return url
    before, at, host = rest.rpartition("@")
    if "?" in before:  # it is unknown where the password ends
        return f"{scheme}://***"
    # What stands alone is a name to Redis, but more often a password without its colon.
    user = before.partition(":")[0] if ":" in before else ""
    return f"{scheme}://{user + ':***@' if at else ''}{host.partition('?')[0]}"


def dataset_name(folder: Path) -> str:
    """Return the name that a folder's dataset has where none is given: the folder's own."""
    name = folder.absolute().name
    printable = "".join(each if each.isprintable() else "?" for each in name)
    return printable[:_NAME_LENGTH] or "photos"


def check_dataset_name(name: str) -> str:
    """Return a dataset's name; raises StoreError if empty, too long, or with control characters."""
    if not name or len(name) > _NAME_LENGTH or not name.isprintable():
        raise StoreError(
            f"{name!r}: is not a name of a dataset; expected 1 to {_NAME_LENGTH} printable "
            "characters"
        )
    return name

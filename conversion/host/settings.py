"""Settings of a run: the environment, then ``.env``, then the values of ``docker-compose.yml``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conversion import releases
from facekit.errors import ConfigError

_QUOTED = re.compile(r"""(['"])(.*?)\1(?:\s+#.*)?""")
_BASE_TAG = re.compile(r":(\d\d\.\d\d)-py3")

# Handed on to the container as they are, where they are set.
_PASSED_ON = (
    "FACEKIT_ACCEPT_EULA",
    "FACEKIT_WEIGHTS",
    "FACEKIT_NGC_URL",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


@dataclass(frozen=True)
class Settings:
    """What a run uses.

    Attributes:
        root: the clone; the image is built from it.
        repository: the model repository to fill.
        weights_dir: where downloads are kept between runs.
        image: the converter's image.
        base: the image it is built on.
        dali: the DALI version that is installed into it.
        user: ``UID:GID`` that the made files belong to.
        gpu: the GPU's index or UUID; "" for none.
        memory: the container's limit, as Docker writes it.
        environment: variables for the container; no secret among them.
        key: the NGC key; not shown when the settings are printed.
    """

    root: Path
    repository: Path
    weights_dir: Path
    image: str
    base: str
    dali: str
    user: str
    gpu: str
    memory: str
    environment: Mapping[str, str]
    key: str | None = field(repr=False)


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a ``.env`` file; a missing file has none.

    Raises:
        ConfigError: it can't be read, or a line is no ``NAME=VALUE``.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    values: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.removeprefix("export ").strip()
        if not equals or not name.isidentifier():
            # The line is not shown: it may hold a key.
            raise ConfigError(f"{path}:{number}: expected NAME=VALUE or a # comment")
        values[name] = _value(value.strip())
    return values


def _value(text: str) -> str:
    """Return a value as Compose v2 reads it: in quotes or not, a comment may follow."""
    if quoted := _QUOTED.fullmatch(text):
        return quoted[2]
    # Without quotes a comment begins after a blank.
    return text.split(" #", 1)[0].rstrip()


def load_settings(
    root: Path,
    environ: Mapping[str, str],
    *,
    repository: Path | None = None,
    weights_dir: Path | None = None,
    gpu: str | None = None,
) -> Settings:
    """Put the settings together; what is given here goes before ``environ`` and ``.env``.

    Raises:
        ConfigError: ``.env`` is damaged, a value makes no sense, or the key's file is missing.
        ReleaseError: the table of releases is damaged.
    """
    values = read_env_file(root / ".env")
    # As Compose does: the environment wins, also when it is empty.
    values.update({name: value for name, value in environ.items() if _is_ours(name)})

    def get(name: str, default: str) -> str:
        return values.get(name) or default

    table = releases.load()
    base = get("TRITON_IMAGE", f"nvcr.io/nvidia/tritonserver:{table.default.tag}-py3")
    repository = repository or _folder(root, get("FACEKIT_MODEL_REPOSITORY", "model_repository"))
    gpu = get("FACEKIT_GPU", "0") if gpu is None else gpu
    return Settings(
        root=root,
        repository=repository,
        weights_dir=weights_dir or _folder(root, get("FACEKIT_WEIGHTS_DIR", "weights")),
        image=get("FACEKIT_CONVERTER_IMAGE", "facekit/converter:0.1.0"),
        base=base,
        dali=_dali(table, base, values.get("DALI_VERSION", "")),
        user=_user(values, repository),
        gpu="" if gpu.lower() == "none" else gpu,
        memory=get("FACEKIT_CONVERTER_MEMORY", "16g"),
        environment={name: values[name] for name in _PASSED_ON if values.get(name)},
        key=_key(values, root),
    )


def _dali(table: releases.Releases, base: str, wanted: str) -> str:
    """Return the DALI for a base: what is wanted, or the newest that the base's Triton reads.

    Raises:
        ConfigError: the base's Triton does not read what that DALI writes; or it is unknown.
    """
    found = _BASE_TAG.search(base)
    if found is None:
        # An image of one's own: nobody here knows what is in it.
        return wanted or table.default.dali_wheel
    # A release that is not in the table reads at least what the one before it does.
    before = [release for release in table.known if release.tag <= found[1]]
    if not before:
        if wanted:
            return wanted
        raise ConfigError(
            f"{base}: conversion/releases.yaml knows no Triton this old (the first is "
            f"{table.known[0].tag}): set DALI_VERSION in .env to a version that it reads"
        )
    release = before[-1]
    newest = releases.numbers(release.dali)
    if release.tag == found[1] and releases.numbers(wanted)[: len(newest)] > newest:
        raise ConfigError(
            f"DALI_VERSION={wanted} is newer than the DALI of {base} ({release.dali}), which reads "
            f"no pipelines of a newer one: leave it out, or set it to {release.dali_wheel}"
        )
    return wanted or release.dali_wheel


def _is_ours(name: str) -> bool:
    return name.startswith(("FACEKIT_", "NGC_API_KEY")) or name in {
        "TRITON_IMAGE",
        "DALI_VERSION",
        *_PASSED_ON,
    }


def _folder(root: Path, text: str) -> Path:
    return Path(os.path.normpath(root / Path(text).expanduser()))


def _user(values: Mapping[str, str], repository: Path) -> str:
    """Return who the files shall belong to: who owns the repository, if nothing else is said."""
    try:
        owner = repository.stat()
        uid, gid = str(owner.st_uid), str(owner.st_gid)
    except OSError:
        uid, gid = str(os.getuid()), str(os.getgid())
    uid, gid = values.get("FACEKIT_UID") or uid, values.get("FACEKIT_GID") or gid
    for name, value in (("FACEKIT_UID", uid), ("FACEKIT_GID", gid)):
        if not value.isdecimal():
            raise ConfigError(f"{name}: expected a number such as 1000, got {value!r}")
    return f"{uid}:{gid}"


def _key(values: Mapping[str, str], root: Path) -> str | None:
    if values.get("NGC_API_KEY"):
        return values["NGC_API_KEY"].strip()
    name = values.get("NGC_API_KEY_FILE")
    if not name or name == os.devnull:
        return None
    path = _folder(root, name)
    try:
        return path.read_text("utf-8").strip() or None
    except OSError as error:
        raise ConfigError(
            f"NGC_API_KEY_FILE: {path} can't be read: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"NGC_API_KEY_FILE: {path} can't be read: {error}") from error

"""NVIDIA's NGC: addresses and folders of files, and the key. Nothing here uses the network."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from conversion.catalog import NgcVersion
from conversion.commands import TAO_CONVERTER
from conversion.errors import FetchError

NGC_URL = "https://api.ngc.nvidia.com"
TOKEN_URL = "https://authn.nvidia.com/token"
URL_VARIABLE = "FACEKIT_NGC_URL"
"""Another server that answers like NGC: a mirror, or the tests' own."""
KEY_VARIABLE = "NGC_API_KEY"
KEY_FILE_VARIABLE = "NGC_API_KEY_FILE"
KEY_FILE = Path("/run/secrets/ngc_api_key")
"""Where Docker puts a secret of this name."""
KEY_PAGE = "https://org.ngc.nvidia.com/setup/api-keys"
EXECUTABLE = 0o755


@dataclass(frozen=True)
class Artifact:
    """One version of a model or resource (``kind``) on NGC, such as ``org/team/name:version``."""

    kind: str
    label: str

    @classmethod
    def model(cls, ngc: NgcVersion) -> Artifact:
        """Return the model version that a catalog names."""
        return cls("models", ngc.label)

    @classmethod
    def tao_converter(cls, version: str) -> Artifact:
        """Return a version of NVIDIA's ``tao-converter``."""
        return cls("resources", f"nvidia/tao/{TAO_CONVERTER}:{version}")

    @property
    def page(self) -> str:
        """Where a person reads about it and accepts its license."""
        org, team, name, _ = self._parts()
        return f"https://catalog.ngc.nvidia.com/orgs/{org}/teams/{team}/{self.kind}/{name}"

    def urls(self, base: str, file: str) -> tuple[str, str]:
        """Return the addresses of a file: NGC's usual pattern, and the newer one beside it."""
        org, team, name, version = (quote(part, safe="") for part in self._parts())
        path = quote(file, safe="")
        start = f"{base}/v2/{self.kind}"
        return (
            f"{start}/{org}/{team}/{name}/versions/{version}/files/{path}",
            f"{start}/org/{org}/team/{team}/{name}/{version}/files?redirect=true&path={path}",
        )

    def _parts(self) -> list[str]:
        name, _, version = self.label.partition(":")
        return [*name.split("/"), version]


def base_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the server that is asked; a FetchError names a bad ``FACEKIT_NGC_URL``."""
    text = environment.get(URL_VARIABLE, "") or NGC_URL
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise FetchError(f"{URL_VARIABLE}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError(f"{URL_VARIABLE}: expected an address like {NGC_URL}")
    if parts.username is not None or parts.query or parts.fragment:
        raise FetchError(f"{URL_VARIABLE}: expected no user name, query or fragment in it")
    return text.rstrip("/")


def api_key(environment: Mapping[str, str] = os.environ, key_file: Path = KEY_FILE) -> str | None:
    """Return the key: ``NGC_API_KEY``, or what a file holds; ``None`` if there is none.

    The file is the one that ``NGC_API_KEY_FILE`` names, or Docker's secret ``ngc_api_key``. Raises
    FetchError if it can't be read or does not contain a key; its content is not repeated.
    """
    where, text = KEY_VARIABLE, environment.get(KEY_VARIABLE, "").strip()
    if not text:
        named = environment.get(KEY_FILE_VARIABLE, "")
        path = Path(named) if named else key_file
        where = str(path)
        try:
            text = path.read_text("utf-8").strip() if named or path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise FetchError(f"the NGC key cannot be read from {path}: {reason}") from None
    if not text:
        return None
    if not re.fullmatch(r"[!-~]+", text):
        raise FetchError(
            f"{where} does not contain an NGC key: a key is one word of ASCII characters, without "
            f"blanks and line breaks. Keys are made at {KEY_PAGE}"
        )
    return text


def find_tao_converter(version: str, directory: Path) -> Path | None:
    """Return NVIDIA's ``tao-converter`` among the downloads, made executable; ``None`` without it.

    Raises FetchError if it is not executable, and that can't be changed.
    """
    for folder in tao_converter_folders(version):
        path = directory / folder / TAO_CONVERTER
        if not path.is_file() or not path.stat().st_size:
            continue
        if not os.access(path, os.X_OK):
            # A copy from a Windows share or out of an archive has lost it.
            try:
                path.chmod(EXECUTABLE)
            except OSError as error:
                raise FetchError(
                    f"{path} is not executable: {error.strerror}. Run: chmod 755 {path}"
                ) from error
        return path
    return None


def tao_converter_folders(version: str) -> list[str]:
    """Return the names of the folders that ``tao-converter`` may be in."""
    # NGC's command line puts a "v" before every version, before one that has its own too.
    return [f"{TAO_CONVERTER}_{version}", f"{TAO_CONVERTER}_v{version}"]

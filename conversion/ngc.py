"""NVIDIA's NGC: addresses of files, and the key. Nothing here asks the network."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from conversion.catalog import NgcVersion
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


@dataclass(frozen=True)
class Artifact:
    """One version of a model or of a resource on NGC."""

    kind: str
    """``models`` or ``resources``, as the addresses say."""
    org: str
    team: str
    name: str
    version: str

    @classmethod
    def of(cls, ngc: NgcVersion) -> Artifact:
        """Return the model version that a catalog names."""
        return cls("models", ngc.org, ngc.team, ngc.model, ngc.version)

    @property
    def label(self) -> str:
        """As NGC's own command line names it."""
        return f"{self.org}/{self.team}/{self.name}:{self.version}"

    @property
    def page(self) -> str:
        """Where a person reads about it and accepts its terms."""
        return (
            f"https://catalog.ngc.nvidia.com/orgs/{self.org}/teams/{self.team}/{self.kind}/"
            f"{self.name}"
        )

    def urls(self, base: str, file: str) -> tuple[str, str]:
        """Return the addresses of a file: NGC's usual pattern, and the newer one beside it."""
        org, team, name, version, path = (
            quote(part, safe="") for part in (self.org, self.team, self.name, self.version, file)
        )
        start = f"{base}/v2/{self.kind}"
        return (
            f"{start}/{org}/{team}/{name}/versions/{version}/files/{path}",
            f"{start}/org/{org}/team/{team}/{name}/{version}/files?redirect=true&path={path}",
        )


def base_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the server that is asked, without a slash at the end.

    Raises:
        FetchError: ``FACEKIT_NGC_URL`` is no address.
    """
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

    The file is the one that ``NGC_API_KEY_FILE`` names, or Docker's secret ``ngc_api_key``.

    Raises:
        FetchError: the file can't be read, or what it holds is no key; the key is not repeated.
    """
    where, text = KEY_VARIABLE, environment.get(KEY_VARIABLE, "").strip()
    if not text:
        named = environment.get(KEY_FILE_VARIABLE, "")
        path = Path(named) if named else key_file
        where = str(path)
        try:
            text = path.read_text("utf-8").strip() if named or path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            words = getattr(error, "strerror", None) or "not text"
            raise FetchError(f"the NGC key can't be read from {path}: {words}") from None
    if not text:
        return None
    if not re.fullmatch(r"[!-~]+", text):
        raise FetchError(
            f"{where} holds no NGC key: a key is one word of plain characters, this has blanks, "
            f"line breaks or others in it. Keys are made at {KEY_PAGE}"
        )
    return text

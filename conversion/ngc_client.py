"""NGC over its REST interface: the key, redirects, and what a refusal means.

A request goes out without a key first, since most models are public and a worn-out key would only
stand in the way; the key follows when NGC refuses. A personal key (``nvapi-``) is sent as it is, a
legacy key is exchanged for a token at authn.nvidia.com, as NVIDIA's own tools do. Neither goes to
any other host than the one that was asked: NGC redirects to a storage that has its own signature.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests

from conversion.errors import FetchError
from conversion.ngc import KEY_PAGE, NGC_URL, TOKEN_URL, Artifact, base_url
from conversion.patience import Policy, Setback
from conversion.server_words import (
    FETCH_ELSEWHERE,
    answer_text,
    origin,
    reason,
    retry_after_s,
    shown,
)

_REDIRECTS = 5
_REFUSED = (401, 403)
_UNKNOWN = 404
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_USABLE = (200, 206, 416)
_NO_ADDRESS = "it redirects to something that is no address"


@dataclass(frozen=True)
class _Refusal:
    """An answer without the file."""

    status: int
    said: str
    url: str


class Ngc:
    """NGC, or what ``FACEKIT_NGC_URL`` puts in its place.

    Args:
        key: the key, where there is one.
        environment: where ``FACEKIT_NGC_URL`` is looked up.
    """

    def __init__(self, key: str | None, environment: Mapping[str, str] = os.environ) -> None:
        self.base = base_url(environment)
        self._token_url = TOKEN_URL if self.base == NGC_URL else f"{self.base}/token"
        self._key, self._token = key, ""
        self._key_first = False
        self._session = requests.Session()
        # Left to itself, requests sends what ~/.netrc holds for a host.
        self._session.auth = _keep_headers

    def file(self, artifact: Artifact, name: str) -> NgcFile:
        """Return one file of an artifact, as a download wants it."""
        return NgcFile(self, artifact, name)

    def open(self, file: NgcFile, headers: Mapping[str, str], policy: Policy) -> requests.Response:
        """Ask for a file, without the key and then with it.

        Raises:
            FetchError: it can't be had.
            Setback: not now.
        """
        refusal: _Refusal | None = None
        for with_key in self._turns():
            refusal = None
            for url in file.artifact.urls(self.base, file.name):
                response = self._follow(file, url, with_key, headers, policy)
                if response.status_code in _USABLE:
                    self._key_first = with_key
                    return response
                answer = self._read_refusal(response)
                # A refusal says more than the "not found" of the other address.
                if refusal is None or answer.status != _UNKNOWN:
                    refusal = answer
                if answer.status != _UNKNOWN:
                    break
            if refusal is not None and refusal.status not in (*_REFUSED, _UNKNOWN):
                break
        assert refusal is not None
        raise self._refused(file, refusal)

    def _hide(self, text: str) -> str:
        """Return a text without the key and the token."""
        for secret in (self._key, self._token):
            if secret:
                text = text.replace(secret, "***")
        return text

    def _turns(self) -> tuple[bool, ...]:
        if self._key is None:
            return (False,)
        return (True,) if self._key_first else (False, True)

    def _follow(
        self,
        file: NgcFile,
        url: str,
        with_key: bool,
        headers: Mapping[str, str],
        policy: Policy,
    ) -> requests.Response:
        """Ask, follow redirects, and let the key go to the first host only."""
        asked = origin(url)
        for _ in range(_REDIRECTS + 1):
            sent = dict(headers)
            if with_key and origin(url) == asked:
                sent["Authorization"] = f"Bearer {self._bearer(file, policy)}"
            response = self._get(file, url, sent, policy)
            target = response.headers.get("Location")
            if not response.is_redirect or target is None:
                return response
            response.close()
            allowed = {"https", urlsplit(url).scheme}
            try:
                url = urljoin(url, target)
                origin(url)
            except ValueError:
                raise file.error(_NO_ADDRESS) from None
            if urlsplit(url).scheme not in allowed:
                raise file.error(f"it redirects to {shown(url)}, which is not encrypted")
        raise file.error(f"more than {_REDIRECTS} redirects, the last to {shown(url)}")

    def _get(
        self, file: NgcFile, url: str, headers: Mapping[str, str], policy: Policy
    ) -> requests.Response:
        host = urlsplit(url).netloc
        unreachable = f"See that this machine reaches {host}; .env takes a proxy as https_proxy"
        # The library's own errors repeat the URL with its query, so none of them is chained.
        try:
            return self._session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(policy.connect_timeout_s, policy.read_timeout_s),
            )
        except requests.exceptions.SSLError as error:
            raise file.error(
                f"{host} has no certificate that is trusted here ({self._hide(reason(error))})",
                f"A proxy that reads along stands in between: {FETCH_ELSEWHERE}",
            ) from None
        except requests.exceptions.ConnectTimeout:
            said = f"{host} did not answer in {policy.connect_timeout_s:g} s"
            raise Setback(said, remedy=unreachable) from None
        except requests.exceptions.Timeout:
            raise Setback(f"{host} said nothing for {policy.read_timeout_s:g} s") from None
        except requests.exceptions.ConnectionError as error:
            said = f"no connection to {host} ({self._hide(reason(error))})"
            raise Setback(said, remedy=unreachable) from None
        except requests.exceptions.RequestException as error:
            raise file.error(f"{type(error).__name__} at {shown(url)}") from None
        except ValueError:
            # The library looks at where a redirect goes even when told not to follow it.
            raise file.error(_NO_ADDRESS) from None

    def _bearer(self, file: NgcFile, policy: Policy) -> str:
        """Return what NGC takes: the personal key, or a token for the legacy key."""
        assert self._key is not None
        if self._key.startswith("nvapi-"):
            return self._key
        if not self._token:
            basic = base64.b64encode(f"$oauthtoken:{self._key}".encode()).decode()
            headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
            response = self._get(file, f"{self._token_url}?service=ngc", headers, policy)
            if response.status_code != requests.codes.ok:
                raise file.error(
                    f"{shown(self._token_url)} gave no token for the NGC key: "
                    f"{self._read_refusal(response).said}",
                    f"Make a personal key (it begins with nvapi-) at {KEY_PAGE}",
                )
            self._token = _token_in(response)
            if not self._token:
                raise file.error(f"{shown(self._token_url)} answered without a token")
        return self._token

    def _read_refusal(self, response: requests.Response) -> _Refusal:
        """Return what an answer without the file says.

        Raises:
            Setback: it says to try later.
        """
        with response:
            said = self._hide(answer_text(response))
            if response.status_code in _PASSING:
                wait_s = retry_after_s(response.headers.get("Retry-After"))
                raise Setback(said, wait_s)
            return _Refusal(response.status_code, said, response.url)

    def _refused(self, file: NgcFile, refusal: _Refusal) -> FetchError:
        said = refusal.said
        if origin(refusal.url) != origin(self.base):
            said = f"{said} (from {shown(refusal.url)}, where NGC redirects to)"
        if refusal.status in _REFUSED and self._key is None:
            return file.error(
                said,
                f"Set NGC_API_KEY in .env; a key is made at {KEY_PAGE}. Or {FETCH_ELSEWHERE}",
            )
        if refusal.status in _REFUSED:
            return file.error(
                said,
                f"The key of NGC_API_KEY is not enough: see at {file.artifact.page} whether terms "
                f"must be accepted, or make another key at {KEY_PAGE}",
            )
        if refusal.status == _UNKNOWN:
            return file.error(
                said,
                f"See at {file.artifact.page} which versions there are, or {FETCH_ELSEWHERE}",
            )
        return file.error(said)


@dataclass(frozen=True)
class NgcFile:
    """One file on NGC, for :func:`conversion.download.download`."""

    ngc: Ngc
    artifact: Artifact
    name: str

    @property
    def label(self) -> str:
        """The file and what it is part of."""
        return f"{self.name} of {self.artifact.label}"

    @property
    def url(self) -> str:
        """Its address."""
        return self.artifact.urls(self.ngc.base, self.name)[0]

    def open(self, headers: Mapping[str, str], policy: Policy) -> requests.Response:
        """Ask for it."""
        return self.ngc.open(self, headers, policy)

    def error(self, said: str, remedy: str | None = None) -> FetchError:
        """Return the error that says which file, from where, what happened and what to do."""
        remedy = remedy or f"Try again later. Or {FETCH_ELSEWHERE}"
        return FetchError(f"{self.label}: {shown(self.url)}: {said}. {remedy}.")


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _token_in(response: requests.Response) -> str:
    try:
        with response:
            token = response.json()["token"]
    except (requests.exceptions.RequestException, ValueError, KeyError, TypeError):
        return ""
    return token if isinstance(token, str) and re.fullmatch(r"[!-~]+", token) else ""

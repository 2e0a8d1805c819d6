"""NGC over its REST interface: the key, redirects, and what a refusal means.

A request goes out without a key first, because most models are public and an expired key would only
cause a refusal; the key follows when NGC refuses. A personal key (``nvapi-``) is sent as it is, a
legacy key is exchanged for a token at authn.nvidia.com, as NVIDIA's own tools do. NGC redirects to
a storage that has its own signature; ``requests`` sends the key to no other host, and no message
repeats an address's query.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
import urllib3

from conversion.errors import FetchError, causes
from conversion.ngc import KEY_PAGE, NGC_URL, TOKEN_URL, Artifact, base_url

FETCH_ELSEWHERE = "fetch the file where you can, and give its folder: scripts/convert --from DIR"

_REDIRECTS = 5
_NO_ADDRESS = "it redirects to no valid address"
_REFUSED = (401, 403)
_NOT_FOUND = 404
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_USABLE = (200, 206, 416)
_BODY_BYTES = 4096
_BODY_CHARACTERS = 200


class TransientError(Exception):
    """A failure that another attempt may not have.

    ``wait_s`` is how long the server asks to wait; ``remedy`` what to do if no attempt succeeds.
    """

    def __init__(self, reason: str, wait_s: float | None = None, remedy: str = "") -> None:
        super().__init__(reason)
        self.wait_s, self.remedy = wait_s, remedy


@dataclass(frozen=True)
class Timeouts:
    """Seconds for a connection, and without a single byte; a slow download is let go on."""

    connect_s: float = 15.0
    read_s: float = 60.0


class _RedirectError(Exception):
    """A redirect that is not followed."""


class _Session(requests.Session):
    """A session that sends no password of ``~/.netrc`` and leaves encryption by no redirect."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = _REDIRECTS
        self.auth = lambda request: request  # otherwise ~/.netrc is looked up

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        # As requests does it, without what ~/.netrc has for the new host.
        old, new = response.request.url, prepared_request.url
        if self.should_strip_auth(old, new):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target: str | None = super().get_redirect_target(resp)
        if target is None:
            return None
        try:
            url = urljoin(resp.url, target)
            if urlsplit(url).scheme in ("https", urlsplit(resp.url).scheme):
                return target
            reason = f"it redirects to {without_query(url)}, which is not encrypted"
        except ValueError:
            reason = _NO_ADDRESS
        resp.close()
        raise _RedirectError(reason)


class Ngc:
    """NGC, or what ``FACEKIT_NGC_URL`` of ``environment`` puts in its place."""

    def __init__(
        self,
        key: str | None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - it is frozen
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.base = base_url(environment)
        self._token_url = TOKEN_URL if self.base == NGC_URL else f"{self.base}/token"
        self._key, self._token, self.timeouts = key, "", timeouts
        self._key_first = False
        self._session = _Session()

    def open(self, file: NgcFile, headers: Mapping[str, str]) -> requests.Response:
        """Request a file, without the key and then with it.

        Raises FetchError if it can't be fetched, and TransientError if not now.
        """
        turns = (True,) if self._key_first else (False, True) if self._key else (False,)
        for with_key in turns:
            sent = dict(headers)
            if with_key:
                sent["Authorization"] = f"Bearer {self._bearer(file)}"
            for url in file.artifact.urls(self.base, file.name):
                response = self._get(file, url, sent)
                if response.status_code in _USABLE:
                    self._key_first = with_key
                    return response
                reason = self._refusal_text(response)
                # A refusal is final; only what was not found may be at the other address.
                if response.status_code != _NOT_FOUND:
                    break
            if response.status_code not in (*_REFUSED, _NOT_FOUND):
                break
        raise self._refused(file, response, reason)

    def _hide(self, text: str) -> str:
        """Return a text without the key and the token."""
        for secret in filter(None, (self._key, self._token)):
            text = text.replace(secret, "***")
        return text

    def _get(self, file: NgcFile, url: str, headers: Mapping[str, str]) -> requests.Response:
        host = urlsplit(url).netloc
        check = f"Check that this machine reaches {host}; .env takes a proxy as https_proxy"
        # The library's own errors repeat the URL with its query, so none of them is chained.
        try:
            timeout = (self.timeouts.connect_s, self.timeouts.read_s)
            return self._session.get(url, headers=headers, stream=True, timeout=timeout)
        except requests.exceptions.SSLError as error:
            raise file.error(
                f"{host} has no certificate that is trusted here ({self._hide(_cause(error))})",
                f"A proxy that intercepts TLS may be in between: {FETCH_ELSEWHERE}",
            ) from None
        except requests.exceptions.ConnectTimeout:
            reason = f"{host} did not answer in {self.timeouts.connect_s:g} s"
            raise TransientError(reason, remedy=check) from None
        except requests.exceptions.Timeout:
            raise TransientError(f"{host} sent nothing for {self.timeouts.read_s:g} s") from None
        except requests.exceptions.ConnectionError as error:
            reason = f"no connection to {host} ({self._hide(_cause(error))})"
            raise TransientError(reason, remedy=check) from None
        except requests.exceptions.TooManyRedirects:
            raise file.error(f"more than {_REDIRECTS} redirects") from None
        except _RedirectError as error:
            raise file.error(str(error)) from None
        except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationParseError):
            raise file.error(_NO_ADDRESS) from None
        except requests.exceptions.RequestException as error:
            raise file.error(f"{type(error).__name__} at {without_query(url)}") from None
        except ValueError:  # such as a port that is not a number
            raise file.error(_NO_ADDRESS) from None

    def _bearer(self, file: NgcFile) -> str:
        """Return what NGC takes: the personal key, or a token for the legacy key."""
        assert self._key is not None
        if self._key.startswith("nvapi-"):
            return self._key
        if not self._token:
            basic = base64.b64encode(f"$oauthtoken:{self._key}".encode()).decode()
            headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
            response = self._get(file, f"{self._token_url}?service=ngc", headers)
            if response.status_code != requests.codes.ok:
                raise file.error(
                    f"{without_query(self._token_url)} gave no token for the NGC key: "
                    f"{self._refusal_text(response)}",
                    f"Make a personal key (it begins with nvapi-) at {KEY_PAGE}",
                )
            self._token = _token_in(response)
            if not self._token:
                raise file.error(f"{without_query(self._token_url)} answered without a token")
        return self._token

    def _refusal_text(self, response: requests.Response) -> str:
        """Return what an answer without the file says; raises TransientError for "try later"."""
        with response:
            reason = self._hide(_answer_text(response))
            if response.status_code in _TRANSIENT:
                wait_s = None
                with contextlib.suppress(urllib3.exceptions.InvalidHeader):
                    wait_s = urllib3.Retry().get_retry_after(response.raw)
                raise TransientError(reason, wait_s)
            return reason

    def _refused(self, file: NgcFile, refusal: requests.Response, reason: str) -> FetchError:
        if urlsplit(refusal.url).netloc != urlsplit(self.base).netloc:
            reason += f" (from {without_query(refusal.url)}, where NGC redirects to)"
        remedy = None
        if refusal.status_code in _REFUSED and self._key is None:
            remedy = f"Set NGC_API_KEY in .env; a key is made at {KEY_PAGE}. Or {FETCH_ELSEWHERE}"
        elif refusal.status_code in _REFUSED:
            remedy = (
                f"The key of NGC_API_KEY is not enough: check at {file.artifact.page} whether a "
                f"license must be accepted, or make another key at {KEY_PAGE}"
            )
        elif refusal.status_code == _NOT_FOUND:
            remedy = f"Check at {file.artifact.page} which versions there are, or {FETCH_ELSEWHERE}"
        return file.error(reason, remedy)


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

    def open(self, headers: Mapping[str, str]) -> requests.Response:
        """Request the file, as :meth:`Ngc.open` does; the answer's status is 200, 206 or 416."""
        return self.ngc.open(self, headers)

    def error(self, reason: str, remedy: str | None = None) -> FetchError:
        """Return the error that says which file, from where, what happened and what to do."""
        url = without_query(self.artifact.urls(self.ngc.base, self.name)[0])
        remedy = remedy or f"Try again later. Or {FETCH_ELSEWHERE}"
        return FetchError(f"{self.label}: {url}: {reason}. {remedy}.")


def without_query(url: str) -> str:
    """Return an address without user, query and fragment, for people.

    >>> without_query("https://a:b@host/file?X-Amz-Signature=secret#part")
    'https://host/file'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _answer_text(response: requests.Response) -> str:
    """Return the status and the first line of the body, or of its markup's title or message."""
    text = ""
    with contextlib.suppress(Exception):  # without a body, the status is enough
        body = response.raw.read(_BODY_BYTES, decode_content=True)
        text = body.decode("utf-8", "replace").strip()
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["requestStatus"]["statusDescription"])
    # The title of a web page, or the message of S3's XML.
    if found := re.search(r"<(?:title|message)\b[^>]*>\s*([^<]+)", text, re.IGNORECASE):
        text = found[1]
    line = "".join(filter(str.isprintable, text.strip().partition("\n")[0]))[:_BODY_CHARACTERS]
    status = f"the server said {response.status_code} {response.reason or ''}".rstrip()
    return f"{status}: {line!r}" if line else status


def _token_in(response: requests.Response) -> str:
    try:
        with response:
            token = response.json()["token"]
    except (requests.exceptions.RequestException, ValueError, KeyError, TypeError):
        return ""
    return token if isinstance(token, str) and re.fullmatch(r"[!-~]+", token) else ""


def _cause(error: BaseException) -> str:
    """Return what the operating system or TLS said, at the bottom of a library's error."""
    found = type(error).__name__
    for cause in causes(error):
        text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
        if isinstance(cause, http.client.RemoteDisconnected):
            text = "it ended the connection without an answer"
        found = str(text) if text else found
    return found

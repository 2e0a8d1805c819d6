"""What web addresses, answers and errors say, in words that hold no secret."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import re
import time
from urllib.parse import urlsplit, urlunsplit

import requests

FETCH_ELSEWHERE = "fetch the file where you can, and give its folder: scripts/convert --from DIR"

_BODY_BYTES = 4096
_BODY_CHARACTERS = 200


def shown(url: str) -> str:
    """Return an address without user, query and fragment, for people.

    >>> shown("https://a:b@host/file?X-Amz-Signature=secret#part")
    'https://host/file'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def origin(url: str) -> tuple[str, str, int]:
    """Return what a key is bound to: scheme, host and port.

    >>> origin("https://API.ngc.nvidia.com/v2") == origin("https://api.ngc.nvidia.com:443/x")
    True
    """
    parts = urlsplit(url)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def answer_text(response: requests.Response) -> str:
    """Return the status and the first line of the body, or what stands for it in a markup."""
    text = ""
    with contextlib.suppress(Exception):
        # However the body fails to come, the status has been told.
        text = (
            response.raw.read(_BODY_BYTES, decode_content=True).decode("utf-8", "replace").strip()
        )
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["requestStatus"]["statusDescription"])
    # The title of a web page, or the message of S3's XML.
    if words := re.search(r"<(?:title|message)\b[^>]*>\s*([^<]+)", text, re.IGNORECASE):
        text = words.group(1)
    line = "".join(filter(str.isprintable, text.strip().partition("\n")[0]))[:_BODY_CHARACTERS]
    status = f"the server said {response.status_code} {response.reason or ''}".rstrip()
    return f"{status}: {line!r}" if line else status


def retry_after_s(text: str | None) -> float | None:
    """Return a pause that is asked for in seconds or by date; ``None`` without one.

    >>> retry_after_s("7"), retry_after_s("Thu, 01 Jan 1970 00:00:00 GMT"), retry_after_s("x")
    (7.0, 0.0, None)
    """
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        then = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, then.timestamp() - time.time())


def reason(error: BaseException) -> str:
    """Return the words of the operating system or of TLS at the bottom of a library's error."""
    found, seen, queue = type(error).__name__, set[int](), [error]
    while queue:
        inner = queue.pop(0)
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        words = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None)
        if isinstance(inner, http.client.RemoteDisconnected):
            words = "it ended the connection without an answer"
        if words:
            found = str(words)
        queue += [
            each
            for each in (
                inner.__cause__,
                inner.__context__,
                getattr(inner, "reason", None),
                *inner.args,
            )
            if isinstance(each, BaseException)
        ]
    return found

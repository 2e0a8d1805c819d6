"""Which web pages may call: a browser sends what any page asks it to, also to this machine."""

import ipaddress
import re

from starlette.datastructures import Headers

from facekit.gateway.problems import ProblemError

_HOST = re.compile(r"(\[[^]]*\]|[^:]*)(?::\d*)?")


class Sites:
    """The sites whose pages may call.

    Args:
        origins: Other sites, such as ``https://example.org``; ``*`` is every one.
        local: Whether only this machine is listened to, so that a host name other than its own is
            one that some site has pointed at it (DNS rebinding).
    """

    def __init__(self, origins: tuple[str, ...], *, local: bool) -> None:
        self._origins = origins
        self._local = local

    def check(self, headers: Headers) -> None:
        """Raise ProblemError (403) for a call by a page of another site, or under its name."""
        if self._local and not _is_own(headers.get("host", "")):
            raise ProblemError(
                403,
                "Host: expected localhost or an IP address; this server is local",
                reason="site",
            )
        # Browsers say so; other programs do not, and need no leave.
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign and not {"*", headers.get("origin", "")} & set(self._origins):
            raise ProblemError(
                403, "a page of another site called, which --cors does not name", reason="site"
            )


def _is_own(host: str) -> bool:
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower() if match else ""
    if name in ("", "localhost") or name.endswith(".localhost"):
        return match is not None
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

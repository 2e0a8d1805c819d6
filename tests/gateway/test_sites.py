"""Which web pages may call a gateway."""

from __future__ import annotations

import pytest
import requests
from starlette.datastructures import Headers

from facekit.gateway.problems import ProblemError
from facekit.gateway.sites import Sites
from tests.gateway.gateways import gateway


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8000"},
        {"host": "127.0.0.1"},
        {"host": "[::1]:8000"},
        {"host": "192.168.1.7:8000"},
        {"host": ""},
        {"host": "localhost", "sec-fetch-site": "same-origin"},
        {"host": "localhost", "sec-fetch-site": "none"},
        {"host": "localhost", "sec-fetch-site": "cross-site", "origin": "https://good.example"},
    ],
)
def test_own_pages_and_programs_may_call(headers: dict[str, str]) -> None:
    Sites(("https://good.example",), local=True).check(Headers(headers))


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"host": "evil.example:8000"}, "Host: expected localhost"),
        ({"host": "localhost.evil.example"}, "Host: expected localhost"),
        ({"host": "127.0.0.1.evil.example"}, "Host: expected localhost"),
        ({"host": "a:b:c"}, "Host: expected localhost"),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, "another site called"),
        ({"host": "localhost", "sec-fetch-site": "same-site"}, "another site called"),
        (
            {"host": "localhost", "sec-fetch-site": "cross-site", "origin": "https://evil.example"},
            "another site called",
        ),
    ],
)
def test_pages_of_other_sites_may_not(headers: dict[str, str], said: str) -> None:
    with pytest.raises(ProblemError, match=said) as caught:
        Sites(("https://good.example",), local=True).check(Headers(headers))
    assert caught.value.status == 403


def test_published_server_has_names_of_its_own_and_every_origin_can_be_named() -> None:
    Sites((), local=False).check(Headers({"host": "faces.example"}))
    Sites(("*",), local=False).check(Headers({"sec-fetch-site": "cross-site"}))


def test_page_is_open_and_calls_are_not() -> None:
    foreign = {"Host": "evil.example"}
    with gateway() as url:
        assert asked(f"{url}/", foreign) == 200
        assert asked(f"{url}/v1/status", foreign) == 403
        assert asked(f"{url}/v1/status", {"Sec-Fetch-Site": "cross-site"}) == 403
        assert asked(f"{url}/v1/status", {}) == 200


def asked(url: str, headers: dict[str, str]) -> int:
    return requests.get(url, headers=headers, timeout=30).status_code

"""The page's files: their types and headers, and that nothing in them refers to elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
import requests

from facekit.gateway.pages import FILES
from tests.gateway.gateways import gateway

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
Call = Callable[..., requests.Response]
OWN = [path for path, file in FILES.items() if "swagger" not in file.name]


@pytest.fixture(scope="module")
def call() -> Iterator[Call]:
    with gateway() as url:
        yield lambda path, method="GET", **options: requests.request(
            method, url + path, timeout=10, **options
        )


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the text inside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inline += data.strip()


@pytest.mark.parametrize("path", FILES)
def test_a_file_has_its_type_and_strict_headers(call: Call, path: str) -> None:
    answer = call(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == TYPES[FILES[path].name.rpartition(".")[2]]
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "form-action 'none'"} <= set(policy)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "camera=(self)" in answer.headers["permissions-policy"]


def test_an_unchanged_file_is_not_sent_again(call: Call) -> None:
    first = call("/page.js")
    again = call("/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert call("/page.js", "HEAD").headers["content-length"] == str(len(first.content))
    assert call("/page.js", "POST").status_code == 405


@pytest.mark.parametrize("path", OWN)
def test_nothing_refers_to_elsewhere(call: Call, path: str) -> None:
    # XML's namespaces are names, no addresses.
    text = call(path).text.replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"\w+://|[\"'(]//\w|@import|\beval\(|new Function", text) == []


@pytest.mark.parametrize("path", [path for path in FILES if FILES[path].name.endswith(".html")])
def test_a_page_has_no_inline_script_or_style_and_its_files_are_there(
    call: Call, path: str
) -> None:
    page = Tags(call(path).text)
    assert page.inline == ""
    for tag, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        for name in ("src", "href"):
            if attributes.get(name):
                target = urljoin(path, attributes[name])
                assert call(target).status_code == 200, (tag, target)


def test_what_a_script_imports_is_there(call: Call) -> None:
    modules = [path for path in OWN if path.endswith(".js")]
    imported = [
        (path, urljoin(path, name))
        for path in modules
        for name in re.findall(r'from "(.+?)"', call(path).text)
    ]
    assert {target for _, target in imported} <= set(FILES)
    assert len(imported) >= 4


def test_every_element_that_a_script_names_is_in_the_page(call: Call) -> None:
    ids = {attributes.get("id") for _, attributes in Tags(call("/").text).tags}
    scripts = "".join(call(path).text for path in OWN if path.endswith(".js"))
    named = set(re.findall(r'(?:byId|getElementById)\("([\w-]+)"\)', scripts))
    assert len(named) > 20
    assert named <= ids

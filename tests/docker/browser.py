"""Chromium without a window, driven over the W3C WebDriver protocol."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.docker import engine

_ARGUMENTS = (
    "--headless=new",
    # The tests run as root, in containers too, where Chromium's own sandbox can't start.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--window-size=1400,1600",
)


class Browser:
    """One window.

    Args:
        driver: address of ``chromedriver``.
        session: the path of the window's session there.
    """

    def __init__(self, driver: str, session: str) -> None:
        self._driver = driver
        self._session = session

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self._call("POST", "/url", {"url": url})

    def url(self) -> str:
        """Return the address of the page that is shown."""
        return str(self._call("GET", "/url"))

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what the body of a JavaScript function returns; a promise is waited for."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, xpath: str) -> None:
        """Click in the middle of the one element that the page shows at a path."""
        found = self._call("POST", "/elements", {"using": "xpath", "value": xpath})
        assert len(found) == 1, f"{len(found)} elements at {xpath}"
        (element,) = found[0].values()
        self._call("POST", f"/element/{element}/click", {})

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as a PNG file."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return call(f"{self._driver}{self._session}{path}", method, body)


def call(url: str, method: str, body: Any = None) -> Any:
    """Make one call of the protocol and return its value; what went wrong fails the test."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        value = json.load(error)["value"]
        raise AssertionError(f"{method} {url}: {value['error']}: {value['message']}") from None


@contextmanager
def chromium() -> Iterator[Browser]:
    """A window of a new profile; both are gone at the end."""
    (port,) = engine.free_ports(1)
    driver = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            ["chromedriver", f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            engine.wait_until(lambda: _ready(driver), "chromedriver answers", 30)
            options = {"args": [*_ARGUMENTS, f"--user-data-dir={profile}"]}
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            started = call(f"{driver}/session", "POST", wanted)
            session = f"/session/{started['sessionId']}"
            try:
                yield Browser(driver, session)
            finally:
                call(f"{driver}{session}", "DELETE")
        finally:
            process.terminate()
            process.wait(30)


def _ready(driver: str) -> bool:
    try:
        return bool(call(f"{driver}/status", "GET")["ready"])
    except OSError:
        return False

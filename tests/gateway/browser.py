"""Chromium on the gateway's page; what imports this is skipped where it is not installed."""

from __future__ import annotations

import base64
import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

_HOW = "scripts/test-browser installs it"
for _package in ("playwright", "axe_playwright_python"):
    pytest.importorskip(_package, reason=f"no {_package}: {_HOW}")
CHROMIUM = shutil.which("chromium") or ""
if not CHROMIUM:
    pytest.skip(f"no chromium on the path: {_HOW}", allow_module_level=True)

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright  # noqa: E402

# A request on a busy machine waits for others.
expect.set_options(timeout=60_000)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a Chromium with a made-up camera, which a page may use where it is permitted."""
    options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--deny-permission-prompts"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


class FacekitPage:
    """The page in a profile of its own.

    Args:
        browser: Where it is opened.
        url: The gateway's.
        options: Of Playwright's ``new_context``.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.context = browser.new_context(**{"base_url": url, "locale": "en-US", **options})
        self.page: Page = self.context.new_page()
        self.asked: list[str] = []
        """Method and path of every request."""
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        """What the console says, but for answers that are errors."""
        self.page.on("request", lambda request: self._note(request, url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)
        self.page.goto("/")

    def _note(self, request: Any, url: str) -> None:
        if request.url.startswith(url):
            self.asked.append(f"{request.method} {request.url[len(url) :]}")
        elif not request.url.startswith(("blob:", "data:")):
            self.elsewhere.append(request.url)

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def close(self) -> None:
        """Close the page; nothing of it was refused, broken or from elsewhere."""
        self.context.close()
        assert (self.errors, self.elsewhere) == ([], [])

    def choose(self, *photos: Path) -> None:
        """Choose photos and wait until all are done."""
        before = self.thumbnails.count()
        self.page.set_input_files("#files", photos)
        expect(self.thumbnails).to_have_count(before + len(photos))
        self.wait()

    def wait(self) -> None:
        """Wait until no photo is under way."""
        expect(self.page.locator("#photos progress:visible")).to_have_count(0)

    def give(self, event: str, property_name: str, photos: Sequence[Path]) -> None:
        """Drop or paste photos as a browser does."""
        files = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in photos]
        script = """([event, property, files]) => {
            const given = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                given.items.add(new File([bytes], name));
            }
            const made = new Event(event, {bubbles: true, cancelable: true});
            made[property] = given;
            document.body.dispatchEvent(made);
        }"""
        self.page.evaluate(script, [event, property_name, files])
        expect(self.thumbnails).to_have_count(len(photos))
        self.wait()

    def find(self, selector: str) -> Locator:
        """Return what a CSS selector finds."""
        return self.page.locator(selector)

    def check_access(self) -> None:
        """Let axe-core look at the page as it stands; it finds nothing."""
        # What fades in is not there yet.
        self.page.evaluate("Promise.all(document.getAnimations().map(each => each.finished))")
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    @property
    def thumbnails(self) -> Locator:
        """The buttons of the photos."""
        return self.find("#photos button")

    @property
    def boxes(self) -> Locator:
        """What is drawn over the photo, a box a face."""
        return self.find("#marks .box")

    @property
    def rows(self) -> Locator:
        """The rows of the table of faces."""
        return self.find("#found tbody tr")

    @property
    def calls(self) -> list[str]:
        """Path of each photo that was posted."""
        return [line for line in self.asked if line.startswith("POST ")]

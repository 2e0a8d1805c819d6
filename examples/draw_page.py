"""Draw the picture of docs/http.md, the gateway's page: ``python -m examples.draw_page OUT.jpg``.

It needs the packages of the extra ``browser-test`` and Debian's Chromium.
"""

from __future__ import annotations

import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from facekit.data.portraits import demo_photos
from facekit.outputs import picture_bytes
from facekit.serving.embedded import EmbeddedServer

_CHROMIUM = "/usr/bin/chromium"
VIEW_WH = (1200, 740)
_FACE = 1
"""Face whose figures are shown."""
_TIMEOUT_MS = 60_000


def draw_page() -> Image.Image:
    """Return the page with the demo's photos, one face pointed out."""
    from playwright.sync_api import expect, sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(http_port=0) as server,
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"]) as running,
    ):
        page = running.new_page(viewport={"width": VIEW_WH[0], "height": VIEW_WH[1]})
        page.goto(f"http://{server.http_url}")
        photos = demo_photos(Path(folder))
        page.set_input_files("#files", photos[::-1])
        expect(page.locator("#progress")).to_contain_text("3 photos, ", timeout=_TIMEOUT_MS)
        page.locator(f'#marks [data-face="{_FACE}"] .box').hover()
        return Image.open(BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.write_bytes(picture_bytes(draw_page(), out.suffix))

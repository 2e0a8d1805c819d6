"""The page of what is accepted and refused says what happens."""

from __future__ import annotations

from tests.photos.page import PAGE, page


def test_page_says_what_happens() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(), "run: .venv/bin/python -m tests.photos.page"

"""A real Chromium, as a reader has it: what tests of pages open them in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1440, "height": 900}


@dataclass
class Visit:
    """A page that is open, and what it did that a report must not do."""

    page: Any
    faults: list[str] = field(default_factory=list)

    def wide(self) -> tuple[int, int]:
        """The width of what is in the page, and of the window."""
        return tuple(self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]"))

    def broken_rules(self) -> list[str]:
        """What axe finds wrong for keyboards, screen readers and eyes, each with where."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {node['html'][:200]} {node['any'][0]['message'] if node['any'] else ''}"
            for one in found
            for node in one["nodes"]
        ]


Open = Callable[..., Visit]


@contextmanager
def chromium() -> Iterator[Open]:
    """Start Chromium. What is opened must be a file, or `own`, a server's address; any other
    request is a fault, and so are a dialog, a script's error and what the page's policy forbids."""
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    place = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if place is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=place, args=["--no-sandbox", "--disable-gpu"]
        )

        def visit(where: str | Path, own: str = "file:", **options: Any) -> Visit:
            page = browser.new_context(
                **{"viewport": DESKTOP, "reduced_motion": "reduce"} | options
            ).new_page()
            page.set_default_timeout(10_000)
            found = Visit(page)

            def note_request(request: Any) -> None:
                if not request.url.startswith((own, "data:image/svg+xml;base64,")):
                    found.faults.append(f"asked for {request.url}")

            def note_dialog(dialog: Any) -> None:
                found.faults.append(f"dialog {dialog.message}")
                dialog.dismiss()

            page.on("request", note_request)
            page.on("dialog", note_dialog)
            page.on("pageerror", lambda error: found.faults.append(f"error {error}"))
            page.on(
                "console", lambda message: found.faults.append(f"{message.type}: {message.text}")
            )
            page.goto(where.as_uri() if isinstance(where, Path) else where)
            return found

        yield visit
        browser.close()

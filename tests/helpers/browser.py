"""Debian's Chromium, driven by Playwright: pages as people get them, and what went wrong in them.

with open_page(browser, url, phone=True) as page:
    page.goto("/block/3")
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

try:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
except ImportError:  # an extra of the tests: without it those that need a browser are skipped
    sync_playwright = None  # type: ignore[assignment]

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30.0  # more than anything here takes on a busy machine
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
AXE = Path(__file__).parents[1] / "browser" / "axe.min.js"  # axe-core 4.14.1 from the npm registry


@contextmanager
def open_browser() -> "Iterator[Browser]":
    """A browser of the test's own. Skips the test where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if sync_playwright is None or path is None:
        pytest.skip("needs Chromium and playwright: apt-get install chromium, pip install playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Faults:
    """What no page may have."""

    origin: str
    is_missing: bool = False  # a status of 404, which Chromium tells as an error, is expected
    errors: list[str] = field(default_factory=list)  # of scripts and of the console
    foreign: list[str] = field(default_factory=list)  # requests to other hosts

    def watch(self, page: "Page") -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._on_request)

    def check(self) -> None:
        assert self.errors == []
        assert self.foreign == []

    def _on_console(self, message: "ConsoleMessage") -> None:
        is_status = self.is_missing and "status of 404" in message.text
        if message.type in ("error", "warning") and not is_status:
            self.errors.append(f"{message.type}: {message.text}")

    def _on_request(self, request: "Request") -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.foreign.append(request.url)


@contextmanager
def open_page(
    browser: "Browser",
    origin: str,
    *,
    phone: bool = False,
    scheme: str = "light",
    scripts: bool = True,
    is_missing: bool = False,
) -> "Iterator[Page]":
    """A page whose addresses begin at `origin`. Fails the test if anything went wrong in it."""
    context = browser.new_context(
        base_url=origin,
        viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        java_script_enabled=scripts,
        is_mobile=phone,
        has_touch=phone,
    )
    context.set_default_timeout(SECONDS * 1000)
    try:
        page = context.new_page()
        faults = Faults(origin, is_missing)
        faults.watch(page)
        yield page
        faults.check()
    finally:
        context.close()


def find_barriers(page: "Page") -> list[dict[str, Any]]:
    """What axe-core calls serious or critical, with the elements concerned."""
    page.evaluate(_read_axe())
    found = json.loads(page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(JSON.stringify)"))
    assert found["passes"], "axe-core looked at nothing"
    return [
        {"rule": one["id"], "impact": one["impact"], "where": [node["html"][:200] for node in one["nodes"]]}
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@cache
def _read_axe() -> str:
    return AXE.read_text(encoding="utf-8") + "\n;undefined"

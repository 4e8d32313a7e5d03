"""A real Chromium, looking at one page and taking note of everything that should not happen."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Page, async_playwright

# Beside what a headless run needs: nothing that makes the browser itself talk to the world.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


@dataclass
class Watched:
    """The page, and what it did."""

    page: Page
    asked: list[str] = field(default_factory=list)  # URLs
    complaints: list[str] = field(default_factory=list)  # console errors, exceptions, dialogs

    def outside(self, url: str) -> list[str]:
        """Requests to anybody but the server of `url`."""
        return [asked for asked in self.asked if urlsplit(asked).netloc != urlsplit(url).netloc]

    async def verdict(self, text: str, seconds: float = 15.0) -> None:
        """Wait until the verdict contains this."""
        await self.page.locator("#verdict", has_text=text).wait_for(timeout=seconds * 1000)


def _binary() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    assert found, "the page's tests need Chromium or Chrome on PATH (Debian: apt-get install chromium)"
    return found


@asynccontextmanager
async def browse(url: str, **context: Any) -> AsyncIterator[Watched]:
    """Open `url`; `context` are Playwright's options of a browser context."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_binary(), args=ARGUMENTS)
        try:
            page = await (await browser.new_context(**context)).new_page()
            watched = Watched(page)
            page.on("request", lambda request: watched.asked.append(request.url))
            page.on("pageerror", lambda error: watched.complaints.append(str(error)))
            page.on("console", lambda message: _note(watched, message.type, message.text))

            async def dismiss(dialog: Any) -> None:
                watched.complaints.append(f"dialog: {dialog.message}")
                await dialog.dismiss()

            page.on("dialog", dismiss)
            await page.goto(url)
            yield watched
        finally:
            await browser.close()


def _note(watched: Watched, kind: str, text: str) -> None:
    if kind == "error":
        watched.complaints.append(text)

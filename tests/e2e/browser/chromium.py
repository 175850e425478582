"""livekit-client in headless Chromium, through Playwright: another's client, in another's browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
ORIGIN = "http://localhost:9"
FLAGS = (
    "--use-fake-ui-for-media-stream",
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
    "--disable-dev-shm-usage",
)


def bundle() -> Path | None:
    return next(iter(sorted((ROOT / ".cache").glob("livekit-client-*.umd.js"))), None)


def needs_chromium() -> str:
    """The browser's path; skips the test, with the command that installs what is missing."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is missing: apt-get install chromium (or ./script/install-test-peers)")
    if bundle() is None:
        pytest.skip("livekit-client is missing: ./script/fetch-livekit-client")
    pytest.importorskip("playwright")
    return path


class Browser:
    """`async with Browser() as browser:`; `page()` gives a new tab with livekit-client loaded. `fps`: of its false camera."""

    def __init__(self, fps: int = 20) -> None:
        self._path, self._flags = needs_chromium(), [f"--use-fake-device-for-media-stream=fps={fps}", *FLAGS]
        self.errors: list[str] = []

    async def __aenter__(self) -> Browser:
        from playwright.async_api import async_playwright

        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(executable_path=self._path, args=self._flags)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._browser.close()
        await self._playwright.stop()

    async def page(self) -> Any:
        page = await self._browser.new_page()
        html, script = Path(__file__).with_name("page.html").read_text(), bundle()
        assert script is not None

        async def serve(route: Any) -> None:
            if route.request.url.endswith(".js"):
                await route.fulfill(body=script.read_text(), content_type="text/javascript")
            else:
                await route.fulfill(body=html, content_type="text/html")

        await page.route(f"{ORIGIN}/**", serve)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        await page.goto(f"{ORIGIN}/")
        return page

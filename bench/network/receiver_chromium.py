"""Chromium with livekit-client as a receiver of the laboratory: headless, through Playwright; receiver.html does the work."""

from __future__ import annotations

import array
import asyncio
import base64
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from bench.network import precedence
from bench.network.receiving import Report, Told, arguments, until_told
from vidconf.engine.recording import SoundFile

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "http://localhost:9"
FLAGS = (
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
    "--disable-dev-shm-usage",
)


def program() -> str | None:
    """The browser, where there is one and livekit-client too."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    return found if script() is not None else None


def script() -> Path | None:
    return next(iter(sorted((ROOT / ".cache").glob("livekit-client-*.umd.js"))), None)


class Receiver:
    def __init__(self, told: Told) -> None:
        self.told, self.report = told, Report()
        self._got: dict[str, Any] = {}
        self._offset_s = 0.0

    def ready(self) -> bool:
        return self._got.get("pictures", 0) >= self.told.pictures and self._got.get("sounds", 0) >= self.told.sounds

    async def run(self) -> None:
        from playwright.async_api import async_playwright

        html, client = Path(__file__).with_name("receiver.html").read_text(), script()
        if client is None:
            sys.exit("livekit-client is missing: ./script/fetch-livekit-client")

        async def serve(route: Any) -> None:
            if route.request.url.endswith(".js"):
                await route.fulfill(body=client.read_text(), content_type="text/javascript")
            else:
                await route.fulfill(body=html, content_type="text/html")

        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program(), args=list(FLAGS))
            page = await browser.new_page()
            precedence.pass_on()
            page.on("pageerror", lambda error: self.report.notes.setdefault("errors", []).append(str(error)))
            await page.route(f"{ORIGIN}/**", serve)
            await page.goto(f"{ORIGIN}/")
            # the page's wall clock and everybody's monotonic one, at the same moment
            began = time.monotonic()
            wall_ms = await page.evaluate("now()")
            self._offset_s = (began + time.monotonic()) / 2 - wall_ms / 1000
            await page.evaluate("([u, t, o]) => join(u, t, o)", [self.told.url, self.told.token, {"record": bool(self.told.record), "ages": self.told.ages}])

            async def sample() -> dict[str, Any]:
                return {"tracks": await page.evaluate("counters()")}

            async def look() -> None:
                while not self.ready():
                    self._got = await page.evaluate("got()")
                    await asyncio.sleep(0.05)

            looking = asyncio.create_task(look())
            await until_told(self.report, self.ready, sample, lambda: self.collect(page))
            looking.cancel()
            await browser.close()

    async def collect(self, page: Any) -> None:
        for track, seen in (await page.evaluate("pictures")).items():
            for at_ms, age in seen:
                self.report.saw(track, at_ms / 1000 + self._offset_s, age)
        if self.told.record:
            sound = await page.evaluate("sound()")
            self.report.sound_began = sound["began"] / 1000 + self._offset_s if sound["began"] else None
            samples = array.array("h", base64.b64decode(sound["pcm"]))
            file = SoundFile(self.told.record)
            file.write(samples.tobytes())
            file.close()


if __name__ == "__main__":
    asyncio.run(Receiver(arguments("Chromium as a receiver.")).run())

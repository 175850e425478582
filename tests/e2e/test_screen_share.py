"""A screen and a window shared in a real meeting: another participant gets the very pixels, and nothing of what it should not get."""

from __future__ import annotations

import array
import asyncio
import contextlib
import math
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from e2e.control_client import Api
from e2e.meetings import TONE_HZ, came, meeting, people, tracks
from e2e.screening import Screening
from e2e.serverproc import ServeProcess
from e2e.sound_server import SoundServer
from fakes.x_desktop import XWindows, needs_x, x_server, x_session

from vidconf.cli.bot_participant import Bot, BotOptions
from vidconf.engine import api

RED, GREEN, BLUE, GREY = 0xC83028, 0x20A040, 0x2848C8, 0x909090


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch) -> Iterator[XWindows]:
    with x_server() as name, x_session(name, monkeypatch) as windows:
        yield windows


async def true(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, what
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def together(link: str, *bots: BotOptions) -> AsyncIterator[list[Bot]]:
    """Bots in this process, in one meeting."""
    made = [Bot(options) for options in bots]
    running = [asyncio.create_task(bot.run()) for bot in made]
    try:
        yield made
    finally:
        for bot in made:
            bot.stop()
        await asyncio.gather(*running)


def screens_of(bot: Bot) -> list[dict[str, Any]]:
    return [track for track in tracks(bot) if track["source"] == "screen_share"]


@needs_x
async def test_a_screen_then_a_window_that_is_covered_paused_and_closed(server: ServeProcess, admin: Api, desktop: XWindows) -> None:
    made = await meeting(admin, lobby=False)
    desktop.add("Nền", GREY, 0, 0, 1280, 720)
    red = desktop.add("Dự thảo", RED, 64, 40, 400, 300)
    desktop.add("Thư riêng", BLUE, 264, 40, 600, 500)
    sharer, viewer = BotOptions(made["link"], name="Chiếu", screen="screen:0"), BotOptions(made["link"], name="Xem")
    async with together(made["link"], sharer, viewer) as (shares, views):
        await came(admin, made, "Chiếu", "Xem")
        await true(lambda: screens_of(views) and screens_of(views)[0]["frames"], "no picture of the screen came")
        seen = Screening.of(views, screens_of(views)[0])
        await true(lambda: seen.shows(RED, 0.1, 0.2), "the red window is on the screen")
        assert seen.size() == (1280, 720)
        assert seen.shows(BLUE, 0.3, 0.2), "and the blue one over it"
        assert seen.shows(GREY, 0.9, 0.9)

        engine = shares._engine
        engine.send(api.OpenSource("screen_share", f"window:{red}"))
        await true(lambda: seen.size() == (400, 300), "the window instead of the screen")
        await true(lambda: all(seen.shows(RED, x, 0.5) for x in (0.03, 0.5, 0.97)), "the window, and not what covers half of it")

        engine.send(api.MuteSource("screen_share", True))
        await true(lambda: screens_of(views)[0]["muted"], "the others are told that it is paused")
        desktop.colour(red, GREEN)
        await asyncio.sleep(0.3)  # what had left before may still be on its way
        count = seen.count
        await asyncio.sleep(0.8)
        assert (seen.count, seen.shows(RED, 0.5, 0.5)) == (count, True), "the last picture stands, and nothing comes"
        assert (await people(admin, made))["Chiếu"]["sources"]["screen_share"] == "muted"
        engine.send(api.MuteSource("screen_share", False))
        await true(lambda: seen.shows(GREEN, 0.5, 0.5), "it goes on with what is there now")

        desktop.destroy(red)
        await true(lambda: not screens_of(views), "a window that closes ends the share")
        await true(lambda: engine.session.publications == {}, "and the sharer's side lets go")
        ends = time.monotonic() + 8
        while (await people(admin, made))["Chiếu"]["sources"]["screen_share"] != "off":
            assert time.monotonic() < ends
            await asyncio.sleep(0.1)


PLAYER = """
import array, math, subprocess
player = subprocess.Popen(["pacat", "--raw", "--format=s16le", "--rate=48000", "--channels=1"], stdin=subprocess.PIPE)
wave = array.array("h", (int(9000 * math.sin(2 * math.pi * %d * k / 48000)) for k in range(4800))).tobytes()
try:
    while True:
        player.stdin.write(wave)
finally:
    player.kill()
"""


@contextlib.contextmanager
def playing() -> Iterator[None]:
    """Another program plays a tone."""
    player = subprocess.Popen([sys.executable, "-c", PLAYER % TONE_HZ])
    try:
        yield
    finally:
        player.terminate()
        player.wait(10)


async def test_the_computers_sound_goes_with_it(server: ServeProcess, admin: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("parec") is None:
        pytest.skip("needs pulseaudio-utils: apt install pulseaudio-utils")
    made = await meeting(admin, lobby=False)
    sound_server = SoundServer(tmp_path, "load-module module-null-sink sink_name=hall\nset-default-sink hall")
    sound_server.start()
    try:
        monkeypatch.setenv("PULSE_SERVER", sound_server.address)
        wav = tmp_path / "heard.wav"
        with playing():
            sharer, viewer = BotOptions(made["link"], name="Chiếu"), BotOptions(made["link"], name="Xem", record_audio=str(wav))
            async with together(made["link"], sharer, viewer) as (shares, views):
                await came(admin, made, "Chiếu", "Xem")
                await true(lambda: shares._engine.session.state == "connected", "in")
                shares._engine.send(api.OpenSource("screen_share_audio", "computer"))
                await true(lambda: [t for t in tracks(views) if t["source"] == "screen_share_audio" and t["packets"] > 200], "its sound comes")
    finally:
        sound_server.stop()
    with av.open(str(wav)) as sound:
        pcm = b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in sound.decode(audio=0))
    samples, size = array.array("h", pcm), 9600
    loudness = sorted(math.sqrt(sum(v * v for v in samples[k : k + size]) / size) for k in range(0, len(samples) - size, size))
    assert abs(loudness[-3] / (9000 / math.sqrt(2)) - 1) < 0.25, "the player's tone, as loud as it was"

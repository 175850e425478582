"""Run on a screen of its own: the real window with its engine's process shares a window in a real meeting, until a moderator stops it.

    python share_scene.py            prints one JSON document: what was listed, what a bot got, what was on the screen around it
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from e2e.meetings import tracks
from e2e.screening import Screening
from e2e.serverproc import ServeProcess
from fakes.x_desktop import XWindows
from PySide6.QtWidgets import QApplication

from vidconf.cli.bot_participant import Bot, BotOptions
from vidconf.client.credentials import Credentials
from vidconf.client.settings import Settings
from vidconf.engine.host import EngineHost
from vidconf.gui.app import Shell, make_application
from vidconf.gui.bridge import make_loop
from vidconf.gui.meeting_page import MeetingPage
from vidconf.gui.share_chooser import ShareSheet

PAPER, SECRET = 0xE8E0C8, 0x2848C8
LEFT, TOP, WIDTH, HEIGHT = 1100, 200, 500, 380


async def until(condition: Callable[[], Any], what: str, seconds: float = 25) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, what
        await asyncio.sleep(0.05)


def around() -> list[list[int]]:
    """The colours just outside the shared window's four sides, as a user sees them."""
    size = {"video_size": f"{WIDTH + 8}x{HEIGHT + 8}", "draw_mouse": "0"}
    with av.open(f"{os.environ['DISPLAY']}+{LEFT - 4},{TOP - 4}", format="x11grab", options=size) as container:
        picture = next(container.decode(video=0)).reformat(format="rgb24")
    plane = picture.planes[0]
    pixels = bytes(plane)
    places = ((picture.width // 2, 1), (picture.width // 2, picture.height - 2), (1, picture.height // 2), (picture.width - 2, picture.height // 2))
    return [list(pixels[y * plane.line_size + 3 * x :][:3]) for x, y in places]


async def play(app: QApplication) -> dict[str, Any]:
    windows = XWindows()
    with ServeProcess(Path(tempfile.mkdtemp())) as server:
        async with server.admin() as admin:
            made = (await admin.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})).body
            settings = Settings(command_line={"name": "Người chiếu", "speaker": "none", "camera_off_on_join": True, "microphone": "lavfi:anullsrc", "theme": "light"})
            shell = Shell(app, settings, EngineHost(speaker="none"), Credentials(None), tray=False)
            shell.window.setGeometry(20, 20, 1000, 700)
            paper = windows.add("Dự thảo", PAPER, LEFT, TOP, WIDTH, HEIGHT)
            bot = Bot(BotOptions(made["link"], name="Xem"))
            running = asyncio.create_task(bot.run())
            try:
                return await share(shell, bot, windows, paper, admin, made)
            finally:
                bot.stop()
                await running
                await shell.close()
                windows.close()


async def share(shell: Shell, bot: Bot, windows: XWindows, paper: int, admin: Any, made: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    store = shell.client.store
    await shell.start(made["link"])
    await until(lambda: store.state.link is not None and (store.state.link.confirm or store.state.link_meeting is not None), "the link is known")
    if store.state.link is not None and store.state.link.confirm:
        shell.do.confirm_host()
        await until(lambda: store.state.link_meeting is not None, "the meeting is known")
    shell.do.join()
    await until(lambda: store.state.phase == "meeting" and store.state.media == "connected", "in the meeting")
    page = shell.window.page
    assert isinstance(page, MeetingPage)

    page.toolbar.share.click()
    await until(lambda: f"window:{paper}" in store.state.thumbnails, "small pictures come")
    sheet = shell.window._sheet
    assert isinstance(sheet, ShareSheet)
    seen["listed"] = [tile.name for tile in (*sheet._screens.tiles, *sheet._windows.tiles)]
    sheet._tiles[f"window:{paper}"].click()
    sheet.go.click()
    windows.add("Thư riêng", SECRET, LEFT + 250, TOP + 100, 300, 300)
    await until(lambda: any(track["source"] == "screen_share" and track["frames"] for track in tracks(bot)), "the bot gets pictures")
    got = Screening.of(bot, next(track for track in tracks(bot) if track["source"] == "screen_share"))
    corners = [(x, y) for x in (0.004, 0.5, 0.996) for y in (0.005, 0.5, 0.995)]
    await until(lambda: got.size() == (WIDTH, HEIGHT) and all(got.shows(PAPER, x, y) for x, y in corners), "all of it, neither frame nor cover")
    frame = shell.window.sharing.frame
    seen["bar"] = page.bars.sharing._text.text()
    await until(lambda: frame is not None and frame.visible, "the frame is shown")
    await asyncio.sleep(0.5)  # the server paints it
    seen["around"] = around()

    shell.window.hide()
    strip = shell.window.sharing.strip
    assert strip is not None
    seen["strip"] = strip.isVisible()
    strip.pause.click()
    await until(lambda: store.state.sources["screen_share"].state == "muted" and frame is not None and not frame.visible, "paused")
    strip.pause.click()
    await until(lambda: store.state.sources["screen_share"].state == "on", "resumed")
    strip.back.click()
    await until(lambda: shell.window.isVisible(), "the window is back")

    reply = await admin.post(f"/api/v1/meetings/{made['id']}/commands", {"do": "stop_share", "participant": store.state.me})
    seen["stopped"] = reply.status
    await until(lambda: store.state.sources["screen_share"].state == "off", "a moderator stops it")
    await until(lambda: not [t for t in tracks(bot) if t["source"] == "screen_share"], "it is gone for the others")
    seen["notices"] = [notice.code for notice in store.state.notices]
    seen["frame_left"] = frame is not None and frame.visible
    await asyncio.sleep(0.5)
    seen["around_after"] = around()
    return seen


if __name__ == "__main__":
    application = make_application()
    loop = make_loop(application)
    try:
        print(json.dumps(loop.run_until_complete(asyncio.wait_for(play(application), 80))))
    finally:
        loop.close()

"""The pictures of docs/screenshots: one run of the real program through all its pages. Called by script/screenshots.

A server in a temporary folder, an organiser's account with a day of meetings, the demo's cast; the window signs in, makes a
meeting, waits in a lobby, chairs a meeting, is told off. Nothing is drawn by hand.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from PySide6.QtCore import Qt  # noqa: E402
from PySide6.QtGui import QPixmap  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402
from PySide6.QtWidgets import QApplication, QLabel, QTableWidget, QTableWidgetItem  # noqa: E402

from vidconf.cli import demo  # noqa: E402
from vidconf.cli.demo_cast import CHAIR  # noqa: E402
from vidconf.client.core import Identity  # noqa: E402
from vidconf.client.credentials import Credentials  # noqa: E402
from vidconf.client.settings import Settings  # noqa: E402
from vidconf.client.state import ClientState  # noqa: E402
from vidconf.engine.host import EngineHost  # noqa: E402
from vidconf.gui.app import Shell, make_application  # noqa: E402
from vidconf.gui.bridge import make_loop  # noqa: E402
from vidconf.gui.create_sheet import CreateSheet  # noqa: E402
from vidconf.gui.meeting_page import MeetingPage  # noqa: E402
from vidconf.gui.share_chooser import ShareSheet, ShareTile  # noqa: E402
from vidconf.resources import resource  # noqa: E402

NAME, PASSWORD = CHAIR.name, "mat-khau-cua-anh-chup"
WIDE, SMALL = (1280, 800), (800, 600)
DAY = (
    ("Giao ban lãnh đạo Bộ đầu tuần", 0.6, 60), ("Họp giao ban công tác quản lý đất đai", 2.0, 90),
    ("Góp ý dự thảo Luật sửa đổi Luật Địa chất và khoáng sản", 4.5, 120), ("Hội nghị trực tuyến phòng, chống thiên tai", 26.0, 180),
)  # fmt: skip
PAPER, TABLE = "Dự thảo Luật sửa đổi.docx - Soạn thảo văn bản", "Tổng hợp số liệu quý I.xlsx - Bảng tính"
FIGURES = (
    ("Địa phương", "Hồ sơ nhận", "Đã giải quyết", "Tỷ lệ"), ("Quảng Ninh", "12.480", "11.902", "95,4 %"), ("Cần Thơ", "9.115", "8.760", "96,1 %"),
    ("Huế", "7.640", "7.201", "94,3 %"), ("Đắk Lắk", "8.233", "7.655", "93,0 %"), ("Cà Mau", "6.508", "6.170", "94,8 %"),
)  # fmt: skip


class Photographer:
    def __init__(self, app: QApplication, folder: Path, stage: demo.Stage, data: Path) -> None:
        self.app, self.folder, self.stage, self.data = app, folder, stage, data
        self.taken: list[str] = []

    def shell(self, **values: Any) -> Shell:
        film = str(resource("demo", f"{CHAIR.film}.mp4"))
        said = {"name": NAME, "server": self.stage.origin, "theme": "light", "camera": film, "microphone": film, "speaker": "none",
                "camera_off_on_join": False, "close_to_tray": False, **values}  # fmt: skip
        settings = Settings()
        for key, value in said.items():
            settings.set(key, value)
        identity = Identity(CHAIR.kind, CHAIR.unit, CHAIR.position)  # type: ignore[arg-type]
        return Shell(self.app, settings, EngineHost(speaker="none"), Credentials(None), tray=False, identity=identity)

    async def take(self, shell: Shell, name: str, size: tuple[int, int] = WIDE, settle_s: float = 0.5) -> None:
        shell.window.resize(*size)
        await asyncio.sleep(settle_s)
        path = self.folder / f"{name}.png"
        shell.window.grab().save(str(path))
        self.taken.append(path.name)
        print(path, file=sys.stderr)

    async def somebody_speaks(self, shell: Shell) -> None:
        await self.until(shell, "somebody speaking", lambda s: bool(s.speaking))

    async def until(self, shell: Shell, what: str, reached: Callable[[ClientState], bool], limit_s: float = 25.0) -> None:
        ends = time.monotonic() + limit_s
        while not reached(shell.client.store.state):
            if time.monotonic() > ends:
                raise SystemExit(f"waited in vain for {what}: {shell.client.store.state.phase}")
            await asyncio.sleep(0.05)


def in_meeting(state: ClientState) -> bool:
    return state.phase == "meeting" and state.media == "connected"


async def run(app: QApplication, folder: Path, stage: demo.Stage, data: Path) -> None:
    p = Photographer(app, folder, stage, data)
    await home_and_sign_in(p)
    await meeting(p)
    await others(p)


async def home_and_sign_in(p: Photographer) -> None:
    shell = p.shell(name="")
    await shell.start()
    await p.take(shell, "home-signed-out")
    shell.do.open_sign_in()
    await p.take(shell, "sign-in")
    await shell.client.actions.sign_in(p.stage.origin, NAME, PASSWORD)
    for title, hours, minutes in DAY:
        await shell.client.actions.create_meeting(title, time.time() + hours * 3600, True, minutes * 60.0)
    await shell.client.actions.refresh_upcoming()
    await p.take(shell, "home")
    shell.window.open_sheet(CreateSheet(shell.window, shell.client.store, shell.do, shell.window.copy_link))
    await p.take(shell, "create")
    for group in ("look", "devices", "keyboard"):
        shell.window.open_settings(group)
        await p.take(shell, f"settings-{group}")
    shell.window.open_shortcuts()
    await p.take(shell, "shortcuts")
    await shell.close()


async def meeting(p: Photographer) -> None:
    shell = p.shell()
    late = {part.name for part in p.stage.parts if part.knocks_late}
    await shell.start(p.stage.chair_link)
    await p.until(shell, "the preview", lambda s: s.link_meeting is not None and s.sources["camera"].state == "on")
    await p.take(shell, "pre-join", settle_s=1.2)
    await p.take(shell, "pre-join-small", SMALL)
    shell.window.resize(*WIDE)
    shell.do.join()
    await p.until(shell, "the meeting", in_meeting)

    def knocking(state: ClientState, late_too: bool) -> list[str]:
        found = state.meeting.knocking() if state.meeting is not None else ()
        return [one.id for one in found if late_too or one.name not in late]

    count = len(p.stage.parts) - len(late)
    await p.until(shell, "the expected", lambda s: len(knocking(s, False)) == count)
    shell.do.admit(knocking(shell.client.store.state, False))
    await p.until(shell, "the late one", lambda s: len(knocking(s, True)) == len(late))
    await p.until(shell, "hands", lambda s: s.meeting is not None and len(s.meeting.hands) >= 2)
    await p.take(shell, "knock")
    shell.window.on_shortcut("people")
    await p.somebody_speaks(shell)
    await p.take(shell, "meeting", settle_s=1.5)
    shell.window.on_shortcut("admit")
    shell.window.on_shortcut("chat")
    shell.do.chat("Mời Quảng Ninh phát biểu trước, tiếp theo là Cục Quản lý đất đai.")
    await p.until(shell, "the page", lambda s: any(t.source == "screen_share" and t.first_frame for t in s.tracks.values()))
    await p.take(shell, "chat", settle_s=1.5)
    shell.window.on_shortcut("chat")
    await p.take(shell, "share", settle_s=1.0)
    await p.until(shell, "its end", lambda s: not any(t.source == "screen_share" for t in s.tracks.values()))
    await p.somebody_speaks(shell)
    await p.take(shell, "grid", settle_s=1.0)
    shell.window.on_shortcut("statistics")
    await p.take(shell, "statistics", settle_s=2.5)
    QTest.keyClick(shell.window.focusWidget() or shell.window, Qt.Key.Key_Escape)
    shell.window.on_shortcut("view")
    await p.somebody_speaks(shell)
    await p.take(shell, "speaker", settle_s=1.5)
    shell.window.on_shortcut("view")
    await own_share(p, shell)
    shell.settings.set("theme", "dark")
    shell.window.on_shortcut("people")
    await p.somebody_speaks(shell)
    await p.take(shell, "meeting-dark", settle_s=1.5)
    shell.settings.set("language", "en")
    shell.settings.set("theme", "light")
    await p.somebody_speaks(shell)
    await p.take(shell, "meeting-en-small", SMALL, settle_s=1.5)
    shell.window.ask_leave()
    await p.take(shell, "leave", SMALL)
    shell.settings.set("language", "vi")
    await shell.close()


async def own_share(p: Photographer, shell: Shell) -> None:
    """Devices, and a window of the desktop chosen and shared: on a real screen only."""
    page = shell.window.page
    assert isinstance(page, MeetingPage)
    page.toolbar.microphone_devices.click()
    await p.take(shell, "devices", settle_s=1.5)
    QTest.keyClick(shell.window.focusWidget() or shell.window, Qt.Key.Key_Escape)
    if p.app.platformName() != "xcb":
        print("no screen of the system: nothing to share, its pictures stay as they are", file=sys.stderr)
        return
    with papers():
        shell.window.on_shortcut("share")
        sheet = shell.window.findChild(ShareSheet)
        assert sheet is not None

        def paper(state: ClientState) -> str:
            listed = state.screens.shareable if state.screens is not None else ()
            return next((one.id for one in listed if one.name == PAPER and one.id in state.thumbnails), "")

        await p.until(shell, "the paper's small picture", lambda s: bool(paper(s)))
        id_ = paper(shell.client.store.state)
        next(tile for tile in sheet.findChildren(ShareTile) if tile.one.id == id_).click()
        await p.take(shell, "share-chooser", settle_s=2.5)
        sheet.go.click()
        await p.until(shell, "sharing", lambda s: s.sources["screen_share"].state == "on" and s.share.area is not None)
        await p.take(shell, "sharing", settle_s=3.0)
        shell.window.hide()
        strip = shell.window.sharing.strip
        assert strip is not None
        await asyncio.sleep(0.5)
        strip.grab().save(str(p.folder / "sharing-strip.png"))
        p.taken.append("sharing-strip.png")
        strip.back.click()
        shell.do.stop_share()
        await p.until(shell, "the share's end", lambda s: s.sources["screen_share"].state == "off")


@contextmanager
def papers() -> Iterator[None]:
    """Another program with two windows on the desktop: a paper and a table."""
    with subprocess.Popen([sys.executable, __file__, "--papers"], stdin=subprocess.PIPE) as other:
        try:
            yield
        finally:
            other.terminate()


def show_papers() -> None:
    app = QApplication(sys.argv[:1])
    paper = QLabel()
    paper.setPixmap(QPixmap(str(resource("demo", "page.png"))).scaledToHeight(720, Qt.TransformationMode.SmoothTransformation))
    paper.setWindowTitle(PAPER)
    paper.move(1300, 40)
    table = QTableWidget(len(FIGURES), len(FIGURES[0]))
    for y, line in enumerate(FIGURES):
        for x, cell in enumerate(line):
            table.setItem(y, x, QTableWidgetItem(cell))
    table.setWindowTitle(TABLE)
    table.setGeometry(40, 820, 520, 300)
    for shown in (paper, table):
        shown.show()
    app.exec()


async def others(p: Photographer) -> None:
    """A guest's way: waiting, let in nowhere, told so; and wrong links."""
    made = subprocess.run([sys.executable, "-m", "vidconf.cli.main", "meeting", "create", "--title", DAY[1][0], "--data", str(p.data), "--json"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    facts = json.loads(made.stdout)
    shell = p.shell(name="Đỗ Thị Mai, Văn phòng Bộ")
    await shell.start(facts["link"])
    await p.until(shell, "the preview", lambda s: s.link_meeting is not None)
    shell.do.join()
    await p.until(shell, "the lobby", lambda s: s.phase == "lobby")
    await p.take(shell, "lobby", settle_s=2.0)
    me = shell.client.store.state.me
    command = json.dumps({"do": "deny", "participants": [me], "reason": "Cuộc họp nội bộ."}).encode()
    request = urllib.request.Request(f"{p.stage.origin}/api/v1/meetings/{facts['id']}/commands", data=command, method="POST",
                                     headers={"Authorization": f"Bearer {facts['chair_token']}"})  # fmt: skip
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=10).close())
    await p.until(shell, "the end", lambda s: s.phase == "ended")
    await p.take(shell, "denied")
    await shell.client.actions.back_home()
    await shell.client.actions.open_link(f"{p.stage.origin}/m/khong-co-cuoc-hop")
    await p.take(shell, "wrong-link", settle_s=1.0)
    await shell.close()


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    if sys.argv[1:] == ["--papers"]:
        show_papers()
        return
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("QT_SCALE_FACTOR", "1")
    app = make_application()
    loop = make_loop(app)
    with demo.set_up(5) as stage:
        data = stage.data
        subprocess.run([sys.executable, "-m", "vidconf.cli.main", "account", "add", NAME, "--role", "organiser", "--password-stdin", "--data", str(data)],
                       input=PASSWORD + "\n", text=True, check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        loop.run_until_complete(run(app, folder, stage, data))
    loop.close()


if __name__ == "__main__":
    main()

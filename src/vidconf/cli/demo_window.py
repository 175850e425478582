"""The demo's chair: the real window, played by a small script where nobody sits in front of it. The window's thread.

What the script does goes through what a user has: the page's buttons and shortcuts, the client's actions. Its report is made
of what the window painted and the engine says.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import math
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from PySide6.QtWidgets import QApplication, QWidget

from vidconf.cli.demo_cast import CHAIR
from vidconf.cli.demo_scene import DemoError, Scene
from vidconf.client.core import Identity
from vidconf.client.credentials import Credentials
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState
from vidconf.engine import api
from vidconf.engine.host import EngineHost
from vidconf.gui.app import Shell, make_application
from vidconf.gui.bridge import make_loop
from vidconf.gui.garbage import keep_what_is_there
from vidconf.gui.stage.stage import Stage
from vidconf.resources import resource

log = logging.getLogger("vidconf.demo")

WIDTH, HEIGHT = 1280, 800
JOIN_S, WAIT_S = 20.0, 20.0
SETTLE_S = 0.5
MEASURE_LEAST_S = 5.0


def play(scene: Scene, folder: Path, *, headless: bool, seconds: float | None) -> dict[str, Any]:
    """Until the user quits, or `seconds` are over. The report, without the bots'."""
    app = make_application()
    loop = make_loop(app)
    keep_what_is_there()
    try:
        return loop.run_until_complete(_live(app, scene, folder, headless, seconds))
    finally:
        loop.close()


def _settings(scene: Scene, headless: bool) -> Settings:
    """Of this run only: nothing of the user's own is read or changed."""
    film = str(resource("demo", f"{CHAIR.film}.mp4"))
    values: dict[str, Any] = {"name": CHAIR.name, "server": scene.origin, "close_to_tray": False, "start_muted": not headless}
    if headless:
        values |= {"camera": film, "microphone": film, "speaker": "none", "camera_off_on_join": False, "theme": "light"}
    return Settings(command_line=values)


async def _live(app: QApplication, scene: Scene, folder: Path, headless: bool, seconds: float | None) -> dict[str, Any]:
    settings = _settings(scene, headless)
    identity = Identity(CHAIR.kind, CHAIR.unit, CHAIR.position)  # type: ignore[arg-type]
    engine = EngineHost(speaker=settings.text("speaker"))
    shell = Shell(app, settings, engine, Credentials(None), tray=False, identity=identity)
    shell.window.resize(WIDTH, HEIGHT)
    chair = _Chair(shell, engine, scene, folder)
    try:
        if headless:
            chair.clear()
        await shell.start(scene.chair_link)
        await chair.join(picture=headless)
        if headless:
            assert seconds is not None
            await chair.play(seconds)
        else:
            await _until(shell.over, seconds)
        return await chair.report()
    finally:
        await shell.close()


async def _until(over: asyncio.Event, seconds: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()


class _Chair:
    def __init__(self, shell: Shell, engine: EngineHost, scene: Scene, folder: Path) -> None:
        self._shell, self._engine, self._scene, self._folder = shell, engine, scene, folder
        self._store = shell.client.store
        self._names = {part.name for part in scene.parts if not part.knocks_late}
        self._admitted: set[str] = set()
        self._asked: set[str] = set()
        self._pictures: list[str] = []
        self._wav = folder / "sound.wav"
        self._recording = False
        self._process = psutil.Process()
        self._measured: dict[tuple[str, str], float] = {}
        self._cpu_percent = 0.0
        self._store.subscribe(self._on_state)

    def clear(self) -> None:
        """What an earlier run left goes; nothing else in the folder is touched."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (*self._folder.glob("[0-9][0-9]-*.png"), self._wav):
            old.unlink(missing_ok=True)

    @property
    def _state(self) -> ClientState:
        return self._store.state

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        """Lets those in who are expected; the one who knocks late is admitted by hand."""
        if new.meeting is None or new.phase != "meeting":
            return
        expected = [p.id for p in new.meeting.knocking() if p.name in self._names and p.id not in self._asked]
        if expected:
            self._asked.update(expected)
            self._shell.do.admit(expected)
        self._admitted.update(p.id for p in new.meeting.admitted() if p.id != new.me)

    async def join(self, *, picture: bool) -> None:
        await self._wait("the meeting's preview", lambda s: s.phase == "prejoin" and s.link_meeting is not None, JOIN_S)
        if picture:
            await self._wait("the camera", lambda s: s.sources["camera"].state == "on", JOIN_S)
            await asyncio.sleep(0.8)
            self._grab("pre-join")
        self._shell.do.join()
        await self._wait("the meeting", lambda s: s.phase == "meeting" and s.media == "connected", JOIN_S)

    async def play(self, seconds: float) -> None:
        """The chair's part; the last seconds belong to the measurement, in the grid with everybody in it."""
        began = time.monotonic()
        self._engine.send(api.Record(str(self._wav)))
        self._recording = True
        late = [part.name for part in self._scene.parts if part.knocks_late]
        await self._wait("the expected participants", lambda s: self._there(s, self._names), WAIT_S)
        await self._wait("somebody knocking", lambda s: s.meeting is not None and any(True for _ in s.meeting.knocking()), WAIT_S)
        await asyncio.sleep(SETTLE_S)
        self._grab("knock")
        self._shell.window.on_shortcut("people")
        await self._somebody_speaks()
        await asyncio.sleep(SETTLE_S)
        self._grab("people")
        self._shell.window.on_shortcut("admit")
        await self._wait("the one admitted", lambda s: self._there(s, {*self._names, *late}), WAIT_S)
        await self._wait("a hand", lambda s: s.meeting is not None and bool(s.meeting.hands), 8.0, needed=False)
        await asyncio.sleep(SETTLE_S)
        self._grab("hands")
        self._shell.window.on_shortcut("chat")
        self._shell.do.chat("Mời Quảng Ninh phát biểu trước, tiếp theo là Cục Quản lý đất đai.")
        await self._wait("chat", lambda s: s.meeting is not None and len(s.meeting.chat) >= 2, 6.0, needed=False)
        await asyncio.sleep(SETTLE_S)
        self._grab("chat")
        self._shell.window.on_shortcut("chat")
        if await self._wait("a shared page", _shared, 8.0, needed=False):
            await asyncio.sleep(1.2)
            self._grab("share")
            await self._wait("the end of the share", lambda s: not _shared(s), 8.0, needed=False)
        self._shell.window.on_shortcut("view")
        await asyncio.sleep(1.0)
        await self._somebody_speaks()
        self._grab("speaker")
        self._shell.window.on_shortcut("view")
        await asyncio.sleep(1.0)
        await self._measure(max(MEASURE_LEAST_S, seconds - (time.monotonic() - began)))
        await self._somebody_speaks()
        self._grab("grid")

    async def _somebody_speaks(self) -> None:
        await self._wait("somebody speaking", lambda s: bool(s.speaking), 2.0, needed=False)

    def _there(self, state: ClientState, names: set[str]) -> bool:
        return state.meeting is not None and names <= {p.name for p in state.meeting.admitted()}

    async def _wait(self, what: str, reached: Callable[[ClientState], bool], limit_s: float, *, needed: bool = True) -> bool:
        """Whether the state got there. Raises DemoError when it had to."""
        until = time.monotonic() + limit_s
        while not reached(self._state):
            if time.monotonic() > until:
                if not needed:
                    log.warning("waited %.0f s for %s in vain", limit_s, what)
                    return False
                raise DemoError(f"waited {limit_s:.0f} s for {what} in vain (phase {self._state.phase}, {self._state.join_error or 'no error'})")
            await asyncio.sleep(0.05)
        return True

    def _grab(self, name: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{len(self._pictures) + 1:02d}-{name}.png"
        window: QWidget = self._shell.window
        if window.grab().save(str(path)):
            self._pictures.append(str(path))
        else:
            log.error("%s could not be written", path)

    # ---- the report

    def _painted(self) -> dict[tuple[str, str], dict[str, Any]]:
        shown = self._shell.window.findChild(Stage)
        return {} if shown is None else {(tile["participant"], tile["source"]): tile for tile in shown.painted()}

    async def _measure(self, seconds: float) -> None:
        """Pictures a second of each tile shown, over all these seconds."""
        self._process.cpu_percent()
        before, began = self._painted(), time.monotonic()
        await asyncio.sleep(seconds)
        after, took = self._painted(), time.monotonic() - began
        self._cpu_percent = self._process.cpu_percent()
        self._measured = {key: (tile["painted"] - before[key]["painted"]) / took for key, tile in after.items() if key in before}

    async def report(self) -> dict[str, Any]:
        state = self._state
        people = list(state.meeting.admitted()) if state.meeting is not None else []
        names = {p.id: p.name for p in people}
        tiles = self._painted()
        tracks = [self._track(track, names, tiles) for track in state.stats.get("tracks", ())]
        known = {(track["participant"], track["source"]) for track in tracks}
        for key, tile in tiles.items():
            if key not in known:
                tracks.append(self._track({"participant": tile["participant"], "source": tile["source"], "kind": "video"}, names, tiles))
        self._engine.send(api.Record(None))
        await asyncio.sleep(0.3)
        return {
            "participants": len(people),
            "admitted": len(self._admitted),
            "chat_messages": len(state.meeting.chat) if state.meeting is not None else 0,
            "screenshots": self._pictures,
            "window": {
                "engine": state.stats.get("engine", {}),
                "cpu_percent": round(self._cpu_percent, 1),
                "rss_mb": round(self._process.memory_info().rss / 1e6, 1),
                "sound": _sound(self._wav) if self._recording else None,
                "tracks": tracks,
            },
        }

    def _track(self, track: dict[str, Any], names: dict[str, str], tiles: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
        participant = str(track.get("participant", "")).rpartition(".")[0] or str(track.get("participant", ""))
        participant = participant if participant in names else str(track.get("participant", ""))
        key = (participant, str(track.get("source", "")))
        found = {**track, "participant": participant, "name": names.get(participant, ""), "painted_fps": None}
        if key in tiles:
            tile = tiles[key]
            fps = self._measured.get(key, tile["painted_fps"])
            found |= {"painted_fps": round(fps, 1), "age_ms": tile.get("age_ms"), "width": tile["width"], "height": tile["height"]}
        return found


def _shared(state: ClientState) -> bool:
    return any(t.source == "screen_share" and t.kind == "video" and t.ring is not None and not t.muted for t in state.tracks.values())


def _sound(path: Path) -> dict[str, Any]:
    """How loud what the loudspeaker would have played was. −∞ is told as −120."""
    try:
        with wave.open(str(path)) as file:
            samples = array.array("h", file.readframes(file.getnframes()))
            rate = file.getframerate()
    except (OSError, EOFError, wave.Error):
        return {"file": "", "seconds": 0.0, "rms_dbfs": -120.0, "silent": True}
    mean = sum(v * v for v in samples[::4]) / max(1, len(samples[::4]))
    rms = math.sqrt(mean) / 32768
    return {
        "file": str(path), "seconds": round(len(samples) / rate, 1), "rms_dbfs": round(20 * math.log10(rms), 1) if rms > 1e-6 else -120.0,
        "silent": rms < 1e-4,
    }  # fmt: skip

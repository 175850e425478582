"""The stage: the real window with live tiles, painted by the processor and by the graphics card (or its stand-in in software).

    python bench/stage.py [--tiles 1 9 25] [--stages raster gpu] [--platforms xcb offscreen] [--seconds 12] [--drag]

A process of its own plays the engine: for each tile that the window watches it scales and writes thirty pictures a second (720p for
one tile, 360p for nine, 180p for 25; each tile at its own moment) into a real ring. The window runs as it does in a meeting, with
voices ten times and figures once a second. `xcb` starts an Xvfb of its own where there is no display. `--drag` moves and resizes the
window all the while.

**Age**: from a picture's write to the ring (the moment it is due) to the end of the update that shows it, composed and handed to the
system. **Lateness**: age less one interval of a screen of 60 Hz (16.7 ms), not below 0: a picture that is due just after a refresh
cannot be seen before the next, so up to there nobody could have done better. **Timer**: how late a timer of 10 ms is.
Prints a table; `--json` the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

FPS = 30
REFRESH_MS = 1000 / 60
SIZES = {1: (1280, 720), 9: (640, 360), 25: (320, 180)}
WINDOW = (1280, 800)
SETTLE_S = 3.0
COLUMNS = ("platform", "stage", "tiles", "painted", "pass_ms", "timer_ms", "age_ms", "late_ms", "cpu", "rss_mb")
HEADS = (
    "platform", "stage", "tiles", "painted a second, slowest tile", "pass, ms", "timer late p50 / p99, ms", "age p50 / p95 / p99, ms",
    "lateness p50 / p95 / p99, ms", "CPU of the window, % of a core", "RSS, MB",
)  # fmt: skip


# ---- the engine's part, in a process of its own ------------------------------------------------------------------------------


def write(width: int, height: int) -> None:
    """Obeys lines of JSON on stdin ([track, width, height, format, fill], 0 × 0: stop); says [track, ring] on stdout."""
    import av

    from vidconf.engine.scaling import TileWriter

    tiles: dict[str, tuple[TileWriter, list[av.VideoFrame]]] = {}
    lock = threading.Lock()

    def films(number: int) -> list[av.VideoFrame]:
        made = []
        for step in range(10):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, base in zip(frame.planes, (40, 100 + 7 * (number % 8), 150 - 9 * (number % 7)), strict=True):
                slope = bytes(base + (x // 4 + 8 * step if base == 40 else 0) % 160 for x in range(plane.line_size))
                plane.update(slope * plane.height)
            made.append(frame)
        return made

    def say(track: str, ring: str) -> None:
        print(json.dumps([track, ring]), flush=True)

    def obey() -> None:
        for line in sys.stdin:
            track, wide, high, format_, fill = json.loads(line)
            with lock:
                if track not in tiles:
                    tiles[track] = (TileWriter(lambda ring, track=track: say(track, ring)), films(len(tiles)))  # type: ignore[misc]
                tiles[track][0].watch(wide, high, format_, fill)
        os._exit(0)  # the window has gone

    threading.Thread(target=obey, daemon=True).start()
    step, began, count = 0, time.monotonic(), max(1, len(tiles))
    while True:
        with lock:
            living = list(tiles.values())
        count = max(1, len(living))
        for place, (tile, pictures) in enumerate(living):
            time.sleep(max(0.0, began + (step + place / count) / FPS - time.monotonic()))
            tile.show(pictures[step % len(pictures)], step * 33_333)
        step += 1
        time.sleep(max(0.0, began + step / FPS - time.monotonic()))


# ---- the window --------------------------------------------------------------------------------------------------------------


class Actions:
    """What the window asks for: `watch` goes to the writer, the rest nowhere."""

    def __init__(self, writer: subprocess.Popen[str]) -> None:
        self._writer = writer

    def watch(self, track: str, width: int, height: int, visible: bool = True, fill: bool = True, format: str = "bgrx") -> None:
        assert self._writer.stdin is not None
        said = [track, width if visible else 0, height if visible else 0, format, fill]
        self._writer.stdin.write(json.dumps(said) + "\n")
        self._writer.stdin.flush()

    def can(self, command: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def meeting_of(count: int) -> Any:
    """A client in a meeting of `count` people with cameras, oneself among them."""
    from vidconf.client.state import LOCAL_SOURCES, ClientState, LocalSource, TrackView
    from vidconf.meeting.models import Meeting, Participant, Sources

    people = {
        f"p{n}": Participant(f"p{n}", f"Điểm cầu số {n + 1}", place="admitted", session=1, connected=True, role="chair" if n == 0 else "delegate",
                             position="Phó Giám đốc", unit="Sở Nông nghiệp và Môi trường", sources=Sources("on", "on"))
        for n in range(count)
    }  # fmt: skip
    tracks = {f"cam{n}": TrackView(f"cam{n}", f"p{n}.1", f"p{n}", "camera", "video") for n in range(1, count)}
    sources = {source: LocalSource("on", wanted="on") if source == "camera" else LocalSource() for source in LOCAL_SOURCES}
    meeting = Meeting("m", "c", "Giao ban", state="live", participants=people, started_at=time.time())
    return ClientState(phase="meeting", me="p0", meeting=meeting, tracks=tracks, sources=sources, media="connected", control="connected")


def drag(window: Any, at: float) -> None:
    """Where a window that is being dragged and resized is `at` seconds into it; call it sixty times a second."""
    window.move(round(60 + 50 * math.sin(2 * at)), round(40 + 30 * math.cos(3 * at)))
    window.resize(round(WINDOW[0] - 120 + 100 * math.sin(1.3 * at)), round(WINDOW[1] - 100 + 80 * math.cos(1.7 * at)))


async def play(app: Any, stage: str, tiles: int, seconds: float, dragged: bool) -> dict[str, Any]:
    import psutil
    from PySide6.QtCore import QEvent, Qt, QTimer

    from vidconf.client.changes import EngineSaid, Set
    from vidconf.client.settings import Settings
    from vidconf.client.store import Store
    from vidconf.engine import api
    from vidconf.gui.main_window import MainWindow
    from vidconf.gui.stage.pictures import Picture
    from vidconf.gui.stage.stage import Stage

    width, height = SIZES.get(tiles, SIZES[25])
    writer = subprocess.Popen([sys.executable, __file__, "--write", str(width), str(height)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    written: list[int] = []
    ages: list[float] = []
    counting = [False]
    shown = Picture.shown

    def noted(picture: Picture) -> None:
        before = picture.painted
        shown(picture)
        frame = picture.frame
        if picture.painted != before and frame is not None:
            written.append(frame.written_ns)

    Picture.shown = noted  # type: ignore[method-assign]

    class Window(MainWindow):
        def event(self, event: QEvent) -> bool:
            done = super().event(event)
            if written and event.type() in (QEvent.Type.UpdateRequest, QEvent.Type.Paint, QEvent.Type.Resize):
                now = time.monotonic_ns()
                if counting[0]:
                    ages.extend((now - at) / 1e6 for at in written)
                written.clear()
            return done

    store = Store(meeting_of(tiles))
    settings = Settings(command_line={"stage_renderer": stage})
    window = Window(store, Actions(writer), settings)
    window.resize(*WINDOW)
    window.show()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        assert writer.stdout is not None
        for line in writer.stdout:
            track, ring = json.loads(line)
            loop.call_soon_threadsafe(lambda track=track, ring=ring: store.dispatch(EngineSaid(api.RingOpened(track, ring))))

    threading.Thread(target=listen, daemon=True).start()
    late: list[float] = []
    last = [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        if counting[0]:
            late.append(max(0.0, 1000 * (now - last[0]) - 10))
        last[0] = now

    timer = QTimer(window)
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    timer.start(10)

    async def voices() -> None:
        n = 0
        while True:
            n += 1
            store.dispatch(Set({"speaking": ((f"p{n // 30 % tiles}", 0.1 + n % 5 / 10),)}))
            store.dispatch(EngineSaid(api.LocalLevel(n % 32 / 32)))
            if n % 10 == 0:
                store.dispatch(EngineSaid(api.Stats((), {"cpu_percent": 10.0, "rss_mb": 100.0})))
            await asyncio.sleep(0.1)

    async def drags() -> None:
        began = time.monotonic()
        while dragged:
            drag(window, time.monotonic() - began)
            await asyncio.sleep(1 / 60)

    tasks = [asyncio.create_task(voices()), asyncio.create_task(drags())]
    try:
        await asyncio.sleep(SETTLE_S)
        found = window.findChild(Stage)
        assert found is not None
        before = {one["track"]: one["painted"] for one in found.painted()}
        counting[0] = True
        cpu, began = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        counting[0] = False
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        painted = [(one["painted"] - before.get(one["track"], 0)) / took for one in found.painted()]
        return {
            "platform": app.platformName(), "stage": window.graphics.painter, "tiles": len(painted), "painted": round(min(painted, default=0.0), 1),
            "pass_ms": round(found._canvas.pass_ms, 2), "timer_ms": shares(late, 50, 99), "age_ms": shares(ages, 50, 95, 99),
            "late_ms": shares([max(0.0, age - REFRESH_MS) for age in ages], 50, 95, 99), "cpu": round(100 * cpu / took, 1),
            "rss_mb": round(psutil.Process().memory_info().rss / 1e6), "pictures": len(ages),
        }  # fmt: skip
    finally:
        for task in tasks:
            task.cancel()
        timer.stop()
        window.hide()
        window.let_go()
        assert writer.stdin is not None
        writer.stdin.close()
        writer.wait(5)


def shares(values: list[float], *per_cent: int) -> list[float]:
    ordered = sorted(values) or [math.nan]
    return [round(ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))], 1) for p in per_cent]


def one(stage: str, tiles: int, seconds: float, dragged: bool) -> None:
    """One row, in this process."""
    from vidconf import words
    from vidconf.gui import theme
    from vidconf.gui.app import make_application
    from vidconf.gui.bridge import make_loop

    app = make_application()
    words.set_language("vi")
    theme.apply(app, "light")
    loop = make_loop(app)
    print(json.dumps(loop.run_until_complete(play(app, stage, tiles, seconds, dragged))), flush=True)
    os._exit(0)


def row(platform: str, stage: str, tiles: int, told: argparse.Namespace) -> dict[str, Any] | None:
    command = [sys.executable, __file__, "--one", stage, str(tiles), "--seconds", str(told.seconds), *(["--drag"] if told.drag else [])]
    environment = {**os.environ, "QT_QPA_PLATFORM": platform}
    if platform == "xcb" and not os.environ.get("DISPLAY"):
        if shutil.which("xvfb-run") is None:
            print("xvfb-run is missing: rows of xcb are left out (script/install-test-peers)", file=sys.stderr)
            return None
        command = ["xvfb-run", "-a", "-s", "-screen 0 1920x1200x24", *command]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=told.seconds + 60)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def written_row(found: dict[str, Any]) -> str:
    told = [" / ".join(str(value) for value in found[name]) if isinstance(found[name], list) else str(found[name]) for name in COLUMNS]
    return f"| {' | '.join(told)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="The stage, measured.")
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 9, 25])
    parser.add_argument("--stages", nargs="+", default=["raster", "gpu"], choices=["raster", "gpu"])
    parser.add_argument("--platforms", nargs="+", default=["xcb", "offscreen"])
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--drag", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, type=int, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.write:
        write(*told.write)
    if told.one:
        one(told.one[0], int(told.one[1]), told.seconds, told.drag)
    rows = []
    if not told.json:
        print(f"| {' | '.join(HEADS)} |\n|{' --- |' * len(HEADS)}")
    for platform in told.platforms:
        for stage in told.stages:
            if stage == "gpu" and platform == "offscreen":
                continue  # Qt has no renderer there
            for tiles in told.tiles:
                found = row(platform, stage, tiles, told)
                if found is not None:
                    rows.append(found)
                    if not told.json:
                        print(written_row(found), flush=True)
    if told.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()

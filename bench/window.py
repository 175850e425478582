"""The window: from the start of the process to a home page that can be typed in, and a meeting of nine tiles in memory and CPU.

    python bench/window.py [--rounds 7] [--seconds 30]

Qt's offscreen platform; the raster stage paints there as anywhere. Start: from `exec` to the first paint of the home page with
the link field focused, interpreter and imports included, on a warm disk. Meeting: `vidconf demo --headless --participants 8`,
whose window shows eight remote tiles and its own; RSS of the window's and the engine's process, and their CPU;
pictures a second of the slowest tile. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(ROOT / "src")}

START = """
import asyncio, sys
from PySide6.QtCore import QEvent, QObject
from vidconf.client.settings import Settings
from vidconf.engine.host import EngineHost
from vidconf.gui import app as composition
application = composition.make_application()
loop = composition.make_loop(application)
async def live():
    shell = composition.Shell(application, Settings(), EngineHost(speaker="none"), tray=False)
    painted = asyncio.Event()
    class Watch(QObject):
        def eventFilter(self, watched, event):
            if event.type() == QEvent.Type.Paint and watched is shell.window.page:
                painted.set()
            return False
    watch = Watch()
    application.installEventFilter(watch)
    await shell.start()
    await painted.wait()
    while application.focusWidget() is None:
        await asyncio.sleep(0.001)
    print("usable", flush=True)
    application.removeEventFilter(watch)
    await shell.close()
loop.run_until_complete(live())
loop.close()
"""


def start_s() -> float:
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    took = time.perf_counter() - began
    process.wait(20)
    if line.strip() != "usable":
        raise SystemExit("the window did not start: run `vidconf selftest`")
    return took


def meeting(seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "vidconf.cli.main", "demo", "--headless", "--participants", "8", "--seconds", str(seconds), "--json"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=folder, timeout=seconds + 120)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="The window's start, and a meeting of nine tiles.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=30)
    told = parser.parse_args()
    start_s()  # warms the disk
    starts = [start_s() for _ in range(told.rounds)]
    window = meeting(told.seconds)["window"]
    painted = [track["painted_fps"] for track in window["tracks"] if track["painted_fps"] is not None]
    engine = window["engine"]
    print("| figure | value |\n| --- | --- |")
    print(f"| start to a usable home page, median / worst | {statistics.median(starts):.2f} / {max(starts):.2f} s |")
    print(f"| tiles shown, pictures a second of the slowest | {len(painted)}, {min(painted):.1f} |")
    print(f"| memory of window and engine, RSS | {window['rss_mb']:.0f} + {engine['rss_mb']:.0f} = {window['rss_mb'] + engine['rss_mb']:.0f} MB |")
    print(f"| CPU of window and engine, of one core | {window['cpu_percent']:.0f} + {engine['cpu_percent']:.0f} % |")


if __name__ == "__main__":
    main()

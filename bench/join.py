"""From a link to the first sound and the first decoded picture: a bot on the relay through `vidconf serve`, and on livekit-server.

    python bench/join.py [--rounds 20]

Two participants with a drawn picture and a voice are in the room already. Each round is one `vidconf bot`, in a process that is
there before the clock starts; all times are from its first request. Loopback; livekit-server is left out where it is missing.
Prints a table: median and worst, seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from e2e.livekitproc import LiveKit, token  # noqa: E402

from vidconf.cli.bot_participant import Bot, BotOptions  # noqa: E402
from vidconf.resources import resource  # noqa: E402

VIDCONF = [sys.executable, "-m", "vidconf.cli.main"]
FIGURES = ("joined_s", "first_audio_s", "first_video_s")
SEEN_S = 1.5


def film(name: str) -> str:
    return str(resource("demo", f"{name}.mp4"))


async def rounds(count: int, options: Any) -> list[dict[str, Any]]:
    """`options(k)`: of the k-th bot."""
    reports = []
    for k in range(-1, count):  # the first one warms up
        report = await Bot(options(k)).run()
        if k >= 0:
            reports.append(report)
        await asyncio.sleep(0.3)
    return reports


def row(name: str, reports: list[dict[str, Any]]) -> str:
    cells = []
    for figure in FIGURES:
        found = [report[figure] for report in reports if report[figure] is not None]
        cells.append(f"{statistics.median(found):.3f} / {max(found):.3f}" if found else "none")
    whole = sum(all(report[figure] is not None for figure in FIGURES) for report in reports)
    return f"| {name} | {' | '.join(cells)} | {whole} of {len(reports)} |"


async def on_relay(count: int, folder: Path) -> list[dict[str, Any]]:
    server = subprocess.Popen([*VIDCONF, "serve", "--port", "0", "--data", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        made = subprocess.run([*VIDCONF, "meeting", "create", "--title", "Bench", "--no-lobby", "--json", "--data", str(folder)],
                              capture_output=True, text=True, check=True)
        link = json.loads(made.stdout)["link"]
        others = [
            subprocess.Popen([*VIDCONF, "bot", link, "--name", name, "--camera", film(name), "--microphone", film(name)],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for name in ("hue", "can-tho")
        ]
        try:
            await asyncio.sleep(4)
            return await rounds(count, lambda k: BotOptions(link=link, name=f"Round {k}", seconds=SEEN_S))
        finally:
            end(others)
    finally:
        end([server])


async def on_livekit(count: int, folder: Path) -> list[dict[str, Any]]:
    sfu = LiveKit(folder)
    sfu.start()
    others = [
        subprocess.Popen([*VIDCONF, "bot", "--livekit-url", sfu.url, "--token", token("bench", name), "--camera", film(name), "--microphone", film(name)],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in ("hue", "can-tho")
    ]
    try:
        await asyncio.sleep(4)
        return await rounds(count, lambda k: BotOptions(livekit_url=sfu.url, token=token("bench", f"round-{k}"), seconds=SEEN_S))
    finally:
        end(others)
        sfu.stop()


def end(processes: list[subprocess.Popen[Any]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(10)


async def main() -> None:
    parser = argparse.ArgumentParser(description="From a link to the first sound and picture.")
    parser.add_argument("--rounds", type=int, default=20)
    told = parser.parse_args()
    print("| SFU | joined | first sound | first picture | with both |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        print(row("relay, through `vidconf serve`", await on_relay(told.rounds, Path(folder) / "server")))
        if shutil.which("livekit-server") is None:
            print("livekit-server is missing: ./script/install-test-peers", file=sys.stderr)
        else:
            print(row("livekit-server", await on_livekit(told.rounds, Path(folder))))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())

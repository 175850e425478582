"""A long meeting: what it costs in memory from minute to minute, and what is left of it after leaving.

    python bench/soak.py [--minutes 30] [--publishers 6] [--size 320x180]

Publishers (Pion) send pictures and speech through our relay; the engine receives, decodes and mixes all of it in this process's
child, as a bot does. RSS, threads and open files are read every ten seconds; the slope is the line that fits best from the
third minute on. Then the engine is told `Leave`, and five seconds later its threads and sockets are counted against those
of before it joined. Prints a table; exit 1 when the slope is over 1 MB in ten minutes, or anything is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src"), str(ROOT / "bench")]

EVERY_S = 10.0
WARM_S = 180.0
"""Arenas, caches and jitter buffers fill first."""
FIRST_S, LEFT_S = 5.0, 5.0
MOST_MB = 1.0


async def receive(url: str, token: str, seconds: float) -> None:
    """One line of JSON a sample, the last one after leaving."""
    import psutil

    from vidconf.engine import api
    from vidconf.engine.local import LocalEngine
    from vidconf.engine.session import Options

    process = psutil.Process()
    engine = LocalEngine(Options(decode_unwatched=True, speaker="none"))
    await engine.start()

    def sample() -> dict[str, Any]:
        return {"rss": process.memory_info().rss / 1e6, "threads": process.num_threads(), "files": process.num_fds(),
                "sockets": len(process.net_connections(kind="inet"))}

    async def drain() -> None:
        async for _ in engine.events():
            pass

    reader = asyncio.create_task(drain())
    # what a process opens once and keeps (threads that look names up) is not the meeting's: one short meeting comes first
    engine.send(api.Join(url, token))
    await asyncio.sleep(FIRST_S)
    engine.send(api.Leave())
    await asyncio.sleep(LEFT_S)
    before = sample()
    engine.send(api.Join(url, token))
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await asyncio.sleep(EVERY_S)
        frames = [t["frames"] for t in engine.session.tracks_report() if t["kind"] == "video"]
        print(json.dumps({"at": time.monotonic() - began, **sample(), "frames": sum(frames)}), flush=True)
    engine.send(api.Leave())
    await asyncio.sleep(LEFT_S)
    named = sorted(t.name for t in threading.enumerate())
    print(json.dumps({"before": before, "after": sample(), "left": named}), flush=True)
    await engine.close()
    await reader


def slope(samples: list[dict[str, Any]]) -> float:
    """MB in ten minutes, by least squares, from the end of the warm-up on; of all where the run was shorter."""
    found = [(s["at"], s["rss"]) for s in samples if s["at"] >= WARM_S] if samples[-1]["at"] > 2 * WARM_S else [(s["at"], s["rss"]) for s in samples[len(samples) // 2 :]]
    mean_x, mean_y = (sum(c) / len(found) for c in zip(*found, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in found)
    return 600 * sum((x - mean_x) * (y - mean_y) for x, y in found) / spread if spread else 0.0


def main() -> None:
    if sys.argv[1:2] == ["--receive"]:
        import uvloop

        sys.setswitchinterval(0.0005)
        uvloop.run(receive(sys.argv[2], sys.argv[3], float(sys.argv[4])))
        return
    import receive as load
    import relay_load
    from e2e import relayproc

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--publishers", type=int, default=6)
    parser.add_argument("--size", default="320x180")
    told = parser.parse_args()
    width, _, height = told.size.partition("x")
    seconds = 60 * told.minutes
    samples: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, relayproc.RelayProcess() as relay:
        video, sound = Path(folder) / "moving.ivf", Path(folder) / "speech.opuspackets"
        relay_load.make_video(video, int(width), int(height), 200_000)
        load.make_sound(sound)
        publishers = subprocess.Popen(
            [str(relay_load.generator()), "-url", relay.ws_url, "-participants", str(told.publishers), "-seconds", str(seconds + 60),
             "-settle", "0.5", "-video", str(video), "-audio", str(sound), "-deaf"],
            stdout=subprocess.PIPE, env={**os.environ, "LIVEKIT_KEY": relayproc.KEY, "LIVEKIT_SECRET": relayproc.SECRET},
        )  # fmt: skip
        try:
            assert publishers.stdout is not None
            publishers.stdout.readline()
            token = load.token(relayproc.KEY, relayproc.SECRET, "receiver")
            child = subprocess.Popen(
                [sys.executable, __file__, "--receive", relay.ws_url, token, str(seconds)], stdout=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "MALLOC_ARENA_MAX": "2"},
            )  # fmt: skip
            assert child.stdout is not None
            print(f"{'minute':>8}{'RSS MB':>9}{'threads':>9}{'files':>7}{'pictures':>11}")
            end: dict[str, Any] = {}
            for line in child.stdout:
                said = json.loads(line)
                if "before" in said:
                    end = said
                    continue
                samples.append(said)
                if len(samples) % 6 == 0 or told.minutes < 2:
                    print(f"{said['at'] / 60:>8.1f}{said['rss']:>9.1f}{said['threads']:>9}{said['files']:>7}{said['frames']:>11}", flush=True)
            child.wait(30)
        finally:
            publishers.kill()
            publishers.wait()
    grown = slope(samples)
    print(f"slope: {grown:.2f} MB in 10 minutes")
    before, after = end["before"], end["after"]
    for what in ("threads", "files", "sockets"):
        print(f"{what} before joining and after leaving: {before[what]}, {after[what]}")
    left = any(after[what] > before[what] for what in ("threads", "files", "sockets"))
    if left:
        print(f"left: {end['left']}")
    sys.exit(1 if left or grown > MOST_MB else 0)


if __name__ == "__main__":
    main()

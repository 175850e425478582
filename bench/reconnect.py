"""How long until picture and sound are back: after the SFU was killed and started again, after another address, after a black-out.

    python bench/reconnect.py [--sfu relay livekit] [--restarts 20] [--addresses 20] [--black-outs 10]

Root on Linux: client, router and server are network namespaces (tests/e2e/netns.py). A bot in the server's network sends a drawn
picture and a tone; ours and the official `livekit` SDK receive in the client's, at the same time and through the same events. A
time runs from the moment the SFU answers again (HTTP), the new address is there, or the way is whole, to the first decoded picture
and the first packet of sound (ours) or audible block (SDK), whichever comes later. Prints a table: median / worst, seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from e2e.livekitproc import token, until  # noqa: E402
from e2e.netns import SERVER, Net  # noqa: E402
from e2e.sfuproc import made  # noqa: E402
from e2e.test_engine_sfu import PICTURE, SINE, Ours  # noqa: E402

BACK_S = 3.0
GIVEN_UP_S = 30.0
BLACK_OUT_S = 5.0
SETTLE_S = 1.0


class Receivers:
    """When each last had a picture and a sound; monotonic seconds."""

    def __init__(self, ours: Ours) -> None:
        self.ours = ours
        self.events: dict[str, dict[str, list[float]]] = {"ours": {"v": [], "a": []}, "sdk": {"v": [], "a": []}}
        self.gone = 0
        self._seen: dict[str, int] = {}

    async def follow_ours(self) -> None:
        while True:
            for track in self.ours.engine.session.tracks_report():
                what, count = ("v", track["frames"]) if track["kind"] == "video" else ("a", track["packets"])
                if count > self._seen.get(track["track"], 0):
                    self.events["ours"][what].append(time.monotonic())
                self._seen[track["track"]] = count
            await asyncio.sleep(0.01)

    async def follow_sdk(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            what, at = line.decode().split()
            if what == "gone":
                self.gone += 1
            elif what in ("v", "a"):
                self.events["sdk"][what].append(float(at))

    def back_after(self, who: str, since: float) -> float | None:
        """Seconds from `since` to picture and sound; None while one is missing."""
        firsts = [next((at for at in times if at >= since), None) for times in self.events[who].values()]
        return None if None in firsts else max(at for at in firsts if at is not None) - since

    def forget(self) -> None:
        for kinds in self.events.values():
            for times in kinds.values():
                times.clear()


async def restart(net: Net, sfu: Any, chance: random.Random) -> float:
    sfu.kill()
    await asyncio.sleep(chance.uniform(0.3, 6.0))
    with net.inside("server"):
        sfu.start()
    return time.monotonic()


async def another_address(net: Net, sfu: Any, chance: random.Random) -> float:
    now, then = net.addresses
    net.addresses = (then, now)
    net.take_address(now)
    await asyncio.sleep(chance.uniform(0.0, 1.0))
    net.give_address(then)
    return time.monotonic()


async def black_out(net: Net, sfu: Any, chance: random.Random) -> float:
    net.cut()
    await asyncio.sleep(BLACK_OUT_S)
    net.mend()
    return time.monotonic()


async def run(kind: str, rounds: list[tuple[str, Callable[..., Any], int]], folder: Path) -> list[tuple[str, str, list[float | None], list[float | None], int]]:
    chance = random.Random(7)
    with Net() as net:
        sfu = made(kind, folder, SERVER, net.prefix("server"))
        with net.inside("server"):
            sfu.start()
        vidconf = [sys.executable, "-m", "vidconf.cli.main", "bot", "--livekit-url", sfu.url, "--token", token("room", "sender"), "--seconds", "3600"]
        with (folder / "sender.log").open("w") as log:
            sender = subprocess.Popen(
                [*net.prefix("server"), *vidconf, "--camera", PICTURE, "--microphone", SINE, "--subscribe", "none"], stdout=log, stderr=log
            )
        sdk = await asyncio.create_subprocess_exec(
            *net.prefix("client"), sys.executable, str(ROOT / "bench" / "reconnect_sdk.py"), sfu.url, token("room", "sdk"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        rows = []
        with net.inside("client"):
            ours = await Ours(sfu, "ours").start()
            ours.join()
            receivers = Receivers(ours)
            assert sdk.stdout is not None
            following = [asyncio.create_task(receivers.follow_ours()), asyncio.create_task(receivers.follow_sdk(sdk.stdout))]
            began = time.monotonic()
            assert await until(lambda: all(receivers.back_after(who, began) for who in ("ours", "sdk")), 20), receivers.events
            for name, happen, count in rounds:
                took: dict[str, list[float | None]] = {"ours": [], "sdk": []}
                gone = receivers.gone
                for _ in range(count):
                    await asyncio.sleep(SETTLE_S)
                    receivers.forget()
                    since = await happen(net, sfu, chance)
                    await until(lambda since=since, took=took: all(receivers.back_after(who, since) is not None for who in took), GIVEN_UP_S)
                    for who, times in took.items():
                        times.append(receivers.back_after(who, since))
                    print(kind, name, *(f"{who} {times[-1]}" for who, times in took.items()), file=sys.stderr, flush=True)
                rows.append((kind, name, took["ours"], took["sdk"], receivers.gone - gone))
            for task in following:
                task.cancel()
            await ours.close()
        for process in (sdk, sender):
            with suppress(ProcessLookupError):
                process.terminate()
        await sdk.wait()
        sender.wait()
        sfu.stop()
    return rows


def cell(times: list[float | None]) -> str:
    """median / worst, and how many were back within `BACK_S`."""
    found = sorted(t for t in times if t is not None)
    worst = f"{found[-1]:.2f}" if len(found) == len(times) else "never"
    return f"{statistics.median(found):.2f} / {worst} | {sum(t <= BACK_S for t in found)} of {len(times)}" if found else f"never | 0 of {len(times)}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sfu", nargs="+", default=["relay", "livekit"])
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--addresses", type=int, default=20)
    parser.add_argument("--black-outs", type=int, default=10)
    told = parser.parse_args()
    rounds = [
        ("SFU killed and started again", restart, told.restarts), ("another address", another_address, told.addresses),
        (f"black-out of {BLACK_OUT_S:.0f} s", black_out, told.black_outs),
    ]  # fmt: skip
    print("| SFU | after | ours, s | within 3 s | SDK, s | within 3 s | SDK gave up |\n| --- | --- | --- | --- | --- | --- | --- |")
    for kind in told.sfu:
        with tempfile.TemporaryDirectory() as folder:
            for sfu, name, ours, sdk, gone in await run(kind, rounds, Path(folder)):
                print(f"| {sfu} | {name} | {cell(ours)} | {cell(sdk)} | {gone} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())

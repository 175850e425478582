"""Whether sound and picture come out together: `python bench/lip_sync.py --seconds 40 --sfu relay,livekit`.

A made-up publisher sends a white picture and a tone that were captured at the same instant, once a second, with sender reports that
say so; the network lets one of the two be late. Our engine receives both; a flash is timed when the tile would get it, a tone by
the block that goes to the loudspeaker. Prints |skew| of each (positive: the picture is later), after the first ten seconds.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import itertools
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import uvloop

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "src")]

from e2e import sfuproc  # noqa: E402
from e2e.livekitproc import token  # noqa: E402
from e2e.raw_client import RawClient, Sender  # noqa: E402

from vidconf.engine import api  # noqa: E402
from vidconf.engine.codecs.opus import BLOCK_BYTES, OpusEncoder  # noqa: E402
from vidconf.engine.codecs.vp8 import Vp8Encoder  # noqa: E402
from vidconf.engine.local import LocalEngine  # noqa: E402
from vidconf.engine.session import Options  # noqa: E402
from vidconf.rtp.rtcp import Sdes, SenderReport  # noqa: E402
from vidconf.rtp.statistics import ntp_time  # noqa: E402
from vidconf.rtp.vp8 import packetize  # noqa: E402

WIDTH, HEIGHT = 320, 180
FLASH_FRAMES, TONE_BLOCKS = 6, 5
SETTLES_S = 10.0
WAYS = {"even": (0.0, 0.0), "picture 150 ms late": (0.15, 0.0), "sound 150 ms late": (0.0, 0.15)}


def flashes() -> list[bytes]:
    """One second of pictures; the first are white."""
    encoder = Vp8Encoder(WIDTH, HEIGHT, 30, 400_000, screen=True)
    made = []
    for number in range(30):
        picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for k, plane in enumerate(picture.planes):
            plane.update(bytes((235 if number < FLASH_FRAMES else 24,) if k == 0 else (128,)) * plane.buffer_size)
        data = encoder.encode(picture, number == 0)
        assert data is not None
        made.append(data)
    return made


def tones() -> list[bytes]:
    """One second of sound; the first blocks are a tone of 1 kHz."""
    encoder = OpusEncoder()
    made = []
    for number in range(50):
        loud = 12_000 if number < TONE_BLOCKS else 3
        block = array.array("h", (int(loud * math.sin(2 * math.pi * k / 48)) for k in range(BLOCK_BYTES // 2)))
        made.append(encoder.encode(block.tobytes()))
    return made


class Publisher:
    """Sends both from one clock; `late` is what the network does to one of them."""

    def __init__(self, url: str) -> None:
        self.client = RawClient(url, token("room", "source"))
        self.late_s = {"video": 0.0, "audio": 0.0}
        self._began = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.client.join(auto_subscribe=0)
        senders = [await self.client.publish(kind, start=False) for kind in ("video", "audio")]
        self._began = time.monotonic() + 0.1
        for sender, unit_s, hz, made in zip(senders, (1 / 30, 0.02), (90_000, 48_000), (flashes(), tones()), strict=True):
            self._tasks.append(asyncio.create_task(self._send(sender, unit_s, hz, made)))
            self._tasks.append(asyncio.create_task(self._report(sender, hz, sender.timestamp)))

    async def _send(self, sender: Sender, unit_s: float, hz: int, made: list[bytes]) -> None:
        base, loop = sender.timestamp, asyncio.get_running_loop()
        for number in itertools.count():
            captured = self._began + number * unit_s + (unit_s if hz == 48_000 else 0.0)       # sound is sent when its block is whole
            await asyncio.sleep(captured - time.monotonic())
            data, stamp = made[number % len(made)], (base + round(number * unit_s * hz)) & 0xFFFFFFFF
            loop.call_later(self.late_s[sender.section.kind], self._leave, sender, data, stamp, number)

    @staticmethod
    def _leave(sender: Sender, data: bytes, stamp: int, number: int) -> None:
        sender.timestamp = stamp
        payloads = [data] if sender.section.kind == "audio" else packetize(data, number & 0x7FFF)
        for k, payload in enumerate(payloads):
            sender._send(payload, sender.section.kind == "video" and k == len(payloads) - 1, [])

    async def _report(self, sender: Sender, hz: int, base: int) -> None:
        while True:
            await asyncio.sleep(0.5)
            stamp = (base + round((time.monotonic() - self._began) * hz)) & 0xFFFFFFFF
            report = SenderReport(sender.section.ssrc, ntp_time(time.time()), stamp, len(sender.sent), 0)
            self.client.publisher.send(report.to_bytes() + Sdes(sender.section.ssrc, "source").to_bytes())

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()


class Ear:
    """Notes when a tone begins in what goes to the loudspeaker. Playout's thread."""

    def __init__(self) -> None:
        self.tones: list[float] = []
        self._quiet = 0

    def take(self, pcm: bytes, now: float) -> None:
        samples = array.array("h", pcm)
        for k, sample in enumerate(samples):
            if abs(sample) > 4000:
                if self._quiet > 14_400:
                    self.tones.append(now + k / 48_000)
                self._quiet = 0
            else:
                self._quiet += 1


class Eye:
    """Notes when a white picture begins. Stands where a recording would; decoder's thread."""

    def __init__(self) -> None:
        self.flashes: list[float] = []
        self._dark = 0

    def write(self, frame: Any, at_s: float) -> None:
        plane = frame.planes[0]
        if memoryview(plane).cast("B")[plane.line_size * (frame.height // 2) + frame.width // 2] > 128:
            if self._dark > 5:
                self.flashes.append(time.monotonic())
            self._dark = 0
        else:
            self._dark += 1


async def watch(url: str, seconds: float, late_s: tuple[float, float]) -> list[tuple[float, float]]:
    """(seconds since the network began to be late, skew) of each flash."""
    publisher, engine, ear, eye = Publisher(url), LocalEngine(Options(decode_unwatched=True, speaker="none")), Ear(), Eye()
    await engine.start()
    playout: Any = engine.session.playout
    playout._record_block = ear.take

    async def follow() -> None:
        async for event in engine.events():
            if isinstance(event, api.TrackAdded) and event.kind == "video":
                video = engine.session.subscription(event.track, "video").video
                assert video is not None
                video.recorder = eye  # type: ignore[assignment]

    following = asyncio.create_task(follow())
    engine.send(api.Join(url, token("room", "watcher")))
    try:
        await publisher.start()
        await asyncio.sleep(5)
        publisher.late_s.update(video=late_s[0], audio=late_s[1])
        began = time.monotonic()
        await asyncio.sleep(seconds)
    finally:
        following.cancel()
        await publisher.stop()
        await engine.close()
    pairs = ((flash, min(ear.tones, key=lambda tone: abs(tone - flash), default=math.inf)) for flash in eye.flashes)
    return [(flash - began, flash - tone) for flash, tone in pairs if abs(flash - tone) < 0.5]


def line(kind: str, way: str, found: list[tuple[float, float]]) -> str:
    settled = sorted(abs(skew) for at, skew in found if at > SETTLES_S)
    if not settled:
        return f"{kind:8} {way:22} nothing was seen and heard together"
    together = next((at for at, skew in found if at > 0 and abs(skew) <= 0.04), math.inf)
    worst = max((skew for at, skew in found if at > 0), key=abs)
    return (
        f"{kind:8} {way:22} {len(settled):4} flashes  |skew| p50 {1000 * settled[len(settled) // 2]:4.0f} ms  "
        f"p95 {1000 * settled[int(0.95 * (len(settled) - 1))]:4.0f} ms   at worst {1000 * worst:4.0f} ms, within 40 ms after {together:.0f} s"
    )


async def run(kinds: list[str], ways: list[str], seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            async with sfuproc.running(kind, Path(folder)) as server:
                for way in ways:
                    print(line(kind, way, await watch(server.url, seconds, WAYS[way])), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40, help="from when one of the two becomes late")
    parser.add_argument("--sfu", default="relay", help="relay, livekit or both by a comma")
    parser.add_argument("--ways", default=",".join(WAYS))
    given = parser.parse_args()
    os.environ["PATH"] = f"{ROOT / '.cache' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    uvloop.run(run(given.sfu.split(","), given.ways.split(","), given.seconds))


if __name__ == "__main__":
    main()

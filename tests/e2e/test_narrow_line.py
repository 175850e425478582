"""A line that becomes too narrow for pictures and wide again, through the relay: our client's estimate pauses them, which it is told,
the voice goes on, and padding brings them back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from e2e import sfuproc
from e2e.livekitproc import token, until
from e2e.raw_client import RawClient
from e2e.test_pictures_on_bad_ways import DELAY_MS, Playing
from unit.engine.media import picture

from bench.network.doorway import Doorway
from bench.network.impairment import Settings
from bench.network.path import UdpPath
from vidconf.engine import api
from vidconf.engine.codecs.vp8 import Vp8Encoder
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options

NARROW_BPS, NARROW_S = 90_000, 4.0
"""Enough for a voice; too little for any of the film."""


def film() -> list[bytes]:
    """About 250 kb/s."""
    encoder = Vp8Encoder(320, 180, 30, 250_000)
    return [encoder.encode(picture(320, 180, shift=7 * n), n == 0) or b"" for n in range(60)]


async def test_only_the_voice_where_no_more_fits_and_the_picture_when_it_does(tmp_path: Path) -> None:
    wide = Settings(delay_ms=DELAY_MS)
    narrow = Settings(delay_ms=DELAY_MS, rate_bps=NARROW_BPS, queue_bytes=NARROW_BPS * 3 // 80)
    path = UdpPath(down=[(0.0, narrow), (NARROW_S, wide)], up=[(0.0, wide)], delay_ms=DELAY_MS)
    engine, playing = LocalEngine(Options(decode_unwatched=True, speaker="none")), Playing(await asyncio.to_thread(film))
    held: list[tuple[float, bool]] = []
    await engine.start()

    async def follow() -> None:
        async for event in engine.events():
            if isinstance(event, api.TrackHeldBack):
                held.append((time.monotonic(), event.held_back))

    following = asyncio.create_task(follow())

    def report(kind: str) -> dict[str, float]:
        return next((t for t in engine.session.tracks_report() if t["kind"] == kind), {"frames": 0, "packets": 0})

    try:
        async with sfuproc.running("relay", tmp_path) as server, Doorway(server.url, path) as doorway:
            speaks = RawClient(server.url, token("room", "speaks"))
            try:
                await speaks.join(auto_subscribe=0)
                engine.send(api.Join(doorway.url, token("room", "watches")))
                await playing.publish(speaks)
                await speaks.publish("audio")
                assert await until(lambda: report("video")["frames"] > 60 and report("audio")["packets"] > 60, 20)
                began = path.begin()
                assert await until(lambda: len(held) == 1, NARROW_S + 3), "within seconds it is paused"
                assert held[0][1]
                frames, heard = report("video")["frames"], report("audio")["packets"]
                await asyncio.sleep(0.6)
                assert report("video")["frames"] - frames <= 3
                assert report("audio")["packets"] - heard > 10, "the voice has the line"
                assert await until(lambda: len(held) == 2, 15), "and comes back by itself"
                assert not held[1][1]
                assert held[1][0] - began > NARROW_S
                frames = report("video")["frames"]
                assert await until(lambda: report("video")["frames"] > frames + 30, 5)
            finally:
                await speaks.close()
    finally:
        await engine.close()
        await following
        path.close()

"""Pictures through either SFU over a way that loses packets: all of them come, in time, for few questions; and with the sound."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import pytest
from e2e import sfuproc
from e2e.livekitproc import token, until
from e2e.raw_client import RawClient, Sender
from unit.engine.media import picture

from bench.network.doorway import Doorway
from bench.network.impairment import Settings
from bench.network.path import UdpPath
from vidconf.engine import api
from vidconf.engine.codecs.vp8 import Vp8Encoder
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options
from vidconf.engine.video_receiver import VideoReceiver
from vidconf.rtp.vp8 import packetize

ROOT = Path(__file__).resolve().parents[2]
DELAY_MS = 25.0
"""Each way."""


def film(seconds: int = 2) -> list[bytes]:
    """640 × 360 at about a megabit, the first frame a keyframe."""
    encoder, found = Vp8Encoder(640, 360, 30, 1_000_000, screen=True), []
    for n in range(30 * seconds):
        data = encoder.encode(noisy(n), n == 0)
        assert data is not None
        found.append(data)
    return found


def noisy(n: int) -> av.VideoFrame:
    """Something to encode in several packets."""
    frame = picture(640, 360, shift=n)
    plane = frame.planes[0]
    luma = bytearray(plane)
    for row in range(0, 360, 4):
        at = row * plane.line_size
        luma[at : at + 640] = bytes((v + 37 * row + 11 * n) & 0xFF for v in luma[at : at + 640])
    plane.update(bytes(luma))
    return frame


class Playing:
    """Stands for a sender's frames: a film over and over; one that is asked for a keyframe begins it again."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames, self.at, self.sent = frames, 0, 0

    async def publish(self, client: RawClient) -> None:
        """Instead of what that client would send."""
        sender = await client.publish("video", start=False)
        sender.send_frame = lambda: self.send(sender)  # type: ignore[method-assign]
        sender.start()

    def send(self, sender: Sender) -> None:
        if sender.want_keyframe:
            sender.want_keyframe, self.at = False, 0
        sender.picture += 1
        self.sent += 1
        payloads = packetize(self.frames[self.at], sender.picture)
        self.at = (self.at + 1) % len(self.frames)
        for k, payload in enumerate(payloads):
            sender._send(payload, k == len(payloads) - 1, [])
        sender.timestamp += 3000


@pytest.mark.parametrize(("kind", "loss"), [pytest.param("relay", 0.05, marks=pytest.mark.soak), ("relay", 0.1), ("livekit", 0.05)])
async def test_what_is_lost_is_mended_in_time(kind: str, loss: float, tmp_path: Path) -> None:
    path = UdpPath(down=[(0.0, Settings(delay_ms=DELAY_MS, loss=loss))], up=[(0.0, Settings(delay_ms=DELAY_MS))], delay_ms=DELAY_MS)
    engine = LocalEngine(Options(decode_unwatched=True, speaker="none"))
    playing = Playing(await asyncio.to_thread(film))
    await engine.start()
    try:
        async with sfuproc.running(kind, tmp_path) as server, Doorway(server.url, path) as doorway:
            speaks = RawClient(server.url, token("room", "speaks"))
            try:
                await speaks.join(auto_subscribe=0)
                engine.send(api.Join(doorway.url, token("room", "watches")))
                await playing.publish(speaks)

                def watched() -> VideoReceiver | None:
                    return next((s.video for s in engine.session.subscriptions() if s.video and s.video.timing.frames > 30), None)

                assert await until(lambda: watched() is not None, 20)
                (subscription,) = [s for s in engine.session.subscriptions() if s.video is watched()]
                video: Any = watched()
                path.begin()
                before, sent = subscription.report(time.monotonic()), playing.sent
                shown = video.timing.frames + video.undrawn
                await asyncio.sleep(12)
                after = subscription.report(time.monotonic())
                stream = next(s for s in path.report()["down"]["streams"] if s["ssrc"] == subscription.ssrc)
                count = playing.sent - sent
                assert stream["lost"] > 20
                asked = after["nacks"] - before["nacks"]
                assert asked / stream["lost"] <= (1.5 if kind == "relay" else 1.8), "no flood of questions"
                assert after["plis"] - before["plis"] <= 1, "repairs come before a keyframe must"
                assert video.timing.frames + video.undrawn - shown >= 0.97 * count, "no frame is given up"
                assert after["frames"] - before["frames"] >= 0.75 * count, "and most are drawn"
                assert after["freeze_s"] - before["freeze_s"] < (1.0 if kind == "relay" else 4.0)
            finally:
                await speaks.close()
    finally:
        await engine.close()
        path.close()


def _bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_lip_sync", ROOT / "bench" / "lip_sync.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kind", "late_s"),
    [("relay", (0.2, 0.0)), pytest.param("livekit", (0.2, 0.0), marks=pytest.mark.soak), pytest.param("relay", (0.0, 0.2), marks=pytest.mark.soak)],
)
async def test_sound_and_picture_find_together_when_one_becomes_late(kind: str, late_s: tuple[float, float], tmp_path: Path) -> None:
    bench = _bench()
    async with sfuproc.running(kind, tmp_path) as server:
        found = await bench.watch(server.url, 16, late_s)
    last = sorted(abs(skew) for at, skew in found if at > 9)
    assert len(last) >= 4
    assert last[len(last) // 2] < 0.06, f"apart by {last}"

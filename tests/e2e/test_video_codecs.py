"""VP9 and H.264 of others' clients, received by our engine: the official SDK and Chromium publish, through livekit-server and our relay."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from e2e.browser.chromium import Browser, needs_chromium
from e2e.livekitproc import token, until
from e2e.sdk_client import SdkClient
from e2e.test_engine_sfu import Ours

from vidconf.engine import api

WATCHED_S = 4.0
SENT = """async () => {
  let frames = 0;
  for (const publication of room.localParticipant.videoTrackPublications.values()) {
    const report = await publication.track.getRTCStatsReport();
    for (const s of report.values()) if (s.type === "outbound-rtp") frames += s.framesSent || 0;
  }
  return frames;
}"""


def picture(ours: Ours, who: str) -> dict[str, Any]:
    return ours.report().get((who, "camera"), {})


Sent = Callable[[], Awaitable[int]]
"""Pictures the other side has sent so far, by its own count."""


async def watch(ours: Ours, who: str, sent: Sent) -> tuple[float, float]:
    """While it runs undisturbed: pictures shown a second, and decoded ones for each that was sent."""

    def decoded() -> int:
        receiver = next(s.video for s in ours.engine.session.subscriptions() if s.identity == who and s.video is not None)
        return receiver.timing.frames + receiver.undrawn

    began, frames, before, published = time.monotonic(), ours.frames(who), decoded(), await sent()
    await asyncio.sleep(WATCHED_S)
    fps = (ours.frames(who) - frames) / (time.monotonic() - began)
    return fps, (decoded() - before) / max(1, await sent() - published)


async def received_well(ours: Ours, who: str, codec: str, size: tuple[int, int], sent: Sent) -> None:
    assert await until(lambda: (picture(ours, who).get("width"), picture(ours, who).get("height")) == size, 15), ours.report()
    fps, share = await watch(ours, who, sent)
    entry = picture(ours, who)
    assert entry["codec"] == codec, entry
    # thirty are painted each second; where the machine is too busy to encode them, all that were sent must come out
    assert fps >= 25 or share > 0.9, (fps, share, entry)
    assert entry["lost"] == 0, entry
    subscription = next(s for s in ours.engine.session.subscriptions() if s.identity == who and s.kind == "video")
    assert subscription.unknown_payloads == 0
    assert subscription.video is not None
    stream, assembler = subscription.video._stream, subscription.video._assembler
    assert stream is not None
    assert assembler is not None
    assert (stream.errors, assembler.malformed) == (0, 0)


async def paused_and_resumed(ours: Ours, who: str) -> None:
    """Hidden by us: nothing comes; shown again: at once, from a keyframe."""
    subscription = next(s for s in ours.engine.session.subscriptions() if s.identity == who and s.kind == "video")
    for _ in range(2):
        ours.engine.send(api.WatchTrack(subscription.sid, 0, 0, visible=False))
        await asyncio.sleep(1.0)
        packets, frames = picture(ours, who)["packets"], ours.frames(who)
        await asyncio.sleep(0.7)
        assert picture(ours, who)["packets"] <= packets + 3, "hidden, and still sent"
        assert ours.frames(who) == frames
        ours.engine.send(api.WatchTrack(subscription.sid, 640, 360))
        assert await until(lambda f=frames: ours.frames(who) > f + 20, 6), ours.report()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("codec", ["H264", "VP9"])
async def test_the_sdk_publishes(sfu: Any, ours: Ours, codec: str) -> None:
    sdk = SdkClient("sdk")
    try:
        await sdk.join(sfu.url, token("room", "sdk"))
        publication = await sdk.publish_video(codec=codec)
        ours.join()
        assert publication.track is not None

        async def sent() -> int:
            found = await publication.track.get_stats()
            return sum(one.outbound_rtp.outbound.frames_sent for one in found if one.WhichOneof("stats") == "outbound_rtp")

        await received_well(ours, "sdk", codec, (640, 360), sent)
        await paused_and_resumed(ours, "sdk")
        publication.track.mute()
        assert await until(lambda: api.TrackMuted(publication.sid, True) in ours.events, 5)
        await asyncio.sleep(0.5)
        frames = ours.frames("sdk")
        publication.track.unmute()
        assert await until(lambda: ours.frames("sdk") > frames + 20, 8), ours.report()
        assert picture(ours, "sdk")["codec"] == codec
    finally:
        await sdk.leave()


@pytest.mark.timeout(150)
@pytest.mark.chromium
@pytest.mark.parametrize(
    ("codec", "mode"),
    [("vp9", "L1T2"), ("vp9", "L3T3_KEY"), pytest.param("vp9", "L2T1", marks=pytest.mark.soak), ("h264", "L1T1")],
    ids=["vp9", "vp9-svc-key", "vp9-svc", "h264"],
)
async def test_chromium_publishes(sfu: Any, ours: Ours, codec: str, mode: str) -> None:
    needs_chromium()
    async with Browser(fps=30) as browser:
        page = await browser.page()
        try:
            known = await page.evaluate(f"() => RTCRtpSender.getCapabilities('video').codecs.some((c) => c.mimeType.toLowerCase() === 'video/{codec}')")
            if not known:
                pytest.skip(f"this Chromium cannot encode {codec}")
            await page.evaluate("([url, token]) => join(url, token, {})", [sfu.url, token("room", "js")])
            options = {"videoCodec": codec, "backupCodec": False, "simulcast": False, "scalabilityMode": mode,
                       "videoEncoding": {"maxBitrate": 1_500_000, "maxFramerate": 30}}  # fmt: skip
            await page.evaluate("(o) => publish(o)", options)
            ours.join()
            layers = 2 if mode.startswith(("L2", "L3")) else 1     # as many as LiveKit's client makes of 640 × 360; each is counted

            async def sent() -> int:
                return int(await page.evaluate(SENT)) // layers

            await received_well(ours, "js", codec.upper(), (640, 360), sent)
            await paused_and_resumed(ours, "js")
            assert not browser.errors
        finally:
            with contextlib.suppress(Exception):
                await page.evaluate("() => room.disconnect()")



"""Our camera in H.264 through a real SFU of either kind, three sizes: seen by our own engine, the official SDK and Chromium, each in the
size it asks for, and by who comes later; by wish, or because a server takes no other."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from e2e.browser.chromium import Browser
from e2e.livekitproc import LiveKit, needs_livekit_server, token, until
from e2e.test_engine_sfu import Ours
from e2e.test_relay_simulcast import Camera
from livekit import rtc as sdk

from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options

PICTURE = "lavfi:testsrc2=size=1280x720:rate=20"
SMALL, LARGE = (320, 180), (1280, 720)
LATER_S = 5.0


async def sender(sfu: Any, **options: Any) -> Ours:
    ours = Ours(sfu, "ours")
    ours.engine = LocalEngine(Options(decode_unwatched=True, speaker="none", **options))
    await ours.start()
    ours.engine.send(api.OpenSource("camera", PICTURE))
    ours.join()
    return ours


def seen(watcher: Ours) -> tuple[int, int]:
    track = watcher.report().get(("ours", "camera"), {})
    return (track.get("width"), track.get("height")) if track.get("codec") == "H264" else (0, 0)


def sent(ours: Ours) -> dict[str, Any]:
    return dict(ours.engine.session.sent_report().get("camera", {}))


@pytest.mark.timeout(90)
async def test_a_camera_in_h264_reaches_everybody_in_the_size_they_ask_for(sfu: Any) -> None:
    ours, watcher, other = await sender(sfu, camera_codec="h264"), await Ours(sfu, "watcher").start(), Camera("other")
    try:
        await other.join(sfu.url, token("room", "other"))
        watcher.join()
        assert await until(lambda: seen(watcher) == LARGE, 10), watcher.report()
        assert await until(lambda: bool(other.pictures) and other.pictures[-1][1:] == LARGE, 10), other.pictures[-1:]
        assert sent(ours)["codec"] == "H264"
        assert [layer["rid"] for layer in sent(ours)["layers"]] == ["q", "h", "f"]
        (sid,) = (t["track"] for t in watcher.engine.session.tracks_report())
        for quality, theirs, mine in (("LOW", SMALL, LARGE), ("HIGH", LARGE, SMALL)):
            other.publication("ours").set_video_quality(getattr(sdk.VideoQuality, f"VIDEO_QUALITY_{quality}"))
            watcher.engine.send(api.WatchTrack(sid, *mine, format="i420"))
            assert await until(lambda size=theirs: other.pictures[-1][1:] == size, 5), (quality, other.pictures[-1])
            assert await until(lambda size=mine: seen(watcher) == size, 5), (quality, watcher.report())
        late = await Ours(sfu, "late").start()
        late.join()
        try:
            assert await until(lambda: seen(late) == LARGE, LATER_S), late.report()
        finally:
            await late.close()
        # closed and opened again: in the same section, and still seen
        ours.engine.send(api.CloseSource("camera"))
        assert await until(lambda: ("ours", "camera") not in watcher.report(), 5)
        ours.engine.send(api.OpenSource("camera", PICTURE))
        assert await until(lambda: watcher.frames("ours") > 20 and seen(watcher)[0] > 0, 10), watcher.report()
        assert watcher.report()["ours", "camera"]["lost"] == 0
        connection = ours.engine.session._connection
        assert connection is not None
        assert connection.malformed == 0
    finally:
        await ours.close()
        await watcher.close()
        await other.leave()


@pytest.mark.chromium
@pytest.mark.timeout(120)
async def test_chromium_shows_it(sfu: Any) -> None:
    async with Browser() as browser:
        page, ours = await browser.page(), await sender(sfu, camera_codec="h264")
        try:
            await page.evaluate("([url, token]) => join(url, token, {})", [sfu.url, token("room", "js")])
            counts: dict[str, Any] = {}
            for _ in range(150):
                counts = (await page.evaluate("() => counts()")).get("ours", {})
                if counts.get("frames", 0) > 30 and counts.get("width") == 1280:
                    break
                await asyncio.sleep(0.1)
            assert counts.get("frames", 0) > 30, counts
            assert counts["width"] == 1280, counts
            assert sent(ours)["codec"] == "H264"
            assert not browser.errors
        finally:
            with contextlib.suppress(Exception):
                await page.evaluate("() => room.disconnect()")
            await ours.close()


@pytest.mark.timeout(60)
async def test_a_server_that_takes_h264_alone_gets_camera_and_share_in_it(tmp_path: Path) -> None:
    needs_livekit_server()
    server = LiveKit(tmp_path, more="room: {enabled_codecs: [{mime: audio/opus}, {mime: video/h264}]}\n")
    await asyncio.to_thread(server.start)
    ours, watcher = await sender(server), await Ours(server, "watcher").start()
    try:
        watcher.join()
        assert await until(lambda: seen(watcher) == LARGE, 10), watcher.report()
        ours.engine.send(api.OpenSource("screen_share", "lavfi:testsrc2=size=1280x720:rate=10"))
        share = lambda: watcher.report().get(("ours", "screen_share"), {})  # noqa: E731
        assert await until(lambda: share().get("codec") == "H264" and share()["frames"] > 10, 10), watcher.report()
        assert share()["width"] == 1280
    finally:
        await ours.close()
        await watcher.close()
        await asyncio.to_thread(server.stop)

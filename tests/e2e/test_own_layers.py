"""Our own camera in three sizes through a real SFU, either kind: each viewer gets the one it asks for, and what nobody asks for is not
made."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from e2e.browser.chromium import Browser
from e2e.livekitproc import token
from e2e.raw_client import RawClient
from e2e.sdk_client import until
from e2e.test_engine_sfu import Ours
from e2e.test_relay_simulcast import FOLLOWS_S, Camera, ask, sizes
from livekit import rtc as sdk
from livekit.protocol import models

from vidconf.engine import api
from vidconf.engine.outgoing import OutgoingStream
from vidconf.engine.video_publication import VideoPublication
from vidconf.webrtc.description import VP8

PICTURE = "lavfi:testsrc2=size=1280x720:rate=20"
SIZES = {"q": (320, 180), "h": (640, 360), "f": (1280, 720)}
LESS_AFTER_S = 8.0
"""Servers tell of less five seconds late."""


def layers(ours: Ours) -> dict[str, dict[str, Any]]:
    """What is sent of the camera, by layer."""
    return {layer["rid"]: layer for layer in ours.engine.session.sent_report().get("camera", {}).get("layers", ())}


def publication(ours: Ours) -> Any:
    return ours.engine.session.publications["camera"]


def encoded(ours: Ours) -> set[str]:
    """Layers that have an encoder now."""
    return {sender.rid for sender in publication(ours).senders if not sender.resting}


@pytest.fixture
async def viewer(sfu: Any) -> AsyncIterator[RawClient]:
    client = RawClient(sfu.url, token("room", "viewer"))
    await client.join()
    yield client
    await client.close()


async def camera(ours: Ours, device: str = PICTURE) -> None:
    ours.engine.send(api.OpenSource("camera", device))
    if ours.state() != "connected":
        ours.join()


async def test_thumbnails_alone_cost_only_thumbnails(ours: Ours, viewer: RawClient) -> None:
    """The largest at first; five seconds after it is no longer asked for it is not even encoded; asked for again it is back at once."""
    await camera(ours)
    assert await until(lambda: any((1280, 720) in sizes(viewer, sid) for sid in viewer.packets), 10), viewer.packets.keys()
    (sid,) = viewer.packets
    info = viewer.participants["ours"].tracks[0]
    assert [(x.rid, x.quality, x.width, x.height) for x in info.layers] == [(rid, k, *SIZES[rid]) for k, rid in enumerate("qhf")]
    assert (info.width, info.height) == (1280, 720)
    await ask(viewer, sid, width=320, height=180)
    assert await until(lambda: sizes(viewer, sid)[-1] == SIZES["q"], FOLLOWS_S), sizes(viewer, sid)
    assert await until(lambda: encoded(ours) == {"q"}, LESS_AFTER_S), encoded(ours)
    before = {rid: layer["frames"] for rid, layer in layers(ours).items()}
    assert await until(lambda: layers(ours)["q"]["frames"] > before["q"] + 10, 3)
    after = {rid: layer["frames"] for rid, layer in layers(ours).items()}
    assert (after["h"], after["f"]) == (before["h"], before["f"])
    for rid in ("h", "f", "q"):
        width, height = SIZES[rid]
        await ask(viewer, sid, width=width, height=height)
        assert await until(lambda size=SIZES[rid]: sizes(viewer, sid)[-1] == size, FOLLOWS_S), (rid, sizes(viewer, sid))
    connection = ours.engine.session._connection
    assert connection is not None
    assert connection.malformed == 0
    assert connection.send_control.numbers.lost == 0
    assert viewer.unrouted == 0


async def test_the_sdk_and_our_own_viewer_each_get_their_size(sfu: Any, ours: Ours) -> None:
    other, watcher = Camera("other"), await Ours(sfu, "watcher").start()
    try:
        await other.join(sfu.url, token("room", "other"))
        watcher.join()
        await camera(ours)
        size = lambda: (lambda t: (t.get("width"), t.get("height")))(watcher.report().get(("ours", "camera"), {}))  # noqa: E731
        seen = lambda: other.pictures[-1][1:] if other.pictures else None  # noqa: E731
        assert await until(lambda: seen() == SIZES["f"], 10), other.pictures[-1:]
        (sid,) = (t["track"] for t in watcher.engine.session.tracks_report())
        for quality, one, another in (("LOW", "q", "f"), ("HIGH", "f", "q")):
            other.publication("ours").set_video_quality(getattr(sdk.VideoQuality, f"VIDEO_QUALITY_{quality}"))
            watcher.engine.send(api.WatchTrack(sid, *SIZES[another], format="i420"))
            assert await until(lambda want=SIZES[one]: seen() == want, 5), (one, seen())
            assert await until(lambda want=SIZES[another]: size() == want, 5), (another, size())
        assert watcher.report()["ours", "camera"]["lost"] == 0
    finally:
        await watcher.close()
        await other.leave()


async def test_tracks_come_and_go_in_the_same_sections(ours: Ours, viewer: RawClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera in three layers, a screen in two (where there is no VP9), a small camera in one: one after another and in each other's
    sections."""
    monkeypatch.setattr(VideoPublication, "codecs", ("vp8",))
    await camera(ours)
    expected = []
    for source, device, rids in (
        ("camera", PICTURE, "qhf"), ("screen_share", "lavfi:testsrc=size=1920x1080:rate=5", "qh"),
        ("camera", "lavfi:testsrc2=size=320x180:rate=20", ""), ("camera", PICTURE, "qhf"),
    ):  # fmt: skip
        ours.engine.send(api.OpenSource(source, device))
        want = (1920, 1080) if source == "screen_share" else (320, 180) if not rids else (1280, 720)
        assert await until(lambda want=want: any(want in sizes(viewer, sid)[-2:] for sid in viewer.packets), 8), (source, device)
        sid = next(t.sid for t in viewer.participants["ours"].tracks)
        assert await until(lambda: viewer.participants["ours"].tracks and viewer.participants["ours"].tracks[0].layers, 2)
        sent = ours.engine.session.sent_report()[source]["layers"]
        assert [layer["rid"] for layer in sent] == (list(rids) or [""])
        expected.append(sid)
        ours.engine.send(api.CloseSource(source))
        assert await until(lambda: not viewer.participants["ours"].tracks, 5)
        viewer.packets.clear()
    connection = ours.engine.session._connection
    assert connection is not None
    assert len(connection._publisher.sections) == 1, "one after another they need but one"  # type: ignore[union-attr]
    assert len(set(expected)) == 4


async def test_what_is_lost_on_the_way_up_is_sent_again(ours: Ours, viewer: RawClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of the packets, of all layers: repaired by RTX, and no picture is missing."""
    chance, lost, wire = random.Random(5), [0], OutgoingStream._wire

    def lossy(stream: OutgoingStream, packet: bytearray, now: float, probe: int) -> bytes | None:
        if stream.clock_hz == 90_000 and stream.packets > 30 and packet[1] & 0x7F == VP8 and chance.random() < 0.05:
            lost[0] += 1
            return bytes(packet)
        return wire(stream, packet, now, probe)

    monkeypatch.setattr(OutgoingStream, "_wire", lossy)
    await camera(ours)
    assert await until(lambda: lost[0] > 30, 12)
    monkeypatch.undo()
    assert all(sender.stream.rtx_ssrc for sender in publication(ours).senders)

    def missing() -> int:
        (packets,) = viewer.packets.values()
        numbers = [p.sequence for _, p in packets]
        first = numbers[0]
        here = {(n - first) & 0xFFFF for n in numbers}
        return max(n for n in here if n < 1 << 15) + 1 - len(here)

    assert await until(lambda: missing() <= 3, 8), f"{missing()}: more than changes of layers may leave behind"
    assert ours.engine.session.sent_report()["camera"]["repeated"] >= 0.8 * lost[0]


@pytest.mark.chromium
async def test_chromium_sees_the_size_it_asks_for(sfu: Any, ours: Ours) -> None:
    async with Browser() as browser:
        page = await browser.page()
        await page.evaluate("([u, t]) => join(u, t, {adaptiveStream: false, dynacast: true})", [sfu.url, token("room", "js")])
        await camera(ours, PICTURE.replace("rate=20", "rate=10"))     # the browser needs its share of the machine

        async def width() -> int:
            return int(((await page.evaluate("() => counts()")).get("ours") or {}).get("width") or 0)

        async def becomes(wanted: int, within_s: float) -> None:
            for _ in range(int(10 * within_s)):
                if await width() == wanted:
                    return
                await asyncio.sleep(0.1)
            pytest.fail(f"{await width()} and not {wanted}")

        await becomes(1280, 10)
        for quality, wanted in ((models.LOW, 320), (models.MEDIUM, 640), (models.HIGH, 1280)):
            await page.evaluate(
                "(q) => [...room.remoteParticipants.values()][0].videoTrackPublications.forEach((p) => p.setVideoQuality(q))", int(quality)
            )
            await becomes(wanted, 8)
        assert not browser.errors
        await page.evaluate("() => room.disconnect()")

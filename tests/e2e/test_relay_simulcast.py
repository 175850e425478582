"""Simulcast through the relay: the official SDK and Chromium publish layers; they, our engine and a reader of packets ask for sizes.

What is asked for comes within two seconds, and nobody's picture stands still at a switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.browser.chromium import Browser
from e2e.livekitproc import token
from e2e.raw_client import RawClient
from e2e.sdk_client import SdkClient, until
from e2e.sfuproc import Relay
from e2e.test_engine_sfu import Ours
from livekit import rtc as sdk
from livekit.protocol import models, rtc

from vidconf.engine import api
from vidconf.engine.wanted_size import SMALLER_FOR_S
from vidconf.rtp.packets import PacketError
from vidconf.rtp.red import parse
from vidconf.rtp.rtcp import SenderReport
from vidconf.rtp.vp8 import keyframe_size, parse_descriptor, starts_keyframe

FOLLOWS_S = 2.0
DECODED_S = 20.0
"""Until it is decoded as well, by three clients and a browser on a busy machine: late reports look to the relay like a narrow line, and
more is tried again some seconds later."""
STANDS_S = 1.0
"""The longest gap between two pictures: a busy machine holds a frame up, a switch done wrong stands for seconds."""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    server = Relay(tmp_path_factory.mktemp("relay"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return request.node.name


class Camera(SdkClient):
    """The SDK: publishes three layers, 240×135, 480×270 and 960×540 or what it makes of them; notes when pictures came, and how
    large."""

    width, height, fps = 960, 540, 20

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.pictures: list[tuple[float, int, int]] = []

    async def publish_layers(self) -> sdk.LocalTrackPublication:
        source = sdk.VideoSource(self.width, self.height)
        track = sdk.LocalVideoTrack.create_video_track("layers", source)
        options = sdk.TrackPublishOptions(source=sdk.TrackSource.SOURCE_CAMERA, simulcast=True, video_codec=sdk.VideoCodec.VP8)
        publication = await self.room.local_participant.publish_track(track, options)
        self._keep(asyncio.create_task(self._wave(source)))
        return publication

    async def _wave(self, source: sdk.VideoSource) -> None:
        row, grey = bytes(range(0, 256, 2)) * 9, bytes([128]) * (self.width * self.height // 2)
        began = time.monotonic()
        for step in itertools.count():
            line = row[step % 128 : step % 128 + self.width]
            source.capture_frame(sdk.VideoFrame(self.width, self.height, sdk.VideoBufferType.I420, line * self.height + grey))
            await asyncio.sleep(max(0.0, began + step / self.fps - time.monotonic()))

    async def _watch(self, track: sdk.Track, identity: str) -> None:
        async for event in (stream := sdk.VideoStream(track)):
            self.pictures.append((time.monotonic(), event.frame.width, event.frame.height))
        await stream.aclose()

    def publication(self, identity: str) -> sdk.RemoteTrackPublication:
        return next(p for p in self.room.remote_participants[identity].track_publications.values() if p.kind == sdk.TrackKind.KIND_VIDEO)


@pytest.fixture
async def everyone() -> AsyncIterator[list[Any]]:
    """Who must leave, the last first."""
    found: list[Any] = []
    yield found
    for one in reversed(found):
        with contextlib.suppress(asyncio.TimeoutError):
            await (one.leave() if isinstance(one, SdkClient) else one.close())


async def sdk_camera(relay: Relay, room: str, everyone: list[Any], **options: Any) -> tuple[Camera, str]:
    camera = Camera("camera")
    everyone.append(camera)
    await camera.join(relay.url, token(room, "camera"), **options)
    return camera, (await camera.publish_layers()).sid


async def reader(relay: Relay, room: str, everyone: list[Any], identity: str = "reader", **query: str) -> RawClient:
    client = RawClient(relay.url, token(room, identity))
    everyone.append(client)
    await client.join(**query)
    return client


def sizes(client: RawClient, sid: str) -> list[tuple[int, int]]:
    """Of the keyframes, in their order."""
    found = []
    for _, packet in client.packets[sid]:
        if starts_keyframe(packet.payload):
            with contextlib.suppress(PacketError):
                found.append(keyframe_size(packet.payload[parse_descriptor(packet.payload)[1] :]))
    return found


def is_one_stream(client: RawClient, sid: str) -> None:
    """No hole, no step back, the next picture after each, time as it passed: what any receiver takes for one camera."""
    packets = [p for _, p in client.packets[sid]]
    assert all((b.sequence - a.sequence) & 0xFFFF == 1 for a, b in itertools.pairwise(packets))
    pictures = [(at, p.timestamp, parse_descriptor(p.payload)[0]) for at, p in client.packets[sid] if parse_descriptor(p.payload)[0].start]
    for (_, before, a), (_, after, b) in itertools.pairwise(pictures):
        assert 0 < (after - before) & 0xFFFFFFFF < 1 << 31
        assert b.picture_id == (a.picture_id + 1) & 0x7FFF  # type: ignore[operator]
    first, last = pictures[0], pictures[-1]
    assert abs(((last[1] - first[1]) & 0xFFFFFFFF) / 90_000 - (last[0] - first[0])) < 0.3


async def ask(client: RawClient, sid: str, **settings: Any) -> None:
    await client.say(track_setting=rtc.UpdateTrackSettings(track_sids=[sid], **settings))


async def test_a_reader_gets_the_sizes_it_asks_for_as_one_stream(relay: Relay, room: str, everyone: list[Any]) -> None:
    viewer = await reader(relay, room, everyone)
    _, sid = await sdk_camera(relay, room, everyone)
    assert await until(lambda: (960, 540) in sizes(viewer, sid), 8)
    layers = next(t for t in viewer.participants["camera"].tracks if t.sid == sid).layers
    assert [(layer.rid, layer.width) for layer in layers] == [("q", 320), ("h", 640), ("f", 960)]
    assert await until(lambda: all(x.ssrc for t in viewer.participants["camera"].tracks for x in t.layers), 3)
    heights = {layer.rid: layer.height for layer in layers}
    for settings, rid in (
        ({"width": 320, "height": 180}, "q"), ({"width": 600, "height": 340}, "h"), ({"width": 1920, "height": 1080}, "f"),
        ({"quality": models.VideoQuality.LOW}, "q"), ({"quality": models.VideoQuality.HIGH}, "f"),
    ):  # fmt: skip
        await ask(viewer, sid, **settings)
        assert await until(lambda rid=rid: sizes(viewer, sid)[-1][1] == heights[rid], FOLLOWS_S), (rid, sizes(viewer, sid))
        await asyncio.sleep(0.5)
    is_one_stream(viewer, sid)
    times = [at for at, _ in viewer.packets[sid]]
    assert max(b - a for a, b in itertools.pairwise(times)) < STANDS_S
    # Reports keep the clock through the switches: each says where the stream's timestamps are.
    reports = [p for p in viewer.rtcp if isinstance(p, SenderReport) and p.ssrc == viewer.sids[sid]]
    assert len(reports) > 2
    drifts = [
        ((b.rtp_timestamp - a.rtp_timestamp) & 0xFFFFFFFF) / 90_000 - (b.ntp - a.ntp) / (1 << 32) for a, b in itertools.pairwise(reports)
    ]
    assert max(map(abs, drifts)) < 0.02
    # Hidden: nothing; shown again: the size asked for, from a keyframe.
    await ask(viewer, sid, disabled=True)
    await asyncio.sleep(0.3)
    before = viewer.count(sid)
    await asyncio.sleep(0.5)
    assert viewer.count(sid) == before
    await ask(viewer, sid, width=320, height=180)
    assert await until(lambda: viewer.count(sid) > before + 5, FOLLOWS_S)
    assert starts_keyframe(viewer.packets[sid][before][1].payload)
    assert await until(lambda: sizes(viewer, sid)[-1][1] == heights["q"], FOLLOWS_S)


async def test_one_that_will_say_sizes_begins_small(relay: Relay, room: str, everyone: list[Any]) -> None:
    _, sid = await sdk_camera(relay, room, everyone)
    await asyncio.sleep(1.5)
    viewer = await reader(relay, room, everyone, adaptive_stream="1")
    assert await until(lambda: viewer.count(sid) > 20, 5)
    assert set(sizes(viewer, sid)) == {(320, 180)}


@pytest.mark.chromium
@pytest.mark.timeout(180)
async def test_the_publisher_stops_what_nobody_takes(relay: Relay, room: str, everyone: list[Any]) -> None:
    """Dynacast with Chromium: the layers nobody takes are off five seconds later, and there again at once."""
    async with Browser() as browser:
        page = await browser.page()
        viewer = await reader(relay, room, everyone)
        await page.evaluate("([u, t]) => join(u, t, {dynacast: true})", [relay.url, token(room, "js")])
        await page.evaluate("() => publish({simulcast: true})")
        sid = await page.evaluate("() => [...room.localParticipant.videoTrackPublications.values()][0].trackSid")
        assert await until(lambda: sizes(viewer, sid)[-1:] == [(640, 360)], 12), sizes(viewer, sid)

        async def active() -> dict[str, bool]:
            sending = await page.evaluate("() => sending()")
            # The browser's report is without a layer for a moment now and then.
            return {rid: sending[f"camera{rid}"]["active"] for rid in "qh" if f"camera{rid}" in sending}

        async def becomes(wanted: dict[str, bool], timeout_s: float) -> float:
            began = time.monotonic()
            while time.monotonic() - began < timeout_s:
                if await active() == wanted:
                    return time.monotonic() - began
                await asyncio.sleep(0.1)
            pytest.fail(f"{await active()} and not {wanted}")

        await becomes({"q": True, "h": True}, 2)
        await ask(viewer, sid, width=320, height=180)
        assert await becomes({"q": True, "h": False}, 8) > 4
        # Somebody wants the large one: made again at once.
        await asyncio.sleep(1.5)
        other = await reader(relay, room, everyone, "other")
        assert await becomes({"q": True, "h": True}, 1.5) < 1.5
        assert await until(lambda: other.count(sid) > 0, FOLLOWS_S)
        assert await until(lambda: sizes(other, sid)[-1] == (640, 360), 2 * FOLLOWS_S), sizes(other, sid)
        is_one_stream(other, sid)
        assert sizes(viewer, sid)[-1] == (320, 180)
        # Nobody: nothing at all.
        await ask(viewer, sid, disabled=True)
        await ask(other, sid, disabled=True)
        await becomes({"q": False, "h": False}, 8)
        await ask(viewer, sid, width=320, height=180)
        before = viewer.count(sid)
        assert await until(lambda: viewer.count(sid) > before + 5, FOLLOWS_S)
        await page.evaluate("() => room.disconnect()")


@pytest.mark.chromium
@pytest.mark.timeout(180)
@pytest.mark.parametrize("publisher", ["sdk", "chromium"])
async def test_the_sdk_chromium_and_ours_go_on_over_every_switch(
    relay: Relay, room: str, everyone: list[Any], publisher: str, tmp_path: Path
) -> None:
    async with Browser() as browser:
        page = await browser.page()
        await page.evaluate("([u, t]) => join(u, t, {adaptiveStream: false, dynacast: true})", [relay.url, token(room, "js")])
        if publisher == "sdk":
            _, sid = await sdk_camera(relay, room, everyone)
            identity, small, large = "camera", (320, 180), (960, 540)
        else:
            await page.evaluate(
                "() => room.localParticipant.setCameraEnabled(true, {resolution: {width: 640, height: 360, frameRate: 20}}, {simulcast: true})"
            )
            sid = await page.evaluate("() => [...room.localParticipant.trackPublications.values()][0].trackSid")
            identity, small, large = "js", (320, 180), (640, 360)
        viewer = Camera("viewer")
        everyone.append(viewer)
        await viewer.join(relay.url, token(room, "viewer"))
        ours = await Ours(relay, "ours", room).start()
        everyone.append(ours)
        ours.join()
        size = lambda: (lambda t: (t.get("width"), t.get("height")))(ours.report().get((identity, "camera"), {}))  # noqa: E731
        assert await until(lambda: viewer.pictures and viewer.pictures[-1][1:] == large, 12), viewer.pictures[-1:]
        assert await until(lambda: size() == large, 8), (size(), viewer.pictures[-1], ours.report())
        before = ours.report()[identity, "camera"]
        began = time.monotonic()

        async def js_width() -> int:
            if publisher == "chromium":
                return -1
            return int((await page.evaluate("() => counts()"))[identity]["width"])

        async def all_have(wanted: tuple[int, int]) -> None:
            assert await until(lambda: viewer.pictures[-1][1:] == wanted, DECODED_S), viewer.pictures[-1]
            # A window that shrinks is believed after a while only: it may be on its way.
            assert await until(lambda: size() == wanted, DECODED_S + SMALLER_FOR_S), size()
            for _ in range(10 * int(DECODED_S)):
                if await js_width() in (-1, wanted[0]):
                    return
                await asyncio.sleep(0.1)
            pytest.fail(f"the browser has {await js_width()}")

        set_js = "([id, w, h]) => room.remoteParticipants.size && [...room.remoteParticipants.values()].find((p) => p.identity === id)" \
                 ".videoTrackPublications.forEach((p) => p.setVideoDimensions({width: w, height: h}))"  # fmt: skip
        for wanted, quality in ((small, sdk.VideoQuality.VIDEO_QUALITY_LOW), (large, sdk.VideoQuality.VIDEO_QUALITY_HIGH)) * 2:
            viewer.publication(identity).set_video_quality(quality)
            ours.engine.send(api.WatchTrack(sid, *wanted, format="i420"))
            if publisher == "sdk":
                await page.evaluate(set_js, [identity, *wanted])
            await all_have(wanted)
            await asyncio.sleep(0.7)
        # A fault would be at every switch, a busy machine's pause at one of them.
        since = [p for p in viewer.pictures if p[0] > began]
        stood = sorted(b[0] - a[0] for a, b in itertools.pairwise(since) if a[1:] != b[1:])
        assert len(stood) >= 3
        assert stood[len(stood) // 2] < STANDS_S / 2, stood
        assert stood[-1] < 2 * STANDS_S, stood
        after = ours.report()[identity, "camera"]
        assert after["plis"] == before["plis"], (before, after)  # never was anything missing that a picture stands on
        assert after["lost"] == before["lost"], (before, after)
        assert after["freezes"] - before["freezes"] < len(stood), (before, after)
        # Hidden from ours: the publisher goes on for the others; shown again at once.
        ours.engine.send(api.WatchTrack(sid, 0, 0, visible=False))
        await asyncio.sleep(0.5)
        packets = ours.report()[identity, "camera"]["packets"]
        await asyncio.sleep(0.5)
        assert ours.report()[identity, "camera"]["packets"] == packets
        ours.engine.send(api.WatchTrack(sid, *small, format="i420"))
        assert await until(lambda: ours.report()[identity, "camera"]["packets"] > packets + 10, DECODED_S)
        assert await until(lambda: size() == small, DECODED_S)
        assert not browser.errors
        await page.evaluate("() => room.disconnect()")


class Plain(RawClient):
    """One that does not take RED."""

    async def say(self, **message: Any) -> None:
        if (answer := message.get("answer")) is not None:
            lines = [line.replace(" 63", "") if line.startswith("m=audio") else line for line in answer.sdp.split("\r\n")]
            answer.sdp = "\r\n".join(line for line in lines if not line.startswith(("a=rtpmap:63 ", "a=fmtp:63 ")))
        await super().say(**message)


@pytest.mark.chromium
async def test_sound_with_copies_and_without(relay: Relay, room: str, everyone: list[Any]) -> None:
    """RED of the SDK and of Chromium passes as it came, plain Opus gets its copies here; who does not take RED gets plain Opus."""
    async with Browser() as browser:
        page = await browser.page()
        plain, red = Plain(relay.url, token(room, "plain")), await reader(relay, room, everyone, "red")
        everyone.append(plain)
        await plain.join()
        singer = Camera("singer")
        everyone.append(singer)
        await singer.join(relay.url, token(room, "singer"))
        sung = (await singer.publish_audio()).sid
        await page.evaluate("([u, t]) => join(u, t, {})", [relay.url, token(room, "js")])
        await page.evaluate("() => room.localParticipant.setMicrophoneEnabled(true)")
        made = (await plain.publish("audio", disable_red=False)).sid
        heard_by_js = """async () => { for (const t of [...room.remoteParticipants.values()].find((p) => p.identity === 'plain').audioTrackPublications.values())
            for (const s of (t.track ? await t.track.getRTCStatsReport() : new Map()).values()) if (s.type === 'inbound-rtp') return [s.packetsReceived, s.bytesReceived];
            return [0, 0]; }"""
        js = next(t.sid for t in plain.participants["js"].tracks)
        assert await until(lambda: min(plain.count(sung), plain.count(js), red.count(sung), red.count(js), red.count(made)) > 50, 10)
        for sid in (sung, js):
            assert {p.payload_type for _, p in plain.packets[sid]} == {111}
            for client in (plain, red):
                assert {(b.sequence - a.sequence) & 0xFFFF for (_, a), (_, b) in itertools.pairwise(client.packets[sid])} == {1}
        # The same sound to both, whatever it came in.
        for sid in (sung, js, made):
            newest = {p.timestamp: parse(p.payload)[-1].payload for _, p in red.packets[sid] if p.payload_type == 63}
            assert len(newest) > 40
            if sid != made:
                same = [(newest[p.timestamp], p.payload) for _, p in plain.packets[sid] if p.timestamp in newest]
                assert len(same) > 40
                assert all(a == b for a, b in same)
        copies = [len(parse(p.payload)) - 1 for _, p in red.packets[made][5:] if p.payload_type == 63]
        assert set(copies) == {2}
        for _ in range(50):
            packets, octets = await page.evaluate(heard_by_js)
            if packets > 50:
                break
            await asyncio.sleep(0.1)
        assert 150 < octets / packets < 200  # blocks of 61 bytes, three in each
        assert await until(lambda: singer.sounds["js"] > 3, 5)
        assert await until(lambda: any(t.mime_type == "audio/red" for t in plain.participants["singer"].tracks), 2)
        await page.evaluate("() => room.disconnect()")

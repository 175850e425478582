"""A remote track from packets to pictures: assembly, repair, keyframes, rebinding, hiding; hostile packets on the way."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import av
import pytest

from vidconf.engine import api
from vidconf.engine.codecs.opus import BLOCK_BYTES, OpusEncoder
from vidconf.engine.codecs.vp8 import Vp8Encoder
from vidconf.engine.decoders import DecoderPool
from vidconf.engine.playout import Playout
from vidconf.engine.subscription import Subscription
from vidconf.engine.video_receiver import VideoReceiver
from vidconf.rtp import red
from vidconf.rtp.packets import RtpPacket
from vidconf.rtp.rtcp import Nack, Pli, parse_rtcp
from vidconf.rtp.vp8 import packetize
from vidconf.webrtc.description import RemoteTrack

VIDEO = RemoteTrack("1", "video", (1000,), {2000: 1000}, {96: "vp8", 97: "rtx"}, {97: 96})
AUDIO = RemoteTrack("2", "audio", (3000,), {}, {111: "opus"})


class Owner:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.pool = DecoderPool(1)
        self.playout = Playout("none", lambda code, detail: None)
        self.events: list[api.EngineEvent] = []
        self.sent: list[Any] = []

    def emit(self, event: api.EngineEvent) -> None:
        self.events.append(event)

    def send(self, data: bytes) -> bool:
        self.sent += parse_rtcp(data)
        return True


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    made = Owner()
    yield made
    made.pool.close()
    made.playout.close()


class Film:
    """VP8 packets as a publisher sends them."""

    def __init__(self, ssrc: int = 1000, width: int = 160, height: int = 90) -> None:
        self.encoder = Vp8Encoder(width, height, 30, 300_000, screen=True)      # leaves no picture out
        self.picture = av.VideoFrame(width, height, "yuv420p")
        self.ssrc, self.sequence, self.number = ssrc, random.randrange(65_536), 0

    def frame(self, *, keyframe: bool = False, size: int = 1150) -> list[RtpPacket]:
        for plane in self.picture.planes:
            plane.update(random.Random(self.number).randbytes(plane.buffer_size))
        data = self.encoder.encode(self.picture, keyframe)
        assert data is not None
        return self.packets(data, size)

    def packets(self, data: bytes, size: int) -> list[RtpPacket]:
        """One encoded frame, the next, as it travels."""
        self.number += 1
        payloads = packetize(data, self.number, size)
        packets = []
        for k, payload in enumerate(payloads):
            self.sequence = (self.sequence + 1) & 0xFFFF
            packets.append(RtpPacket(96, self.sequence, self.number * 3000, self.ssrc, k == len(payloads) - 1, payload))
        return packets


async def settled(condition: Any, timeout_s: float = 15) -> bool:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        if condition():
            return True
        await asyncio.sleep(0.005)
    return bool(condition())


def pictures(subscription: Subscription) -> VideoReceiver:
    assert subscription.video is not None
    return subscription.video


def feed(subscription: Subscription, packets: list[RtpPacket]) -> None:
    for packet in packets:
        subscription.on_rtp(packet, time.monotonic())


async def test_pictures_are_decoded_and_counted(owner: Owner) -> None:
    subscription, film = Subscription(owner, "TR_1", "video", decode_unwatched=True), Film()
    subscription.bind(VIDEO, owner.send)
    for _ in range(10):
        feed(subscription, film.frame())
        await asyncio.sleep(0.01)
    assert await settled(lambda: pictures(subscription).timing.frames == 10)
    assert await settled(lambda: owner.events == [api.FirstFrame("TR_1")])
    report = subscription.report(time.monotonic())
    assert (report["width"], report["height"], report["frames"], report["lost"]) == (160, 90, 10, 0)
    subscription.close()


async def test_what_is_missing_is_asked_for_and_mended_by_rtx(owner: Owner) -> None:
    subscription, film = Subscription(owner, "TR_1", "video", decode_unwatched=True), Film()
    subscription.bind(VIDEO, owner.send)
    feed(subscription, film.frame())
    lost, *rest = film.frame(size=300)
    feed(subscription, rest)
    subscription.tick(time.monotonic(), 0.05)
    asked = [p for p in owner.sent if isinstance(p, Nack)]
    assert [n.numbers for n in asked] == [(lost.sequence,)]
    assert asked[0].media == 1000
    subscription.tick(time.monotonic(), 0.05)
    assert len([p for p in owner.sent if isinstance(p, Nack)]) == 1, "the next try is a round trip away"
    repair = RtpPacket(97, 5, lost.timestamp, 2000, lost.marker, lost.sequence.to_bytes(2, "big") + lost.payload)
    subscription.on_repair(repair, time.monotonic())
    assert await settled(lambda: pictures(subscription).timing.frames == 2)
    subscription.on_repair(repair, time.monotonic())
    subscription.on_repair(RtpPacket(97, 6, 0, 2000, False, b"\0"), time.monotonic())
    subscription.close()


async def test_what_never_comes_ends_in_a_keyframe_request(owner: Owner) -> None:
    subscription, film = Subscription(owner, "TR_1", "video", decode_unwatched=True), Film()
    subscription.bind(VIDEO, owner.send)
    feed(subscription, film.frame())
    film.frame()        # lost as a whole
    began = time.monotonic()
    while time.monotonic() - began < 15 and not any(isinstance(p, Pli) for p in owner.sent):
        feed(subscription, film.frame())
        subscription.tick(time.monotonic(), 0.02)
        await asyncio.sleep(0.02)
    assert any(isinstance(p, Pli) and p.media == 1000 for p in owner.sent)
    shown = pictures(subscription).timing.frames
    feed(subscription, film.frame(keyframe=True))
    feed(subscription, film.frame())
    assert await settled(lambda: pictures(subscription).timing.frames >= shown + 2)
    assert len([p for p in owner.sent if isinstance(p, Pli)]) <= 6
    subscription.close()


async def test_a_new_ssrc_begins_anew_and_totals_stay(owner: Owner) -> None:
    subscription = Subscription(owner, "TR_1", "video", decode_unwatched=True)
    for ssrc in (1000, 1001, 1002):
        film = Film(ssrc)
        subscription.bind(RemoteTrack("1", "video", (ssrc,), {}, {96: "vp8"}), owner.send)
        before = pictures(subscription).timing.frames
        for _ in range(3):
            feed(subscription, film.frame())
        assert await settled(lambda b=before: pictures(subscription).timing.frames == b + 3)
    assert subscription.report(time.monotonic())["packets"] >= 9
    subscription.unbind()
    feed(subscription, Film(1002).frame())
    assert pictures(subscription).timing.frames == 9
    assert pictures(subscription).timing.freezes == 0
    subscription.close()


async def test_the_same_binding_again_changes_nothing(owner: Owner) -> None:
    subscription, film = Subscription(owner, "TR_1", "video", decode_unwatched=True), Film()
    for _ in range(5):
        subscription.bind(VIDEO, owner.send)
        feed(subscription, film.frame())
    assert await settled(lambda: pictures(subscription).timing.frames == 5)
    subscription.close()


async def test_hidden_shown_hidden(owner: Owner) -> None:
    subscription, film = Subscription(owner, "TR_1", "video", decode_unwatched=False), Film()
    subscription.bind(VIDEO, owner.send)
    feed(subscription, film.frame())
    await asyncio.sleep(0.05)
    assert pictures(subscription).timing.frames == 0
    assert pictures(subscription).wants(time.monotonic()) == (True, 0, 0)
    subscription.watch(api.WatchTrack("TR_1", 80, 60))
    assert pictures(subscription).wants(time.monotonic()) == (False, 80, 60)
    feed(subscription, film.frame(keyframe=True))
    assert await settled(lambda: any(isinstance(e, api.RingOpened) for e in owner.events))
    subscription.watch(api.WatchTrack("TR_1", 0, 0, visible=False))
    assert owner.events[-1] == api.RingClosed("TR_1")
    assert pictures(subscription).wants(time.monotonic()) == (True, 0, 0)
    shown = pictures(subscription).timing.frames
    feed(subscription, film.frame(keyframe=True))
    await asyncio.sleep(0.05)
    assert pictures(subscription).timing.frames == shown
    subscription.watch(api.WatchTrack("TR_1", 80, 60))
    subscription.tick(time.monotonic(), 0.02)
    assert any(isinstance(p, Pli) for p in owner.sent)
    feed(subscription, film.frame(keyframe=True))
    assert await settled(lambda: pictures(subscription).timing.frames == shown + 1)
    subscription.close()
    subscription.watch(api.WatchTrack("TR_1", 80, 60))


async def test_held_back_for_want_of_a_line_is_no_freeze_and_ends_with_the_connection(owner: Owner) -> None:
    subscription, film = Subscription(owner, "TR_1", "video", decode_unwatched=True), Film()
    subscription.bind(VIDEO, owner.send)
    for _ in range(8):
        feed(subscription, film.frame())
        await asyncio.sleep(0.01)
    assert await settled(lambda: pictures(subscription).timing.frames == 8)
    subscription.set_held_back(True)
    _lost, *rest = film.frame(size=300)
    feed(subscription, rest)
    await asyncio.sleep(0.4)
    for k in range(200):
        subscription.tick(time.monotonic() + 0.02 * k, 0.05)
    assert not any(isinstance(p, Pli) for p in owner.sent), "it asks for no keyframe of what does not come"
    subscription.set_held_back(False)
    feed(subscription, film.frame(keyframe=True))
    assert await settled(lambda: pictures(subscription).timing.frames > 8)
    assert pictures(subscription).timing.freezes == 0
    subscription.set_held_back(True)
    subscription.unbind()
    held = [e for e in owner.events if isinstance(e, api.TrackHeldBack)]
    assert [e.held_back for e in held] == [True, False, True, False]
    subscription.close()


async def test_sound_is_played(owner: Owner) -> None:
    subscription, encoder = Subscription(owner, "TR_2", "audio", decode_unwatched=True), OpusEncoder()
    subscription.bind(AUDIO, owner.send)
    owner.playout.start()
    for k in range(30):
        packet = RtpPacket(111, k, 960 * k, 3000, k == 0, encoder.encode(random.Random(k).randbytes(BLOCK_BYTES)))
        subscription.on_rtp(packet, time.monotonic())
        await asyncio.sleep(0.015)
    assert await settled(lambda: owner.events == [api.FirstFrame("TR_2")])
    assert subscription.first_sound_at() is not None
    assert subscription.report(time.monotonic())["concealed_percent"] < 50
    subscription.close()


async def test_redundant_sound_fills_what_was_lost(owner: Owner) -> None:
    subscription, encoder = Subscription(owner, "TR_2", "audio", decode_unwatched=True), OpusEncoder()
    subscription.bind(RemoteTrack("2", "audio", (3000,), {}, {111: "opus", 63: "red"}), owner.send)
    encoded = [encoder.encode(random.Random(k).randbytes(BLOCK_BYTES)) for k in range(40)]
    start = time.monotonic()
    assert subscription.audio is not None
    for k, payload in enumerate(encoded):
        block = red.Block(111, 960, encoded[k - 1]) if k else red.Block(0, 960, b"no Opus")
        if k % 5 != 3:
            subscription.on_rtp(RtpPacket(63, k, 960 * k, 3000, False, red.build([block, red.Block(111, 0, payload)])), start + 0.02 * k)
        for later_s in (0.001, 0.011):
            subscription.audio.block(start + 0.02 * k + later_s)
    subscription.on_rtp(RtpPacket(63, 40, 960 * 40, 3000, False, b"\xff"), start + 0.8)
    report = subscription.report(start + 0.8)
    assert (report["red"], report["concealed_percent"]) == (8 * 20, 0.0)
    assert report["lost"] == 8, "what the network did stays true"
    assert subscription.unknown_payloads == 2
    subscription.close()


async def test_sound_is_asked_for_again_only_while_it_can_still_be_played(owner: Owner) -> None:
    subscription, payload = Subscription(owner, "TR_2", "audio", decode_unwatched=True), OpusEncoder().encode(bytes(BLOCK_BYTES))
    subscription.bind(AUDIO, owner.send)
    start = time.monotonic()
    assert subscription.audio is not None
    subscription.audio.set_least_delay(0.1)
    for rtt_s, gap in ((0.05, 10), (0.3, 30)):
        for k in range(gap - 10, gap + 10):
            if k != gap:
                subscription.on_rtp(RtpPacket(111, k, 960 * k, 3000, False, payload), start + 0.02 * k)
            for later_s in (0.001, 0.011):
                subscription.audio.block(start + 0.02 * k + later_s)
            subscription.tick(start + 0.02 * k + 0.015, rtt_s)
    assert {n for p in owner.sent if isinstance(p, Nack) for n in p.numbers} == {10}
    assert subscription.report(start + 1)["nacks"] == 1
    subscription.close()


async def test_sound_is_asked_for_by_the_packet_that_shows_its_loss(owner: Owner) -> None:
    """Waiting for the next tick would cost the voice up to 20 ms of delay, and every picture that waits for it."""
    subscription, payload = Subscription(owner, "TR_2", "audio", decode_unwatched=True), OpusEncoder().encode(bytes(BLOCK_BYTES))
    subscription.bind(RemoteTrack("2", "audio", (3000,), {}, {111: "opus", 63: "red"}), owner.send)
    start = time.monotonic()
    assert subscription.audio is not None
    subscription.audio.set_least_delay(0.15)
    for k in (0, 1, 3):
        subscription.on_rtp(RtpPacket(111, k, 960 * k, 3000, False, payload), start + 0.02 * k)
    assert [p.numbers for p in owner.sent if isinstance(p, Nack)] == [(2,)]
    with_copy = red.build([red.Block(111, 960, payload), red.Block(111, 0, payload)])
    subscription.on_rtp(RtpPacket(63, 5, 960 * 5, 3000, False, with_copy), start + 0.1)
    assert [p.numbers for p in owner.sent if isinstance(p, Nack)] == [(2,)], "what has come as a copy is not asked for"
    subscription.close()


async def test_a_blank_of_the_server_is_no_picture(owner: Owner) -> None:
    subscription, film = Subscription(owner, "TR_1", "video", decode_unwatched=True), Film(width=8, height=8)
    subscription.bind(VIDEO, owner.send)
    feed(subscription, film.frame())
    await asyncio.sleep(0.1)
    assert (pictures(subscription).timing.frames, pictures(subscription).width) == (0, 0)
    subscription.close()


async def test_hostile_packets_cost_nothing_lasting(owner: Owner) -> None:
    subscription, film, chance = Subscription(owner, "TR_1", "video", decode_unwatched=True), Film(), random.Random(7)
    subscription.bind(VIDEO, owner.send)
    for _ in range(3000):
        packet = RtpPacket(
            chance.choice((96, 97, 111, 0, 127)), chance.randrange(65_536), chance.randrange(1 << 32), 1000, chance.random() < 0.5,
            chance.randbytes(chance.choice((0, 1, 2, 20, 1200))),
        )
        (subscription.on_rtp if chance.random() < 0.8 else subscription.on_repair)(packet, time.monotonic())
        if chance.random() < 0.05:
            subscription.tick(time.monotonic(), chance.random())
    incoming = subscription._in
    assert incoming is not None
    assert incoming.nack.missing <= 1000
    assembler = pictures(subscription)._assembler
    assert assembler is not None
    assert len(assembler._packets) <= 2000
    subscription.bind(RemoteTrack("1", "video", (1001,), {}, {96: "vp8"}), owner.send)
    film.ssrc = 1001
    for _ in range(3):
        feed(subscription, film.frame(keyframe=True))
        await asyncio.sleep(0.02)
    assert await settled(lambda: pictures(subscription).timing.frames > 0)
    subscription.close()

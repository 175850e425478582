"""Offers and first packets without a network: which section is which track, which SSRC which layer, what is answered and told."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc
from unit.relay.test_description import OFFER
from unit.relay.test_forwarder import FakeClock, FakeSession
from unit.relay.test_room import Box, join, relay  # noqa: F401

from vidconf.relay import codecs, description
from vidconf.relay.counters import Counters
from vidconf.relay.downstream import Down
from vidconf.relay.forwarder import Upstream
from vidconf.relay.layers import Layer, Wish
from vidconf.relay.participant import Participant
from vidconf.relay.registry import Relay
from vidconf.relay.requests import handle
from vidconf.relay.simulcast import Layers
from vidconf.rtp.packets import build_rtp

MID, RID, REPAIRED = 4, 10, 11
KEYFRAME = b"\x10\x10\x02\x00\x9d\x01\x2a" + (480).to_bytes(2, "little") + (270).to_bytes(2, "little") + bytes(40)


@pytest.fixture
async def scene(relay: Relay) -> tuple[Participant, Box, Participant, Box]:  # noqa: F811
    a, box = join(relay, "a")
    b, other = join(relay, "b")
    return a, box, b, other


def add(p: Participant, cid: str, kind: int = models.TrackType.VIDEO, **fields: Any) -> None:
    source = models.TrackSource.CAMERA if kind == models.TrackType.VIDEO else models.TrackSource.MICROPHONE
    handle(p, rtc.SignalRequest(add_track=rtc.AddTrackRequest(cid=cid, type=kind, source=source, **fields)))  # type: ignore[arg-type]


def offer(p: Participant, sdp: str = OFFER) -> None:
    handle(p, rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=1)))


LAYERS = [models.VideoLayer(quality=k, width=240 << k, height=135 << k, bitrate=100_000 << k) for k in range(3)]  # type: ignore[arg-type]


async def test_a_section_with_rids_becomes_layers_by_its_first_packets(scene: tuple[Participant, Box, Participant, Box]) -> None:
    a, box, _, other = scene
    add(a, "CID-V", width=960, height=540, layers=LAYERS)
    offer(a)
    assert "a=simulcast:recv q;h;f" in box.last("answer").sdp
    (track,) = a.publisher.tracks.values()
    assert [(up.layer.rid, up.layer.height) for up in track.layers.all] == [("q", 135), ("h", 270), ("f", 540)]
    told = other.last("update").participants[0].tracks[0]
    assert (told.simulcast, told.mime_type, [(x.rid, x.width, x.spatial_layer) for x in told.layers]) == (
        True, "video/VP8", [("q", 240, 0), ("h", 480, 1), ("f", 960, 2)],
    )  # fmt: skip
    up = {layer.layer.rid: layer for layer in track.layers.all}

    def send(ssrc: int, payload_type: int, *extensions: tuple[int, bytes], payload: bytes = KEYFRAME) -> None:
        a.publisher._on_rtp(build_rtp(payload_type, 7, 1000, ssrc, True, payload, extensions))

    send(500, 96, (MID, b"8"), (RID, b"h"))
    assert (up["h"].ssrc, up["h"].packets, up["h"].alive, up["h"].seen) == (500, 1, True, (480, 270))
    send(501, 97, (MID, b"8"), (REPAIRED, b"h"), payload=b"\0\6" + KEYFRAME)
    assert up["h"].rtx_ssrc == 501
    send(502, 96, (MID, b"8"), (RID, b"f"))
    send(503, 96, (MID, b"8"), (RID, b"x"))  # a layer nobody spoke of
    send(504, 96, (MID, b"9"), (RID, b"q"))  # of a section that is no track
    send(505, 96)  # nothing said: it may be anybody's
    assert (up["f"].ssrc, up["q"].ssrc) == (502, 0)
    assert not up["q"].alive
    assert a.room.relay.counters.rtp_unknown_ssrc == 6
    # Who came first keeps its place; a layer that begins anew under another SSRC is followed.
    send(506, 96, (MID, b"8"), (RID, b"h"))
    assert up["h"].ssrc == 506
    # The room hears the SSRCs with the next tick, once.
    a.was_active, a.subscriber.session.checked_at = True, time.monotonic() + 100
    before = len(other.said)
    a.room.tick(time.monotonic())
    assert [x.ssrc for x in other.last("update").participants[0].tracks[0].layers] == [0, 506, 502]
    a.room.tick(time.monotonic())
    assert [m.WhichOneof("message") for m in other.said[before:]].count("update") == 1


async def test_layers_by_a_group_of_ssrcs(scene: tuple[Participant, Box, Participant, Box]) -> None:
    a, _, _, _ = scene
    add(a, "CID-V", layers=LAYERS)
    sdp = OFFER.replace("a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n",
                        "a=ssrc-group:SIM 11 12 13\r\na=ssrc-group:FID 11 21\r\na=ssrc-group:FID 12 22\r\na=ssrc-group:FID 13 23\r\n")  # fmt: skip
    offer(a, sdp)
    (track,) = a.publisher.tracks.values()
    assert [(up.ssrc, up.rtx_ssrc) for up in track.layers.all] == [(11, 21), (12, 22), (13, 23)]
    a.publisher._on_rtp(build_rtp(96, 1, 1, 12, True, KEYFRAME))
    assert track.layers.all[1].alive
    # Gone with all of its SSRCs.
    offer(a, sdp.replace("a=mid:8\r\na=sendonly", "a=mid:8\r\na=inactive"))
    assert not a.publisher.tracks
    a.publisher._on_rtp(build_rtp(96, 2, 1, 12, True, KEYFRAME))
    assert a.room.relay.counters.rtp_unknown_ssrc == 1


async def test_the_codec_that_was_asked_for_and_another_one_later(scene: tuple[Participant, Box, Participant, Box]) -> None:
    a, box, b, _ = scene
    add(a, "CID-V", simulcast_codecs=[rtc.SimulcastCodec(codec="vp9", cid="CID-V")])
    offer(a)
    (track,) = a.publisher.tracks.values()
    assert track.codec is codecs.VP9
    assert track.info.mime_type == "video/VP9"
    assert "m=video 9 UDP/TLS/RTP/SAVPF 98 99\r\n" in box.last("answer").sdp
    await asyncio.sleep(0)
    assert track.sid in b.subscriber.tracks
    # The same section without VP9: what its viewers were offered cannot carry it, so the track ends.
    offer(a, OFFER.replace("a=rtpmap:98 VP9/90000\r\n", ""))
    assert box.last("track_unpublished").track_sid == track.sid
    assert not b.subscriber.tracks


async def test_red_is_taken_unless_it_must_not_be(scene: tuple[Participant, Box, Participant, Box]) -> None:
    a, box, b, other = scene
    for fields, red in (({}, True), ({"disable_red": True}, False), ({"encryption": models.Encryption.GCM}, False)):
        add(a, "CID-A", models.TrackType.AUDIO, **fields)
        offer(a)
        assert ("m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n" in box.last("answer").sdp) == red
        (track,) = a.publisher.tracks.values()
        assert track.has_red == red
        assert track.info.mime_type == ("audio/red" if red else "audio/opus")
        b.subscriber._offer()
        assert ("63 111" in other.last("offer").sdp) == red
        a.room.unpublish(track)


async def test_what_a_viewer_cannot_decode_it_is_told(scene: tuple[Participant, Box, Participant, Box]) -> None:
    a, _, b, other = scene
    add(a, "CID-V", simulcast_codecs=[rtc.SimulcastCodec(codec="vp9", cid="CID-V")])
    offer(a)
    (track,) = a.publisher.tracks.values()
    b.subscriber._ready.set()
    for _ in range(2):  # the first offer was made before there was a track
        for _ in range(20):
            await asyncio.sleep(0)
        offered = description.read(other.last("offer").sdp)
        none_of_it = description.write_answer(offered, description.Transport("u", "p" * 24, "sha-256 AA", ()), 1, {})
        b.subscriber.take_answer(none_of_it, 0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert other.last("subscription_response").track_sid == track.sid
    assert other.last("subscription_response").err == models.SubscriptionError.SE_CODEC_UNSUPPORTED
    down = b.subscriber.down(track.sid)
    assert down is not None
    assert not down.accepted


async def test_the_publisher_hears_which_layers_are_taken(scene: tuple[Participant, Box, Participant, Box], monkeypatch: pytest.MonkeyPatch) -> None:
    a, box, b, _ = scene
    add(a, "CID-V", layers=LAYERS)
    offer(a)
    (track,) = a.publisher.tracks.values()

    def on() -> list[bool]:
        return [q.enabled for q in box.last("subscribed_quality_update").subscribed_codecs[0].qualities]

    handle(b, rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=[track.sid], width=300, height=150)))
    assert "subscribed_quality_update" not in box.names()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 5.5)
    a.room.watching(track)
    assert on() == [True, False, False]
    assert box.last("subscribed_quality_update").subscribed_codecs[0].codec == "vp8"
    handle(b, rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=[track.sid], quality=models.VideoQuality.HIGH)))
    assert on() == [True, True, True]
    handle(b, rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=[track.sid, "TR_nobody"], disabled=True)))
    monkeypatch.setattr(time, "monotonic", lambda: now + 11.5)
    a.room.watching(track)
    assert on() == [False, False, False]
    # What it asked for holds when it subscribes anew.
    handle(b, rtc.SignalRequest(subscription=rtc.UpdateSubscription(track_sids=[track.sid], subscribe=False)))
    handle(b, rtc.SignalRequest(subscription=rtc.UpdateSubscription(track_sids=[track.sid], subscribe=True)))
    down = b.subscriber.down(track.sid)
    assert down is not None
    assert down.wish == Wish(disabled=True, quality=models.VideoQuality.LOW)


@given(st.sampled_from(list(codecs.CODECS)), st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=60)), max_size=30))
def test_layers_of_noise(name: str, packets: list[tuple[int, bytes]]) -> None:
    """Whatever three layers of any codec carry: nothing raises, and who is there gets numbers without a step back."""
    if name == "opus":
        return
    made = []
    for rank in range(3):
        up = Upstream("video", Counters(), cast(Any, FakeClock()), lambda: None)
        up.use(codecs.CODECS[name])
        up.layer, up.payload_type = Layer("qhf"[rank], rank, 320 << rank, 180 << rank), 100
        made.append(up)
    layers = Layers(Upstream("video", Counters(), cast(Any, FakeClock()), lambda: None))
    layers.divide(made)
    session = FakeSession()
    down = Down(made[0], cast(Any, session), 9)
    layers.add(down)
    down.accepted = True
    layers.update(down)
    for k, (rank, payload) in enumerate(packets):
        made[rank].received(build_rtp(100, k, k * 3000, rank + 1, True, payload), k / 30)
        layers.look(k / 30)
    numbers = [p.sequence for p in session.sent]
    assert all(0 < (b - a) & 0xFFFF < 0x8000 for a, b in itertools.pairwise(numbers))


async def test_one_track_named_a_hundred_thousand_times_is_looked_at_once(
    scene: tuple[Participant, Box, Participant, Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _, b, _ = scene
    add(a, "CID-V", layers=LAYERS)
    offer(a)
    (track,) = a.publisher.tracks.values()
    looked: list[object] = []
    monkeypatch.setattr(a.room, "watching", looked.append)
    for _ in range(3):
        handle(b, rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=[track.sid] * 100_000, width=300, height=150)))
    assert looked == [track]


async def test_feedback_on_numbers_that_jump_is_bounded(
    scene: tuple[Participant, Box, Participant, Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, *_ = scene
    told: list[bytes] = []
    monkeypatch.setattr(a.publisher.session, "send_rtcp", told.append)
    a.publisher._arrivals.extend(((k * 32_000) & 0xFFFF, k / 1000) for k in range(400))
    a.publisher._send_feedback()
    assert 0 < len(told) <= 8

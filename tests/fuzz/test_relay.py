"""The relay told nonsense by somebody it let in: requests and packets of every kind, and the other participant none the wiser."""

from __future__ import annotations

import contextlib
import random
import time

import pytest
from google.protobuf.message import DecodeError, Message
from livekit.protocol import models, rtc
from unit.relay.test_forwarder import Scene
from unit.relay.test_room import join, relay  # noqa: F401 - a fixture

from fuzz.campaign import no_collection
from fuzz.mutation import spoil, spoil_text
from fuzz.parsers import offers, payloads
from vidconf.relay.description import DescriptionError
from vidconf.relay.registry import Relay
from vidconf.relay.requests import handle
from vidconf.rtp.packets import build_rtp


def good_requests(sid: str) -> list[rtc.SignalRequest]:
    """One of each kind that is acted upon."""
    video = rtc.AddTrackRequest(
        cid="c1", name="camera", type=models.TrackType.VIDEO, source=models.TrackSource.CAMERA, width=640, height=360,
        layers=[models.VideoLayer(quality=0, width=320, height=180, bitrate=100)], simulcast_codecs=[rtc.SimulcastCodec(codec="vp9", cid="c1")],
    )  # fmt: skip
    return [
        rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp=offers()[0], id=1)),
        rtc.SignalRequest(answer=rtc.SessionDescription(type="answer", sdp=offers()[0], id=1)),
        rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit='{"candidate":"candidate:1 1 udp 1 127.0.0.1 9 typ host"}')),
        rtc.SignalRequest(add_track=video), rtc.SignalRequest(mute=rtc.MuteTrackRequest(sid=sid, muted=True)),
        rtc.SignalRequest(subscription=rtc.UpdateSubscription(track_sids=[sid, "TR_x"], subscribe=True)),
        rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=[sid], disabled=False, width=320, height=180, fps=15, quality=1)),
        rtc.SignalRequest(subscription_permission=rtc.SubscriptionPermission(
            all_participants=False, track_permissions=[rtc.TrackPermission(participant_identity="b", track_sids=[sid])])),
        rtc.SignalRequest(update_metadata=rtc.UpdateParticipantMetadata(metadata="m", name="n", attributes={"a": "b"}, request_id=4)),
        rtc.SignalRequest(update_video_track=rtc.UpdateLocalVideoTrack(track_sid=sid, width=1, height=1)),
        rtc.SignalRequest(update_audio_track=rtc.UpdateLocalAudioTrack(track_sid=sid)), rtc.SignalRequest(ping=5),
        rtc.SignalRequest(ping_req=rtc.Ping(timestamp=5, rtt=6)),
    ]  # fmt: skip


def disturb(chance: random.Random, message: Message) -> None:
    """Fields of any depth set to what nobody sends."""
    for field, value in message.ListFields():
        if chance.random() < 0.5:
            continue
        if isinstance(value, Message):
            disturb(chance, value)
        elif isinstance(value, str):
            text = spoil_text(chance, [value]) if value else chance.choice(("", "x" * 70_000, "\u202e", "a b"))
            setattr(message, field.name, text.encode("utf-8", "replace").decode())
        elif isinstance(value, int) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):       # of a narrower field
                setattr(message, field.name, chance.choice((0, 1, -1, 7, 65_536, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1)))


@pytest.mark.parametrize("seed", range(3))
async def test_requests_of_every_kind_end_in_an_answer_or_an_error(relay: Relay, seed: int) -> None:  # noqa: F811
    chance = random.Random(seed)
    honest, seen = join(relay, "b")
    refused = handled = 0
    for turn in range(700):
        if turn % 100 == 0:
            hostile, box = join(relay, f"a{turn}")
        sid = next((t.sid for t in hostile.publisher.all()), "TR_none")
        request = rtc.SignalRequest.FromString(chance.choice(good_requests(sid)).SerializeToString())
        if chance.random() < 0.5:
            disturb(chance, request)
        else:
            try:
                request = rtc.SignalRequest.FromString(spoil(chance, [request.SerializeToString()]))
            except DecodeError:
                continue
        try:
            handle(hostile, request)
            handled += 1
        except DescriptionError:
            refused += 1
        hostile.room.tick(time.monotonic())
        box.said.clear()
        assert len(hostile.publisher.all()) <= 20
    assert handled > 200
    assert refused > 0
    assert not honest.gone
    assert "leave" not in seen.names()


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_packets_of_every_kind_are_forwarded_or_dropped(kind: str) -> None:
    """What comes out of the relay is RTP, whatever goes in: the scene's subscribers parse every packet of it."""
    chance, scene = random.Random(3), Scene(kind)
    scene.up.extension_id = 3
    people = [scene.subscriber() for _ in range(3)]
    stream = [*payloads("vp8"), b"", b"\x10", b"\xf8opus"]
    number, worst = 65_000, 0.0
    with no_collection():
        for turn in range(6000):
            number += chance.choice((1, 1, 1, 1, 1, 2, 5, -3, 0, 700, 20_000 if turn % 500 == 0 else 1))
            extensions = [(3, chance.randbytes(2)), (1, b"0")] if chance.random() < 0.5 else []
            packet = build_rtp(chance.choice((100, 100, 100, 97)), number & 0xFFFF, chance.choice((turn * 3000, turn * 3000, 5)), 5, chance.random() < 0.3,
                               chance.choice(stream), extensions)  # fmt: skip
            data = packet if chance.random() < 0.6 else spoil(chance, [packet])
            if len(data) < 12:
                continue        # SRTP lets nothing shorter through
            began = time.thread_time()
            if chance.random() < 0.15:
                scene.up.received_rtx(data, scene.clock.now)
            else:
                scene.up.received(data, scene.clock.now)
            worst = max(worst, time.thread_time() - began)
            if turn % 10 == 0:
                scene.clock.advance(0.02)
                assert len(scene.up.due_nacks(scene.clock.now)) <= 2000
                scene.up.report(scene.clock.now)
            if turn % 50 == 0:
                down = chance.choice(people)[0]
                scene.up.resend(down, [chance.randrange(1 << 16) for _ in range(40)], scene.clock.now)
                scene.up.block(not scene.up.blocked)
                scene.up.block(False)
            for _, session in people:
                session.sent.clear()
    assert worst < 0.02, "with three subscribers, each a parser of its own here"

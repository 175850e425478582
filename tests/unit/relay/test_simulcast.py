"""Layers without a socket: who gets which, what follows what in numbers and time, what is no longer sent and comes back."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any, cast

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.relay.test_forwarder import DELTA, KEYFRAME, FakeClock, FakeSession, contiguous

from vidconf.engine.codecs.h264 import H264Encoder
from vidconf.relay.codecs import H264
from vidconf.relay.counters import Counters
from vidconf.relay.downstream import Down
from vidconf.relay.dynacast import NOTHING
from vidconf.relay.forwarder import Upstream
from vidconf.relay.layers import HIGH, LOW, MEDIUM, Layer, Wish
from vidconf.relay.simulcast import LOOK_S, Layers
from vidconf.rtp import h264
from vidconf.rtp.packets import RtpPacket, build_rtp
from vidconf.rtp.rtcp import SenderReport
from vidconf.rtp.vp8 import parse_descriptor, starts_keyframe

SMALL, LARGE = Wish(width=320, height=180), Wish(width=1280, height=720)
HIDDEN = Wish(disabled=True)


class Encoding:
    """One layer of the publisher: its own numbers, from anywhere."""

    def __init__(self, up: Upstream, rank: int) -> None:
        self.up, self.rank = up, rank
        draw = random.Random(rank + 7)
        self.sequence, self.base, self.picture, self.tl0 = draw.randrange(1 << 16), draw.randrange(1 << 32), draw.randrange(1 << 15), 250 + rank
        self.sends = True
        self.wants_keyframe = True
        self.small = (320, 180)
        self.size = 600

    def packets(self, ticks: int, keyframe: bool) -> list[bytes]:
        self.picture = (self.picture + 1) & 0x7FFF
        self.tl0 = (self.tl0 + 1) & 255
        # The layer is marked in the frame, so that a test can tell it whatever its numbers.
        width, height = (side << self.rank for side in self.small)
        head = KEYFRAME[:6] + width.to_bytes(2, "little") + height.to_bytes(2, "little")
        frame = head + bytes((self.rank,)) * 1000 if keyframe else DELTA[:1] + bytes((self.rank,)) * self.size
        tail = b"\xc0" + (0x8000 | self.picture).to_bytes(2, "big") + bytes((self.tl0,))
        made = []
        for k in range(0, len(frame), 400):
            self.sequence = (self.sequence + 1) & 0xFFFF
            head = (b"\x90" if k == 0 else b"\x80") + tail
            made.append(build_rtp(100, self.sequence, self.base + ticks, 50 + self.rank, k + 400 >= len(frame), head + frame[k : k + 400]))
        return made


class Publisher:
    """A camera in three layers; a keyframe of one is a keyframe of all, as libvpx makes them."""

    def __init__(self, count: int = 3, together: bool = True) -> None:
        self.clock, self.counters, self.together = FakeClock(), Counters(), together
        made = []
        for rank in range(count):
            up = Upstream("video", self.counters, cast(Any, self.clock), lambda: None)
            up.layer = Layer("qhf"[rank], rank, 320 << rank, 180 << rank)
            up.payload_type, up.ssrc = 100, 50 + rank
            made.append(up)
        self.layers = Layers(Upstream("video", self.counters, cast(Any, self.clock), lambda: None))
        self.layers.divide(made)
        self.encodings = [Encoding(up, rank) for rank, up in enumerate(made)]
        self.asked = 0
        self.answers_after_s = 0.0
        for encoding in self.encodings:
            encoding.up.send_keyframe_request = lambda encoding=encoding: self._asked(encoding)
        self.looked_at = self.clock.now

    def _asked(self, encoding: Encoding) -> None:
        self.asked += 1
        for other in self.encodings if self.together else [encoding]:
            self.clock.call_at(self.clock.now + self.answers_after_s, lambda other=other: setattr(other, "wants_keyframe", True))

    def subscriber(self, wish: Wish = LARGE) -> tuple[Down, FakeSession]:
        session = FakeSession()
        down = Down(self.layers.all[0], cast(Any, session), random.randrange(1, 1 << 32), wish)
        self.layers.add(down)
        down.accepted = True
        self.layers.update(down)
        return down, session

    def frame(self, lose: Any = lambda packet: False) -> None:
        """A picture of all layers, smallest first, and a thirtieth of a second."""
        ticks = round(self.clock.now * 90_000)
        for encoding in self.encodings:
            if not encoding.sends:
                continue
            keyframe, encoding.wants_keyframe = encoding.wants_keyframe, False
            for packet in encoding.packets(ticks, keyframe):
                if not lose(packet):
                    encoding.up.received(packet, self.clock.now)
        self.clock.advance(1 / 30)
        if self.clock.now - self.looked_at >= LOOK_S:
            self.looked_at = self.clock.now
            self.layers.look(self.clock.now)

    def frames(self, seconds: float) -> None:
        for _ in range(round(seconds * 30)):
            self.frame()


def layer_of(packet: RtpPacket) -> int:
    return packet.payload[-1]


def layers_of(session: FakeSession) -> list[int]:
    return [k for k, _ in itertools.groupby(layer_of(p) for p in session.sent)]


def is_one_stream(session: FakeSession) -> None:
    """What a decoder behind it needs: no gap in numbers, time that goes on, the next picture after each, keyframes at switches."""
    assert contiguous(session)
    previous: RtpPacket | None = None
    for packet in session.sent:
        here, _ = parse_descriptor(packet.payload)
        if previous is None or layer_of(packet) != layer_of(previous):
            assert starts_keyframe(packet.payload)
        if previous is not None and here.start:
            there, _ = parse_descriptor(previous.payload)
            assert here.picture_id == (there.picture_id + 1) & 0x7FFF  # type: ignore[operator]
            assert here.tl0picidx == (there.tl0picidx + 1) & 255  # type: ignore[operator]
            assert 0 < (packet.timestamp - previous.timestamp) & 0xFFFFFFFF < 1 << 31
        previous = packet


def test_the_first_picture_is_the_first_there_is_and_then_the_right_one() -> None:
    camera = Publisher()
    _, large = camera.subscriber()
    _, small = camera.subscriber(SMALL)
    camera.frame()
    assert layers_of(large) == [0, 1, 2]
    assert layers_of(small) == [0]
    camera.frames(1)
    for session in (large, small):
        is_one_stream(session)
    assert layers_of(large) == [0, 1, 2]
    assert layers_of(small) == [0]


def test_sizes_are_followed_at_the_next_keyframe_which_is_asked_for() -> None:
    camera = Publisher()
    down, session = camera.subscriber()
    camera.frames(1)
    camera.answers_after_s = 0.09
    for wish, rank in ((SMALL, 0), (Wish(width=600, height=350), 1), (LARGE, 2), (Wish(quality=LOW), 0), (Wish(quality=HIGH), 2)):
        before, asked = len(session.sent), camera.asked
        camera.layers.wish(down, wish)
        camera.frames(0.5)
        assert layer_of(session.sent[-1]) == rank
        assert camera.asked == asked + 1
        assert len(session.sent) > before + 14
        assert layer_of(session.sent[before]) == layer_of(session.sent[before - 1])  # the old one goes on till then
    is_one_stream(session)
    times = [p.timestamp for p in session.sent if p.payload[0] & 0x10]
    assert all(abs(((b - a) & 0xFFFFFFFF) - 3000) <= 2 for a, b in itertools.pairwise(times) if (b - a) & 0xFFFFFFFF > 10)


def test_sizes_are_believed_as_they_are_seen() -> None:
    """A publisher that sends half of what it declared (libwebrtc, short of power): who asks for 360 lines gets those."""
    camera = Publisher()
    _, session = camera.subscriber(Wish(width=640, height=360))
    camera.frames(0.5)
    assert layers_of(session)[-1] == 1
    for encoding in camera.encodings:
        encoding.small, encoding.wants_keyframe = (160, 90), True
    camera.frames(0.8)
    assert layers_of(session)[-1] == 2
    is_one_stream(session)


def test_sizes_of_h264_are_seen_too() -> None:
    camera = Publisher(count=2)
    up = camera.layers.all[0]
    up.use(H264)
    data = H264Encoder(480, 270, 30, 500_000).encode(av.VideoFrame(480, 270, "yuv420p"), keyframe=True)
    assert data
    payloads = h264.packetize(data)
    for k, payload in enumerate(payloads):
        up.received(build_rtp(100, 5 + k, 9000, up.ssrc, k == len(payloads) - 1, payload), camera.clock.now)
    assert up.alive
    assert up.seen == (480, 270)


def test_hidden_and_shown_again() -> None:
    camera = Publisher()
    down, session = camera.subscriber()
    camera.frames(0.5)
    count = len(session.sent)
    camera.layers.wish(down, HIDDEN)
    camera.frames(0.5)
    assert len(session.sent) == count
    camera.layers.wish(down, SMALL)
    camera.frames(0.5)
    assert layers_of(session)[-1] == 0
    numbers = [p.sequence for p in session.sent]
    assert (numbers[count] - numbers[count - 1]) & 0xFFFF == 1
    assert starts_keyframe(session.sent[count].payload)


@pytest.mark.parametrize("together", [True, False])
def test_a_layer_that_falls_silent_and_comes_back(together: bool) -> None:
    camera = Publisher(together=together)
    _, large = camera.subscriber()
    _, small = camera.subscriber(SMALL)
    camera.frames(2)
    camera.encodings[2].sends = False
    camera.frames(1.2)
    assert layer_of(large.sent[-1]) == 1  # about a second
    camera.encodings[2].sends, camera.encodings[2].wants_keyframe = True, True
    camera.frame()
    assert layer_of(large.sent[-1]) == 2  # at its keyframe
    camera.frames(0.3)
    for session in (large, small):
        is_one_stream(session)
    assert layers_of(small) == [0]


def test_the_largest_that_stands_for_the_middle_one_is_had_by_its_viewers() -> None:
    """As our publisher does where its way up is narrow: the middle layer ends, the largest goes on in that size, and is itself again later."""
    camera = Publisher(together=False)
    _, large = camera.subscriber()
    _, middle = camera.subscriber(Wish(width=640, height=360))
    _, small = camera.subscriber(SMALL)
    camera.frames(2)
    assert [layers_of(session)[-1] for session in (large, middle, small)] == [2, 1, 0]
    largest = camera.encodings[2]
    camera.encodings[1].sends = False
    largest.small, largest.wants_keyframe = (160, 90), True
    camera.frames(1)
    assert [layers_of(session)[-1] for session in (large, middle, small)] == [2, 2, 0]
    largest.small, largest.wants_keyframe = (320, 180), True
    camera.encodings[1].sends = camera.encodings[1].wants_keyframe = True
    camera.frames(1)
    assert [layers_of(session)[-1] for session in (large, middle, small)] == [2, 1, 0]
    for session in (large, middle, small):
        is_one_stream(session)


def test_one_of_many_pictures_is_missed_sooner_than_one_of_few() -> None:
    """Four of its own pictures' time: a camera's is known to be gone after a quarter of a second, a slow screen's not so soon."""
    for every, leaves_after_s, stays_s in ((1, 0.5, 0.2), (6, 1.0, 0.65)):
        camera = Publisher(together=False)
        _, session = camera.subscriber()
        for k in range(90):
            camera.encodings[2].sends = k % every == 0
            camera.frame()
        assert layer_of(session.sent[-1]) == 2
        camera.encodings[2].sends = False
        camera.frames(stays_s)
        assert layer_of(session.sent[-1]) == 2
        assert camera.encodings[2].up.alive
        camera.frames(leaves_after_s - stays_s)
        assert layer_of(session.sent[-1]) == 1


def test_a_layer_that_comes_back_without_a_keyframe_is_asked_for_one() -> None:
    camera = Publisher(together=False)
    _, session = camera.subscriber()
    camera.frames(1)
    camera.encodings[2].sends = False
    camera.frames(1.5)
    camera.encodings[2].sends = True
    asked = camera.asked
    camera.frames(1.5)
    assert camera.asked == asked + 1
    assert layer_of(session.sent[-1]) == 2
    is_one_stream(session)


def test_a_slow_layer_comes_back_too() -> None:
    """A shared screen's: two pictures a second beside thirty of another layer."""
    camera = Publisher(together=False)
    _, session = camera.subscriber()
    camera.frames(1)
    camera.encodings[2].sends = False
    camera.frames(1.5)
    for k in range(90):
        camera.encodings[2].sends = k % 15 == 0
        camera.frame()
    assert camera.encodings[2].up.alive
    assert 2 in layers_of(session)[-2:]


def test_who_wants_the_smallest_gets_the_next_when_it_is_not_sent() -> None:
    camera = Publisher()
    camera.encodings[0].sends = False
    _, session = camera.subscriber(SMALL)
    camera.frames(1)
    assert layers_of(session) == [1]
    camera.encodings[0].sends, camera.encodings[0].wants_keyframe = True, True
    camera.frames(0.5)
    assert layers_of(session) == [1, 0]
    is_one_stream(session)


def test_a_still_screen_is_not_taken_for_a_dead_one() -> None:
    """A frame a second in all layers: nobody falls silent before the others."""
    camera = Publisher()
    _, session = camera.subscriber()
    camera.frames(1)
    for _ in range(8):
        camera.frame()
        for _ in range(5):
            camera.clock.advance(LOOK_S)
            camera.layers.look(camera.clock.now)
    assert all(encoding.up.alive for encoding in camera.encodings)
    assert layers_of(session) == [0, 1, 2]


def test_what_was_lost_before_a_switch_is_had_after_it() -> None:
    camera = Publisher()
    down, session = camera.subscriber()
    camera.frames(0.5)
    camera.layers.wish(down, SMALL)
    camera.frames(0.4)
    assert layers_of(session)[-1] == 0
    sent = {p.sequence: p for p in session.sent}
    ask = [p.sequence for p in session.sent][-60:]
    assert len({layer_of(sent[n]) for n in ask}) > 1
    count = len(session.sent)
    down.upstream.resend(down, ask, camera.clock.now)
    again = session.sent[count:]
    assert [p.sequence for p in again] == ask
    for packet in again:
        assert replace(packet, extensions={}) == replace(sent[packet.sequence], extensions={}), "but for when it was sent"
    # The same to one who takes repairs under their own SSRC (RFC 4588).
    down.takes_rtx, down.rtx_ssrc = True, 77
    down.upstream.resend(down, ask, camera.clock.now)
    repairs = session.sent[count + len(ask) :]
    assert {(p.ssrc, p.payload_type) for p in repairs} == {(77, 97)}
    assert all((b.sequence - a.sequence) & 0xFFFF == 1 for a, b in itertools.pairwise(repairs))
    for packet, original in zip(repairs, again, strict=True):
        assert packet.payload == original.sequence.to_bytes(2, "big") + original.payload
        assert (packet.timestamp, packet.marker) == (original.timestamp, original.marker)


def test_mute_and_unmute_begin_with_a_keyframe_of_the_layer_wanted() -> None:
    camera = Publisher()
    _, session = camera.subscriber(Wish(width=640, height=360))
    camera.frames(0.5)
    camera.layers.block(True)
    count = len(session.sent)
    camera.frames(0.5)
    assert len(session.sent) == count
    camera.layers.block(False)
    camera.frames(0.8)
    assert starts_keyframe(session.sent[count].payload)
    assert layers_of(session)[-1] == 1
    assert contiguous(session)


def test_what_the_publisher_need_not_send() -> None:
    camera = Publisher()
    assert camera.layers.wanted() == NOTHING
    down, _ = camera.subscriber(SMALL)
    other, _ = camera.subscriber(Wish(quality=MEDIUM))
    assert camera.layers.wanted() == MEDIUM
    camera.layers.wish(other, HIDDEN)
    assert camera.layers.wanted() == LOW
    camera.layers.remove(down)
    assert camera.layers.wanted() == NOTHING


def test_a_line_that_loses_goes_one_down() -> None:
    camera = Publisher()
    down, session = camera.subscriber()
    camera.frames(1)
    for _ in range(5):
        camera.layers.lost(down, 0.2, camera.clock.now)
        camera.frames(1)
    assert layer_of(session.sent[-1]) == 1
    assert camera.layers.wanted() == HIGH  # others' lines may carry it
    for _ in range(12):
        camera.layers.lost(down, 0.0, camera.clock.now)
        camera.frames(1)
    assert layer_of(session.sent[-1]) == 2
    is_one_stream(session)


def test_nobody_is_left_behind_by_one_who_goes() -> None:
    camera = Publisher()
    down, session = camera.subscriber()
    _, other = camera.subscriber()
    camera.frame()
    camera.layers.remove(down)
    count = len(session.sent)
    camera.frames(0.5)
    assert len(session.sent) == count
    assert len(other.sent) > count
    camera.layers.close()
    count = len(other.sent)
    camera.frames(0.2)
    assert len(other.sent) == count



def test_reports_follow_the_switch() -> None:
    """Each layer's report carries its own timestamps; a subscriber's are all of one clock."""
    camera = Publisher()
    down, session = camera.subscriber()
    for second in range(6):
        camera.layers.wish(down, (LARGE, SMALL)[second % 2])
        for encoding in camera.encodings:
            ticks = round(camera.clock.now * 90_000)
            encoding.up.pass_report(SenderReport(encoding.up.ssrc, int(camera.clock.now * 2**32), encoding.base + ticks, 0, 0), camera.clock.now)
        camera.frames(1)
    offsets = {round((r.ntp / 2**32 * 90_000 - r.rtp_timestamp) % 2**32) for r in session.reports}
    assert len(session.reports) >= 11
    assert max(offsets) - min(offsets) < 10


@settings(max_examples=60)
@given(st.data())
def test_a_random_life(data: st.DataObject) -> None:
    """Sizes asked for, layers that stop and start, mutes, pauses, newcomers, losses: what each gets never repeats a number with
    another payload, opens with a keyframe at every switch, goes on in time, and ends with the right layer."""
    camera = Publisher(together=data.draw(st.booleans()))
    people = [camera.subscriber()]
    lost = [0]

    def lose(packet: bytes) -> bool:
        if data.draw(st.integers(0, 60)) == 0:
            lost[0] += 1
            return True
        return False

    wishes = [SMALL, LARGE, Wish(width=600, height=300), HIDDEN]
    for event in data.draw(st.lists(st.sampled_from("ffffffwwsmnr"), min_size=3, max_size=25)):
        match event:
            case "f":
                for _ in range(4):
                    camera.frame(lose)
            case "w":
                down, _ = data.draw(st.sampled_from(people))
                camera.layers.wish(down, data.draw(st.sampled_from(wishes)))
            case "s":
                encoding = data.draw(st.sampled_from(camera.encodings))
                encoding.sends = not encoding.sends
                encoding.wants_keyframe = encoding.wants_keyframe or data.draw(st.booleans())
            case "m":
                camera.layers.block(not camera.layers.all[0].blocked)
            case "n" if len(people) < 4:
                people.append(camera.subscriber(data.draw(st.sampled_from(wishes))))
            case "r":
                down, session = data.draw(st.sampled_from(people))
                down.upstream.resend(down, [p.sequence for p in session.sent[-20:]], camera.clock.now)
    for encoding in camera.encodings:
        encoding.sends = True
    camera.layers.block(False)
    camera.frames(3)
    for down, session in people:
        payloads: dict[int, bytes] = {}
        for packet in session.sent:
            assert payloads.setdefault(packet.sequence, packet.payload) == packet.payload
        if down.wish.disabled:
            continue
        wanted = {SMALL: 0, LARGE: 2}.get(down.wish, 1)
        assert layer_of(session.sent[-1]) == wanted
        tail = FakeSession()
        tail.sent = session.sent[-20:]
        assert contiguous(tail)

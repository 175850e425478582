"""The hot path without a socket: numbers, history, gaps, keyframes, pauses, by examples and by random lives."""

from __future__ import annotations

import itertools
import random
import struct
import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.relay.counters import Counters
from vidconf.relay.description import SEND_TIME_ID
from vidconf.relay.downstream import Down
from vidconf.relay.forwarder import Upstream
from vidconf.rtp.packets import RtpPacket, build_rtp, parse_rtp
from vidconf.rtp.rtcp import SenderReport, parse_rtcp
from vidconf.rtp.vp8 import packetize, starts_keyframe

KEYFRAME, DELTA = b"\x10\x02\x00\x9d\x01\x2a" + bytes(900), b"\x31" + bytes(500)


class FakeClock:
    """The loop's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[float, Any, list[bool]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any) -> Any:
        live = [True]
        self.calls.append((when, callback, live))

        class Handle:
            def cancel(self) -> None:
                live[0] = False

        return Handle()

    def advance(self, seconds: float) -> None:
        ends = self.now + seconds
        while due := [c for c in self.calls if c[0] <= ends and c[2][0]]:
            first = min(due, key=lambda c: c[0])
            self.calls.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = ends


class FakeSession:
    """Stands where a subscriber's connection would: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[RtpPacket] = []
        self.reports: list[SenderReport] = []

    def send_rtcp(self, packet: bytes) -> None:
        self.reports += [p for p in parse_rtcp(packet) if isinstance(p, SenderReport)]

    def send(self, word: int, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> None:
        self.sent.append(parse_rtp(struct.pack("!HHII", word, sequence, timestamp, ssrc) + payload))


class Scene:
    """One track, its publisher and its subscribers."""

    def __init__(self, kind: str = "video") -> None:
        self.clock, self.counters = FakeClock(), Counters()
        self.gaps = self.asked = 0
        self.up = Upstream(kind, self.counters, cast(Any, self.clock), self._gap)
        self.up.payload_type, self.up.ssrc = 100, 5
        self.up.send_keyframe_request = self._asked
        self.kind = kind
        self.sequence, self.timestamp, self.picture = 65_530, 0, 0

    def _gap(self) -> None:
        self.gaps += 1

    def _asked(self) -> None:
        self.asked += 1

    def subscriber(self) -> tuple[Down, FakeSession]:
        session = FakeSession()
        down = Down(self.up, cast(Any, session), random.randrange(1, 1 << 32))
        self.up.add(down)
        down.accepted = True
        self.up.update(down)
        return down, session

    def packet(self, payload: bytes, **fields: Any) -> bytes:
        self.sequence = (self.sequence + 1) & 0xFFFF
        return build_rtp(fields.get("payload_type", 100), self.sequence, self.timestamp, 5, True, payload, fields.get("extensions", ()))

    def send(self, data: bytes) -> None:
        self.up.received(data, self.clock.now)

    def frame(self, keyframe: bool = False) -> list[bytes]:
        self.picture += 1
        self.timestamp += 3000
        if self.kind == "audio":
            return [self.packet(b"\xf8" + bytes(40))]
        return [self.packet(p) for p in packetize(KEYFRAME if keyframe else DELTA, self.picture, 400)]


def contiguous(session: FakeSession) -> bool:
    numbers = [p.sequence for p in session.sent]
    return all((b - a) & 0xFFFF == 1 for a, b in itertools.pairwise(numbers))


def test_nothing_before_a_keyframe_and_all_after_it() -> None:
    scene = Scene()
    down, session = scene.subscriber()
    assert scene.asked == 1
    for data in scene.frame() + scene.frame():
        scene.send(data)
    assert session.sent == []
    for data in scene.frame(keyframe=True) + scene.frame():
        scene.send(data)
    assert starts_keyframe(session.sent[0].payload)
    assert len(session.sent) == 5
    assert contiguous(session)
    assert {(p.ssrc, p.payload_type) for p in session.sent} == {(down.ssrc, 96)}
    assert scene.up.sent(down) == (5, sum(len(p.payload) for p in session.sent))


def test_extensions_csrcs_and_padding_are_taken_off() -> None:
    scene = Scene("audio")
    _, session = scene.subscriber()
    plain = scene.packet(b"\xf8abc", extensions=[(1, b"\x80"), (4, b"0")])
    padded = bytes((plain[0] | 0x20,)) + plain[1:] + b"\0\0\x03"
    scene.send(padded)
    assert (session.sent[0].payload, session.sent[0].extensions, session.sent[0].padding) == (b"\xf8abc", {}, 0)
    head = scene.packet(b"")
    csrc = bytes((0x82,)) + head[1:12] + bytes(8) + b"\xf8xyz"
    scene.send(csrc)
    assert session.sent[1].payload == b"\xf8xyz"


def test_what_is_dropped_on_purpose_leaves_no_gap_and_a_loss_does() -> None:
    scene = Scene("audio")
    _, session = scene.subscriber()
    for _ in range(5):
        scene.send(scene.frame()[0])
        empty = scene.packet(b"")
        scene.send(bytes((empty[0] | 0x20,)) + empty[1:] + b"\0\0\0\x04")  # padding only
        scene.send(scene.packet(b"\xf8", payload_type=13))  # comfort noise that nobody agreed on
    assert len(session.sent) == 5
    assert contiguous(session)
    scene.packet(b"lost")
    scene.send(scene.frame()[0])
    assert (session.sent[-1].sequence - session.sent[-2].sequence) & 0xFFFF == 2
    assert scene.gaps == 1


def test_mute_and_unmute() -> None:
    scene = Scene()
    _, session = scene.subscriber()
    for data in scene.frame(keyframe=True):
        scene.send(data)
    count = len(session.sent)
    scene.up.block(True)
    for data in scene.frame(keyframe=True) + scene.frame():
        scene.send(data)
    assert len(session.sent) == count
    assert scene.counters.rtp_refused == 5
    asked = scene.asked
    scene.up.block(False)
    scene.clock.advance(0.5)
    assert scene.asked > asked
    for data in scene.frame() + scene.frame(keyframe=True) + scene.frame():
        scene.send(data)
    assert contiguous(session)
    assert starts_keyframe(session.sent[count].payload)


def test_late_packets_fill_their_gap_once() -> None:
    scene = Scene("audio")
    _, session = scene.subscriber()
    scene.send(scene.frame()[0])
    lost = scene.frame()[0]
    scene.send(scene.frame()[0])
    scene.clock.now += 0.02
    assert scene.up.due_nacks(scene.clock.now) == [int.from_bytes(lost[2:4], "big")]
    assert scene.up.due_nacks(scene.clock.now) == []  # not again before a round trip
    scene.send(lost)
    scene.send(lost)
    assert sorted((p.sequence - session.sent[0].sequence) & 0xFFFF for p in session.sent) == [0, 1, 2]
    assert scene.up.missing == {}


def test_rtx_is_unwrapped() -> None:
    scene = Scene()
    scene.up.rtx_payload_type = 101
    _, session = scene.subscriber()
    first, second, *rest = scene.frame(keyframe=True)
    scene.send(first)
    scene.send(rest[0])
    original = parse_rtp(second)
    repaired = build_rtp(101, 9, original.timestamp, 6, original.marker, second[2:4] + original.payload, [(4, b"0")])
    scene.up.received_rtx(repaired, scene.clock.now)
    scene.up.received_rtx(build_rtp(101, 10, original.timestamp, 6, False, b""), scene.clock.now)  # probing
    scene.up.received_rtx(repaired, scene.clock.now)
    assert [(p.sequence - session.sent[0].sequence) & 0xFFFF for p in session.sent] == [0, 2, 1]
    assert session.sent[2].payload == original.payload


def test_it_gives_up_asking() -> None:
    scene = Scene("audio")
    scene.send(scene.frame()[0])
    scene.frame()
    scene.send(scene.frame()[0])
    asked = 0
    for _ in range(1000):
        scene.clock.now += 0.02
        asked += len(scene.up.due_nacks(scene.clock.now))
    assert asked == 10
    assert not scene.up.missing
    scene.sequence = (scene.sequence + 20_000) & 0xFFFF
    scene.send(scene.frame()[0])
    assert not scene.up.missing  # a new beginning


def test_nack_within_the_budget() -> None:
    scene = Scene("audio")
    down, session = scene.subscriber()
    for _ in range(100):
        scene.send(scene.frame()[0])
    sent = [p.sequence for p in session.sent]
    scene.up.resend(down, sent[10:20], scene.clock.now)
    assert [p.sequence for p in session.sent[100:]] == sent[10:20]
    assert [p.payload for p in session.sent[100:]] == [p.payload for p in session.sent[10:20]]
    scene.up.resend(down, [(sent[0] - 5) & 0xFFFF, (sent[-1] + 5) & 0xFFFF], scene.clock.now)
    assert len(session.sent) == 110
    for _ in range(20):
        scene.up.resend(down, sent, scene.clock.now)
    assert len(session.sent) == 399     # three hundred in all; the two that nobody has cost a fifth of one
    assert scene.counters.resends_refused > 1000


def test_what_was_sent_before_the_numbers_came_again_is_not_sent_for_them() -> None:
    scene = Scene("audio")
    down, session = scene.subscriber()
    scene.send(scene.frame()[0])
    old = scene.frame()[0]
    scene.send(old)
    scene.up.block(True)
    scene.up.block(False)
    for again in range(3):
        scene.send(scene.frame()[0])
        count = len(session.sent)
        scene.up.resend(down, [session.sent[1].sequence], scene.clock.now)
        assert len(session.sent) == count + (1 if again == 0 else 0)    # once more while it is the last of that number
        if again == 1:
            scene.up.block(True)    # nor when what lay between is a stretch of the past itself
            scene.up.block(False)
        for step in (0x7000, 0x7000, 0x1FF0):
            scene.sequence = (scene.sequence + step) & 0xFFFF
            scene.send(scene.frame()[0])


def test_another_ssrc_of_the_same_track_goes_on_without_a_gap() -> None:
    scene = Scene("audio")
    _, session = scene.subscriber()
    scene.send(scene.frame()[0])
    scene.up.restart()
    scene.sequence = 1234
    scene.send(scene.frame()[0])
    scene.send(scene.frame()[0])
    assert contiguous(session)
    assert len(session.sent) == 3


def test_reports() -> None:
    scene = Scene("audio")
    assert scene.up.report(scene.clock.now) is None
    for k in range(100):
        data = scene.frame()[0]
        scene.clock.now += 0.02
        if k % 4:
            scene.send(data)
    block = scene.up.report(scene.clock.now)
    assert block is not None
    assert (block.ssrc, block.lost, block.fraction_lost) == (5, 24, 24 * 256 // 99)
    scene.up.sender_report(0x1234_5678_9ABC_DEF0, 0, scene.clock.now)
    scene.clock.now += 2
    block = scene.up.report(scene.clock.now)
    assert block is not None
    assert (block.lsr, block.dlsr, block.fraction_lost) == (0x5678_9ABC, 2 * 65536, 0)


def test_who_begins_is_told_the_time_at_once() -> None:
    scene = Scene()
    _, first = scene.subscriber()
    for data in scene.frame(keyframe=True):
        scene.send(data)
    assert first.reports == []
    scene.up.pass_report(SenderReport(5, 1000 << 32, 90_000, 0, 0), scene.clock.now)
    assert [(r.ntp, r.rtp_timestamp, r.packets) for r in first.reports] == [(1000 << 32, 90_000, 3)]
    scene.clock.advance(2)
    down, second = scene.subscriber()
    for data in scene.frame(keyframe=True):
        scene.send(data)
    (report,) = second.reports
    assert report.ssrc == down.ssrc
    assert (report.ntp, report.rtp_timestamp) == (1002 << 32, 270_000)
    assert down.sr_ntp == (1002 << 16) & 0xFFFFFFFF
    scene.clock.advance(60)
    _, late = scene.subscriber()
    for data in scene.frame(keyframe=True):
        scene.send(data)
    assert late.reports == []  # too long ago to be true


@given(st.binary(min_size=12, max_size=60))
def test_noise_raises_nothing(noise: bytes) -> None:
    scene = Scene()
    scene.up.extension_id = 3
    scene.subscriber()
    scene.up.received(noise, 1.0)
    scene.up.received(bytes((noise[0] | 0x10,)) + noise[1:12] + b"\xbe\xde\x00\x01" + noise[:4], 1.0)
    scene.up.received_rtx(noise, 1.0)


@given(st.data())
def test_a_random_life(data: st.DataObject) -> None:
    """Loss, lateness, repeats, mutes, pauses, newcomers: what a subscriber sees never repeats a number, never shows another
    payload under one, opens with a keyframe, and has no more gaps than were lost."""
    scene = Scene()
    people = [scene.subscriber()]
    late: list[bytes] = []
    lost = 0
    frames = data.draw(st.lists(st.sampled_from("kkddddddddlmups"), min_size=5, max_size=60))
    for event in ["k", *frames]:
        scene.clock.advance(0.03)
        if event in "kd":
            for packet in scene.frame(keyframe=event == "k"):
                chance = data.draw(st.integers(0, 19))
                if chance == 0:
                    lost += 1
                elif chance == 1:
                    late.append(packet)
                else:
                    scene.send(packet)
                    if chance == 2:
                        scene.send(packet)
        elif event == "l":
            for packet in late:
                scene.send(packet)
            late.clear()
        elif event == "m":
            scene.up.block(not scene.up.blocked)
        elif event == "u" and len(people) < 4:
            people.append(scene.subscriber())
        elif event in "ps":
            down = people[0][0]
            down.enabled = event == "s"
            scene.up.update(down)
    for down, session in people:
        numbers = [p.sequence for p in session.sent]
        assert len(set(numbers)) == len(numbers)
        if not numbers:
            continue
        assert starts_keyframe(session.sent[0].payload)
        originals = {p.sequence: p.payload for p in session.sent}
        places = {((number - numbers[0] + 0x8000) & 0xFFFF) - 0x8000 for number in numbers}
        missing = [(numbers[0] + k) & 0xFFFF for k in range(max(places)) if k not in places]
        before = len(session.sent)
        scene.up.resend(down, missing + numbers[-20:], scene.clock.now)
        for again in session.sent[before:]:
            assert originals.setdefault(again.sequence, again.payload) == again.payload
        if down.is_open:  # whatever was not lost on the way in can be had by asking
            assert max(places) + 1 - len(originals) <= lost + len(late) + scene.counters.rtp_refused


def test_asking_for_what_is_not_kept_costs_of_the_budget_too() -> None:
    """One datagram names six thousand numbers: looking them all up is work as well."""
    scene = Scene()
    down, session = scene.subscriber()
    for keyframe in (True, False, False):
        for data in scene.frame(keyframe):
            scene.send(data)
    kept = session.sent[-1].sequence
    strange = [(kept + 1000 + k) & 0xFFFF for k in range(6000)]
    scene.up.resend(down, strange, scene.clock.now)
    sent = len(session.sent)
    scene.up.resend(down, [kept], scene.clock.now)
    assert len(session.sent) == sent
    assert scene.counters.resends_refused >= 3001
    scene.clock.advance(1.0)
    scene.up.resend(down, [kept], scene.clock.now)
    assert len(session.sent) == sent + 1


def test_jumps_in_the_numbers_keep_the_newest_missing_ones_and_cost_little() -> None:
    scene = Scene()
    number, started = 0, time.process_time()
    for _ in range(300):
        number += 1999
        scene.up.received(build_rtp(100, number & 0xFFFF, 0, 5, True, KEYFRAME[:20]), scene.clock.now)
    assert time.process_time() - started < 0.45     # 2.5 ms each when every deletion walked over the ones before it
    assert len(scene.up.missing) == 1000
    assert max(scene.up.missing) & 0xFFFF == (number - 1) & 0xFFFF


def test_sender_reports_that_come_in_heaps_are_told_once() -> None:
    scene = Scene()
    _, session = scene.subscriber()
    for data in scene.frame(keyframe=True):
        scene.send(data)
    before = len(session.reports)
    for k in range(50):
        scene.up.pass_report(SenderReport(5, (1000 + k) << 32, 90_000 + k, 0, 0), scene.clock.now)
    assert len(session.reports) == before + 1
    scene.clock.advance(0.5)
    scene.up.pass_report(SenderReport(5, 2000 << 32, 135_000, 0, 0), scene.clock.now)
    assert len(session.reports) == before + 2


def test_a_repair_older_than_the_history_takes_nobodys_place() -> None:
    """What is asked for again may come after five hundred others; the place it had is another packet's by then."""
    scene = Scene("audio")
    down, session = scene.subscriber()
    for _ in range(5):
        scene.send(scene.frame()[0])
    (late,) = scene.frame()
    for _ in range(300):
        scene.send(scene.frame()[0])
    newer = [p.sequence for p in session.sent]
    scene.send(late)
    taken = newer[5 + 256 - 1 : 5 + 256 + 2]
    del session.sent[:]
    scene.up.resend(down, taken, scene.clock.now)
    assert [p.sequence for p in session.sent] == taken


def test_every_picture_says_when_it_was_sent_and_sound_does_not() -> None:
    """abs-send-time: 6.18 fixed point, 24 bits; repairs of either kind say their own moment."""
    for kind, rtx in (("video", True), ("video", False), ("audio", False)):
        scene = Scene(kind)
        down, session = scene.subscriber()
        down.takes_rtx, down.rtx_ssrc = rtx, 9
        for data in scene.frame(keyframe=True):
            scene.send(data)
        scene.clock.advance(0.25)
        scene.up.resend(down, [session.sent[0].sequence], scene.clock.now)
        said = [packet.extensions.get(SEND_TIME_ID) for packet in session.sent]
        if kind == "audio":
            assert said == [None, None]
            continue
        times = [int.from_bytes(one, "big") / (1 << 18) for one in said if one is not None]
        assert len(times) == len(session.sent)
        assert times[:-1] == [pytest.approx(100.0 % 64, abs=1e-5)] * (len(times) - 1)
        assert times[-1] == pytest.approx(100.25 % 64, abs=1e-5)
        assert session.sent[-1].payload.endswith(session.sent[0].payload)

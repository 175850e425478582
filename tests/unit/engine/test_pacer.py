"""What leaves and when: pictures spread, repairs before them, probes at their own rate, nothing of what is muted; and the packets."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest

from vidconf.engine.outgoing import OutgoingStream, TransportNumbers
from vidconf.engine.pacer import MAX_REPAIRS, SOON_S, Pacer
from vidconf.engine.send_control import FLOOR_BPS, ROOM, START_BPS, SendControl
from vidconf.rtp.packets import RtpPacket, parse_rtp
from vidconf.rtp.probing import Probe
from vidconf.rtp.rtcp import ReportBlock, TransportFeedback, parse_rtcp

MAIN, REPAIR = 111, 222
PACKET = 1200


class Wire:
    def __init__(self) -> None:
        self.packets: list[tuple[float, RtpPacket, int]] = []
        self.up = True

    def send(self, data: bytes) -> bool:
        if self.up:
            self.packets.append((time.monotonic(), parse_rtp(data), len(data)))
        return self.up

    @property
    def parsed(self) -> list[RtpPacket]:
        return [packet for _, packet, _ in self.packets]

    def stream(self, numbers: TransportNumbers | None = None, ssrc: int = MAIN, **more: Any) -> OutgoingStream:
        told: dict[str, Any] = {"number_id": 3, "mid_id": 1, "level_id": 0, **more}
        return OutgoingStream(
            send=self.send, payload_type=96, clock_hz=90_000, mid="1", numbers=numbers or TransportNumbers(), ssrc=ssrc, **told
        )


def picture(stream: OutgoingStream, packets: int, size: int = PACKET) -> list[bytearray]:
    return [stream.packet(bytes(size - 20), 1, marker=k == packets - 1) for k in range(packets)]


async def until(condition: Any, timeout_s: float = 5.0) -> bool:
    ends = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < ends:  # noqa: ASYNC110 - what is asked has no event
        await asyncio.sleep(0.002)
    return bool(condition())


async def test_a_keyframe_is_spread_at_its_pace_and_keeps_its_order() -> None:
    wire, pacer = Wire(), Pacer(lambda: None)
    stream = wire.stream()
    pacer.target_bps = 1_000_000
    began = time.monotonic()
    pacer.push(stream, picture(stream, 60))
    assert 2 <= len(wire.packets) <= 6, "a picture of usual size leaves at once, and no more"
    assert 0.1 < pacer.backlog_s < 0.3
    assert await until(lambda: len(wire.packets) == 60)
    took = time.monotonic() - began
    assert took > 0.15, f"72 kB at 2.5 Mb/s: {took}"
    assert pacer.backlog_s == 0
    numbers = [p.sequence for p in wire.parsed]
    assert numbers == list(range(numbers[0], numbers[0] + 60))
    pacer.close()


async def test_repairs_leave_before_the_pictures_that_wait() -> None:
    wire, pacer = Wire(), Pacer(lambda: None)
    stream = wire.stream()
    pacer.target_bps = 1_000_000
    pacer.push(stream, picture(stream, 40))
    sent = len(wire.packets)
    pacer.repair(stream, [wire.parsed[0].sequence, wire.parsed[1].sequence, 9])
    assert await until(lambda: len(wire.packets) == 42)
    again = [p.sequence for p in wire.parsed[sent : sent + 2]]
    assert again == [wire.parsed[0].sequence, wire.parsed[1].sequence]
    pacer.close()


async def test_questions_without_end_are_bounded() -> None:
    wire, pacer = Wire(), Pacer(lambda: None)
    stream = wire.stream()
    pacer.target_bps = FLOOR_BPS
    pacer.push(stream, picture(stream, 20))
    for _ in range(50):
        pacer.repair(stream, list(range(500)))
        assert len(pacer._repairs) <= MAX_REPAIRS
    pacer.close()


async def test_repairs_leave_room_for_pictures() -> None:
    """All of a run-over queue is asked for again: new pictures leave all the same."""
    wire, pacer = Wire(), Pacer(lambda: None)
    stream = wire.stream(rtx_ssrc=REPAIR, rtx_payload_type=97)
    pacer.target_bps = 8_000_000
    pacer.push(stream, picture(stream, 300))
    assert await until(lambda: len(wire.packets) == 300)
    lost = [p.sequence for p in wire.parsed]
    pacer.target_bps = 400_000
    began, before = time.monotonic(), len(wire.packets)
    for _ in range(3):
        pacer.repair(stream, lost)
    while time.monotonic() < began + 0.5:
        pacer.push(stream, picture(stream, 2, 800))
        await asyncio.sleep(1 / 30)
    took = time.monotonic() - began
    repairs = sum(size for _, p, size in wire.packets[before:] if p.ssrc == REPAIR)
    pictures = sum(size for _, p, size in wire.packets[before:] if p.ssrc == MAIN)
    assert 0 < repairs <= 400_000 / 8 * (0.25 + 0.2 * took) + PACKET
    assert pictures > 10_000
    numbers = [p.payload[:2] for p in wire.parsed[before:] if p.ssrc == REPAIR]
    assert len(set(numbers)) == len(numbers), "asked for three times, sent once"
    pacer.close()


async def test_too_much_is_let_go_at_once_and_a_large_picture_is_not() -> None:
    overflows: list[int] = []
    wire, pacer = Wire(), Pacer(lambda: overflows.append(1))
    stream = wire.stream()
    pacer.target_bps = 200_000
    pacer.push(stream, picture(stream, 80))
    assert not overflows, "a keyframe alone, however long it takes, is what was asked for"
    assert pacer.backlog_s > 1
    pacer.push(stream, picture(stream, 1))
    assert overflows == [1]
    assert pacer.backlog_s == 0
    count = len(wire.packets)
    await asyncio.sleep(0.03)
    assert len(wire.packets) == count
    pacer.push(stream, picture(stream, 1))
    assert await until(lambda: len(wire.packets) == count + 1), "and it goes on"
    pacer.close()


async def test_nothing_of_what_is_dropped_leaves() -> None:
    wire, pacer = Wire(), Pacer(lambda: None)
    muted, other = wire.stream(), wire.stream(ssrc=9)
    pacer.target_bps = 1_000_000
    pacer.push(muted, picture(muted, 30))
    pacer.push(other, picture(other, 3))
    pacer.repair(muted, [wire.parsed[0].sequence])
    pacer.drop(muted)
    count = len(wire.packets)
    assert await until(lambda: sum(p.ssrc == 9 for p in wire.parsed) == 3)
    pacer.repair(muted, [wire.parsed[0].sequence])
    assert not any(p.ssrc == MAIN for p in wire.parsed[count:])
    pacer.push(muted, picture(muted, 1))
    pacer.repair(muted, [wire.parsed[0].sequence])
    assert await until(lambda: sum(p.ssrc == MAIN for p in wire.parsed[count:]) == 2), "until it sends again"
    pacer.close()
    pacer.push(other, picture(other, 1))
    pacer.probe(Probe(1, 1_000_000, 5, 1000))
    pacer.repair(other, [1])
    assert sum(p.ssrc == 9 for p in wire.parsed) == 3, "nor anything after the end"


async def test_before_a_keyframe_that_follows_a_hold_nothing_is_repaired() -> None:
    wire, pacer = Wire(), Pacer(lambda: None)
    stream, other = wire.stream(), wire.stream(ssrc=9)
    pacer.target_bps = 2_000_000
    for which in (stream, other):
        pacer.push(which, picture(which, 3))
    assert await until(lambda: len(wire.packets) == 6)
    pacer.hold(0.05)
    asked = {which.ssrc: [p.sequence for p in wire.parsed if p.ssrc == which.ssrc] for which in (stream, other)}
    for which in (stream, other):
        pacer.repair(which, asked[which.ssrc])
    pacer.push(stream, picture(stream, 2), keyframe=True)
    assert await until(lambda: len(wire.packets) == 11)
    assert [p.ssrc for p in wire.parsed[6:]] == [9, 9, 9, MAIN, MAIN], "what waited for the other goes on"
    pacer.repair(stream, [asked[MAIN][-1], wire.parsed[-2].sequence, wire.parsed[-1].sequence])
    await asyncio.sleep(0.05)
    assert [p.sequence for p in wire.parsed[11:]] == [wire.parsed[9].sequence, wire.parsed[10].sequence], "of the keyframe itself all"
    pacer.held_until -= SOON_S
    pacer.push(other, picture(other, 2, 40), keyframe=True)
    pacer.repair(other, [asked[9][0]])
    assert await until(lambda: [p.sequence for p in wire.parsed[14:] if p.ssrc == 9].count(asked[9][0]) == 1), "at other times all is"
    pacer.close()


async def test_what_is_held_leaves_later_and_in_order() -> None:
    wire, pacer = Wire(), Pacer(lambda: None)
    stream = wire.stream()
    pacer.target_bps = 4_000_000
    pacer.hold(0.1)
    began = time.monotonic()
    pacer.probe(Probe(1, 1_000_000, 5, 1000))
    pacer.push(stream, picture(stream, 3))
    await asyncio.sleep(0.05)
    assert not wire.packets
    assert await until(lambda: len(wire.packets) >= 3)
    assert wire.packets[0][0] - began >= 0.099
    numbers = [p.sequence for p in wire.parsed[:3]]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    pacer.close()


@pytest.mark.parametrize("repairs", [True, False])
async def test_a_probe_has_its_own_rate_and_is_padded(repairs: bool) -> None:
    wire, pacer, numbers = Wire(), Pacer(lambda: None), TransportNumbers()
    stream = wire.stream(numbers, **({"rtx_ssrc": REPAIR, "rtx_payload_type": 97} if repairs else {}))
    pacer.padding = lambda: stream
    pacer.target_bps = 300_000
    pacer.push(stream, picture(stream, 1))
    assert await until(lambda: len(wire.packets) == 1)
    pacer.probe(Probe(7, 2_000_000, 5, 6_000))
    assert await until(lambda: sum(size for _, _, size in wire.packets[1:]) >= 6_000)
    probe = wire.packets[1:]
    assert len(probe) >= 5
    took = probe[-1][0] - probe[0][0]
    assert took > 0.5 * 8 * 5_000 / 2_000_000, "not all at once"
    assert took < 0.5, "at the probe's rate"
    if repairs:
        assert {p.ssrc for _, p, _ in probe} == {REPAIR}
        assert all(p.payload_type == 97 and p.payload[:2] == wire.parsed[0].sequence.to_bytes(2, "big") for _, p, _ in probe)
        assert all(p.payload[2:] == wire.parsed[0].payload for _, p, _ in probe)
    else:
        assert {p.ssrc for _, p, _ in probe} == {MAIN}
        assert all(not p.payload and p.padding for _, p, _ in probe)
        assert [p.sequence for _, p, _ in probe] == [(wire.parsed[0].sequence + 1 + k) & 0xFFFF for k in range(len(probe))]
    base = int.from_bytes(wire.parsed[0].extensions[3], "big")
    told = numbers.report(TransportFeedback(1, 2, base, 10, 0, (0,) * len(wire.packets)))
    assert [r.probe for r in told] == [0] + [7] * len(probe)
    pacer.close()


async def test_a_probe_without_anything_to_send_waits_and_is_given_up() -> None:
    wire, pacer = Wire(), Pacer(lambda: None)
    pacer.probe(Probe(1, 1_000_000, 5, 1_000))
    await asyncio.sleep(0.05)
    assert not wire.packets
    pacer._probe_since -= 2
    assert await until(lambda: not pacer._probes)
    pacer.close()


async def test_without_repairs_padding_never_parts_a_picture() -> None:
    wire = Wire()
    stream = wire.stream()
    first, last = picture(stream, 2)
    stream.transmit(first, 1.0)
    assert stream.pad(1.0) == 0
    stream.transmit(last, 1.0)
    assert stream.pad(1.0) > 200


async def test_numbers_history_and_reports() -> None:
    wire, numbers = Wire(), TransportNumbers()
    stream = wire.stream(numbers)
    assert stream.sender_report(time.monotonic()) is None
    for k in range(5):
        stream.transmit(stream.packet(bytes((k,)), 960 * k, marker=False), time.monotonic())
    given = [int.from_bytes(p.extensions[3], "big") for p in wire.parsed]
    assert given == list(range(given[0], given[0] + 5))
    assert stream.repair(wire.parsed[2].sequence, time.monotonic()) > 0
    assert stream.repair(4242, time.monotonic()) == 0
    again = wire.parsed[-1]
    assert (again.sequence, again.payload) == (wire.parsed[2].sequence, b"\x02")
    assert int.from_bytes(again.extensions[3], "big") == given[0] + 5, "a repetition has a number of its own"
    results = numbers.report(TransportFeedback(1, 2, given[0], 10, 0, (0, None, 250)))
    assert [r.received_at is None for r in results] == [False, True, False]
    assert (numbers.reported, numbers.lost) == (3, 1)
    assert 1 in again.extensions
    stream.note_report(ReportBlock(stream.ssrc, 64, 3, 5, 7))
    assert stream.fraction_lost == 0.25
    assert 1 not in parse_rtp(bytes(stream.packet(b"", 0, marker=False))).extensions, "once it is known, mid need not travel"
    report = stream.sender_report(time.monotonic())
    assert report is not None
    assert parse_rtcp(report)[0].packets == 5  # type: ignore[union-attr]


async def test_a_layer_is_named_by_rid_and_its_repairs_by_theirs() -> None:
    wire = Wire()
    stream = wire.stream(rid="q", rid_id=4, repaired_rid_id=5, rtx_ssrc=REPAIR, rtx_payload_type=97)
    stream.transmit(stream.packet(b"picture", 77, marker=True), 1.0)
    (first,) = wire.parsed
    assert (first.extensions[1], first.extensions[4]) == (b"1", b"q")
    stream.note_report(ReportBlock(stream.ssrc, 0, 0, 5, 7))
    stream.transmit(stream.packet(b"picture", 78, marker=True), 1.0)
    assert not wire.parsed[-1].extensions.keys() & {1, 4}
    assert stream.repair(first.sequence, 1.1) > 0
    repair = wire.parsed[-1]
    assert (repair.ssrc, repair.payload_type, repair.timestamp, repair.marker) == (REPAIR, 97, 77, True)
    assert repair.payload == first.sequence.to_bytes(2, "big") + b"picture"
    assert (repair.extensions[1], repair.extensions[5]) == (b"1", b"q")
    assert stream.repair(first.sequence, 1.101) == 0, "it was just repeated"
    wire.up = False
    assert stream.repair(first.sequence, 1.5) == 0
    assert not stream.transmit(stream.packet(b"picture", 79, marker=True), 1.5)


async def test_the_connection_follows_its_feedback() -> None:
    """Numbers, estimate, probes and pacer as one: over a way that takes everything the target rises and the pace with it."""
    wire, changes = Wire(), []
    streams: list[OutgoingStream] = []
    control = SendControl(lambda: None, lambda: streams, lambda: changes.append(control.target_bps))
    assert not control.governs
    streams.append(wire.stream(control.numbers, rtx_ssrc=REPAIR, rtx_payload_type=97))
    assert control.governs
    assert control.target_bps == START_BPS
    control.allow(2_000_000, 2_000_000)
    told = 0

    def answer() -> bool:
        nonlocal told
        control.pacer.push(streams[0], picture(streams[0], 2, int(control.media_bps / 8 / 30 / 2)))
        new = wire.packets[told:]
        if len(new) > 2:
            told = len(wire.packets)
            base = int.from_bytes(new[0][1].extensions[3], "big")
            ticks = [round((at + 0.02) * 4000) for at, _, _ in new]
            reference = ticks[0] // 256
            deltas = [ticks[0] - 256 * reference, *(b - a for a, b in itertools.pairwise(ticks))]
            control.on_feedback(TransportFeedback(1, 2, base, reference, 0, tuple(250 * d for d in deltas)), time.monotonic())
        control.tick(time.monotonic())
        return control.target_bps >= 2_000_000

    ends = time.monotonic() + 8
    while not answer() and time.monotonic() < ends:  # noqa: ASYNC110 - it is the clock of a camera
        await asyncio.sleep(1 / 30)
    assert control.target_bps >= 2_000_000
    assert control.probed >= 2
    assert changes
    assert control.pacer.target_bps <= ROOM * 2_000_000
    assert control.report()["loss"] == 0
    assert 0.8 <= control.media_bps / control.target_bps <= 1
    control.close()

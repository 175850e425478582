"""What a receiver tells for a whole connection: the kind that was asked for, often enough, and never more than its share."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidconf.rtp.receive_rate import SEND_TIME_HZ
from vidconf.rtp.receiver_feedback import MAX_REPORT_S, OVERHEAD, ReceiverFeedback
from vidconf.rtp.rtcp import Remb, TransportFeedback, parse_rtcp

NUMBER, SEND_TIME = 5, 3


def extensions(k: int, now: float) -> dict[int, bytes]:
    return {NUMBER: (k & 0xFFFF).to_bytes(2, "big"), SEND_TIME: (int(now * SEND_TIME_HZ) & 0xFFFFFF).to_bytes(3, "big"), 9: b"x"}


def run(feedback: ReceiverFeedback, *, per_s: int, size: int, seconds: float, streams: int = 1) -> list[tuple[float, bytes]]:
    """Packets evenly over time; `due` asked every 20 ms."""
    sent: list[tuple[float, bytes]] = []
    asked = now = 50.0
    for k in range(int(per_s * seconds)):
        now = 50.0 + k / per_s
        feedback.received(extensions(k, now), size, now)
        while asked <= now:
            sent += [(asked, packet) for packet in feedback.due(tuple(range(1000, 1000 + streams)), asked)]
            asked += 0.02
    return sent


def test_numbers_are_reported_whole_every_50_to_100_ms() -> None:
    feedback = ReceiverFeedback(1)
    feedback.asked(NUMBER, SEND_TIME)
    sent = run(feedback, per_s=500, size=900, seconds=5)
    reported: list[int] = []
    for _, data in sent:
        (report,) = parse_rtcp(data)
        assert isinstance(report, TransportFeedback)
        reported += [report.base + k for k, delta in enumerate(report.packets) if delta is not None]
    assert reported == list(range(len(reported)))
    assert len(reported) > 2400
    times = [at for at, _ in sent]
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.101


def test_without_numbers_the_estimate_is_told_for_all_streams() -> None:
    feedback = ReceiverFeedback(7)
    feedback.asked(0, SEND_TIME)
    sent = run(feedback, per_s=300, size=1000, seconds=6, streams=4)
    assert 15 < len(sent) < 32
    for _, data in sent:
        (remb,) = parse_rtcp(data)
        assert isinstance(remb, Remb)
        assert remb.sender == 7
        assert remb.ssrcs == (1000, 1001, 1002, 1003)
        assert remb.bitrate_bps > 2_300_000


def test_what_was_not_asked_for_is_not_told() -> None:
    feedback = ReceiverFeedback(1)
    assert run(feedback, per_s=300, size=1000, seconds=3) == []
    feedback = ReceiverFeedback(1)
    feedback.asked(0, SEND_TIME)
    assert feedback.due((), 100.0) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 600), st.integers(60, 1200), st.booleans(), st.integers(1, 40))
def test_it_takes_no_more_than_its_share(per_s: int, size: int, numbers: bool, streams: int) -> None:
    feedback = ReceiverFeedback(1)
    feedback.asked(NUMBER if numbers else 0, SEND_TIME)
    sent = run(feedback, per_s=per_s, size=size, seconds=10, streams=streams)
    came = 10 * per_s * size
    # at the longest interval it says what it must
    least = 11 * (1 / 0.25 * (28 + OVERHEAD) + 3 * per_s if numbers else 20 + 124 + OVERHEAD)
    assert sum(len(data) + OVERHEAD for _, data in sent) <= max(0.05 * came, least)


def test_reports_come_each_second_and_more_seldom_where_little_flows() -> None:
    feedback = ReceiverFeedback(1)
    assert feedback.report_interval_s(60, 0.0) == MAX_REPORT_S
    run(feedback, per_s=300, size=1000, seconds=3)
    assert feedback.report_interval_s(500, 53.0) == 1.0
    assert feedback.report_interval_s(30_000, 53.0) == MAX_REPORT_S


@given(st.dictionaries(st.integers(0, 255), st.binary(max_size=20), max_size=6), st.booleans())
def test_extensions_of_any_length_are_taken(found: dict[int, bytes], numbers: bool) -> None:
    feedback = ReceiverFeedback(1)
    feedback.asked(NUMBER if numbers else 0, SEND_TIME)
    for k in range(30):
        feedback.received(found, 1000, 10.0 + k / 10)
        for data in feedback.due((1,), 10.0 + k / 10):
            assert parse_rtcp(data)


@pytest.mark.parametrize("streams", [1, 31, 200])
def test_many_streams_still_make_one_packet(streams: int) -> None:
    feedback = ReceiverFeedback(1)
    feedback.asked(0, SEND_TIME)
    sent = run(feedback, per_s=300, size=1000, seconds=3, streams=streams)
    assert sent
    assert all(len(data) <= 20 + 4 * 31 for _, data in sent)

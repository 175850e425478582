"""Feedback, statistics, NACK and the rate that follows them, with an explicit clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.feedback import TransportFeedbackBuilder, TransportFeedbackReader
from vidconf.rtp.nack import MAX_TRIES, NackScheduler, SendHistory
from vidconf.rtp.rtcp import TransportFeedback, parse_rtcp
from vidconf.rtp.statistics import ReceiverStatistics, ntp_time, round_trip_s, sequence_unwrapper, timestamp_unwrapper


@given(st.integers(0, 65535), st.lists(st.integers(-3000, 3000), max_size=60))
def test_unwrapping_follows_small_steps_both_ways(start: int, steps: list[int]) -> None:
    unwrap = sequence_unwrapper()
    value = highest = start
    assert unwrap.unwrap(start) == start
    for step in steps:
        value = max(highest + step, highest - 3000)
        assert unwrap.unwrap(value & 0xFFFF) == value
        highest = max(highest, value)


def test_timestamps_wrap() -> None:
    unwrap = timestamp_unwrapper()
    assert unwrap.unwrap(0xFFFFFFF0) == 0xFFFFFFF0
    assert unwrap.unwrap(0x10) == 0x1_0000_0010


@given(st.integers(0, 65535), st.lists(st.booleans(), min_size=1, max_size=300), st.lists(st.integers(0, 40), min_size=300, max_size=300))
def test_every_arrival_is_reported_once_and_in_time(start: int, came: list[bool], gaps_ms: list[int]) -> None:
    builder, reader = TransportFeedbackBuilder(1), TransportFeedbackReader()
    now, arrivals, seen = 100.0, {}, {}
    for k, arrived in enumerate(came):
        now += gaps_ms[k] / 1000
        reader.sent(start + k, 100, now - 0.05)
        if arrived:
            arrivals[(start + k) & 0xFFFF] = now
            builder.received((start + k) & 0xFFFF, now)
        if k % 20 == 19 or k == len(came) - 1:
            while report := builder.build(2):
                (read,) = parse_rtcp(report.to_bytes())
                assert isinstance(read, TransportFeedback)
                for result in reader.report(read):
                    if result.received_at is not None:
                        assert result.sequence not in seen
                        seen[result.sequence] = result.received_at
    assert set(seen) == set(arrivals)
    for number, at in seen.items():
        assert abs(at - arrivals[number]) < 0.002


def test_a_long_silence_does_not_break_the_reports() -> None:
    builder = TransportFeedbackBuilder(1)
    builder.received(1, 10.0)
    builder.received(2, 30.0)
    reports = [builder.build(2), builder.build(2), builder.build(2)]
    assert sum(1 for r in reports if r for p in r.packets if p is not None) == 2


def test_receiver_statistics_count_loss_and_jitter() -> None:
    stats = ReceiverStatistics(7, 90_000)
    for k in range(100):
        if k % 10 != 5:
            stats.received((65500 + k) & 0xFFFF, 3000 * k, 1000, k / 30)
    assert (stats.expected, stats.packets, stats.lost) == (100, 90, 10)
    assert stats.jitter < 1
    block = stats.block(4.0)
    assert (block.fraction_lost, block.lost, block.highest) == (25, 10, 65599)
    assert stats.block(4.1).fraction_lost == 0


def test_a_sender_that_numbers_anew_is_counted_on_and_a_stray_packet_is_not() -> None:
    stats = ReceiverStatistics(7, 90_000)
    for k in range(100):
        stats.received(1000 + k, 3000 * k, 1000, k / 30)
    stats.received(40_000, 0, 1000, 3.3)                # stray
    assert (stats.expected, stats.packets, stats.lost) == (100, 100, 0)
    stats.received(1100, 300_000, 1000, 100 / 30)
    assert (stats.expected, stats.lost) == (101, 0)
    for k in range(50):
        stats.received((65_530 + k) & 0xFFFF, 9_000_000 + 3000 * k, 1000, 5 + k / 30)
    # the first of the new ones was not yet believed
    assert (stats.expected, stats.packets, stats.lost) == (150, 150, 0)
    assert stats.block(7.0).highest == 65_530 + 49
    assert stats.jitter < 1


@given(st.integers(0, 65535), st.lists(st.booleans(), min_size=1, max_size=200))
def test_loss_is_what_did_not_come(start: int, came: list[bool]) -> None:
    stats = ReceiverStatistics(7, 90_000)
    held = [True, *came, True]
    for k, arrived in enumerate(held):
        if arrived:
            stats.received((start + k) & 0xFFFF, 3000 * k, 100, k / 30)
    assert (stats.expected, stats.lost) == (len(held), held.count(False))
    block = stats.block(99.0)
    assert block.lost == held.count(False)
    assert block.fraction_lost == min(255, held.count(False) * 256 // len(held))


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, (1 << 32) - 1), st.floats(0, 10)), max_size=200))
def test_any_numbers_make_a_block_that_can_be_sent(packets: list[tuple[int, int, float]]) -> None:
    stats, now = ReceiverStatistics(7, 90_000), 0.0
    for sequence, timestamp, step in packets:
        now += step
        stats.received(sequence, timestamp, 10, now)
    block = stats.block(now)
    assert 0 <= block.fraction_lost <= 255
    assert len(block.to_bytes()) == 24


def test_who_is_silent_is_not_reported() -> None:
    stats = ReceiverStatistics(7, 90_000)
    assert not stats.heard
    stats.received(1, 0, 10, 0.0)
    assert stats.heard
    stats.block(1.0)
    assert not stats.heard


def test_round_trip_from_a_report() -> None:
    stats = ReceiverStatistics(7, 90_000)
    stats.received(1, 0, 1, 5.0)
    sent = ntp_time(1_700_000_000.0)
    stats.sender_report(sent, 5.0)
    block = stats.block(5.2)
    rtt = round_trip_s(block, ntp_time(1_700_000_000.25))
    assert rtt is not None
    assert abs(rtt - 0.05) < 0.001


def test_nack_asks_once_a_round_trip_and_gives_up() -> None:
    nack = NackScheduler()
    nack.received(10, 0.0)
    nack.received(14, 0.0)
    assert nack.due(0.0, 0.1) == [11, 12, 13]
    assert nack.due(0.02, 0.1) == []
    assert nack.received(12, 0.05) == 1
    assert nack.due(0.11, 0.1) == [11, 13]
    for k in range(2, 20):
        nack.due(k * 0.11, 0.1)
    assert nack.missing == 0
    assert nack.gave_up == 2
    assert nack.asked <= 3 + 2 * MAX_TRIES


@given(st.lists(st.integers(0, 65535), max_size=400))
def test_nack_stays_bounded_whatever_comes(numbers: list[int]) -> None:
    nack = NackScheduler()
    for k, number in enumerate(numbers):
        nack.received(number, k * 0.001)
        assert nack.missing <= 1000


def test_history_answers_what_is_fresh_and_not_twice_at_once() -> None:
    history = SendHistory(capacity=3, max_age_s=1.0, repeat_s=0.02)
    for k in range(5):
        history.put(k, bytes([k]), 0.0)
    assert history.get(1, 0.1) is None
    assert history.get(4, 0.1) == b"\4"
    assert history.get(4, 0.11) is None
    assert history.get(4, 0.2) == b"\4"
    assert history.get(4, 1.5) is None
    assert history.padding(1.5) is None
    assert {history.padding(0.9 + k / 100) for k in range(3)} == {b"\2", b"\3", b"\4"}, "they take turns"


def test_what_does_not_come_is_told_once_and_again_only_when_it_has_come_after_all() -> None:
    reader = TransportFeedbackReader()
    for number in range(3):
        reader.sent(number, 100, 1.0)
    told = [r.received_at is None for r in reader.report(TransportFeedback(1, 2, 0, 10, 0, (0, None, 250)))]
    assert told == [False, True, False]
    assert reader.report(TransportFeedback(1, 2, 0, 10, 1, (0, None, 250))) == [], "it was told"
    (late,) = reader.report(TransportFeedback(1, 2, 1, 10, 2, (1000,)))
    assert late.sequence == 1
    assert late.received_at == pytest.approx(0.641)
    assert reader.report(TransportFeedback(1, 2, 1, 10, 3, (1000,))) == []


def test_the_first_packets_of_a_stream_are_no_loss_until_one_has_come() -> None:
    reader = TransportFeedbackReader()
    for number in range(6):
        reader.sent(number, 100, 1.0, stream=7 if number else 0)
    told = reader.report(TransportFeedback(1, 2, 0, 10, 0, (None, None, None, 250, None, 250)))
    assert [(r.sequence, r.received_at is None) for r in told] == [(0, True), (3, False), (4, True), (5, False)]


def test_arrival_times_go_on_when_the_reference_wraps() -> None:
    reader, last = TransportFeedbackReader(), (1 << 24) - 1
    for number in range(3):
        reader.sent(number, 100, 1.0)
    before = reader.report(TransportFeedback(1, 2, 0, last, 0, (250,)))[0].received_at
    after = reader.report(TransportFeedback(1, 2, 1, 0, 1, (250,)))[0].received_at
    late = reader.report(TransportFeedback(1, 2, 2, last, 2, (500,)))[0].received_at
    assert before is not None
    assert after is not None
    assert late is not None
    assert after - before == pytest.approx(0.064)
    assert late - before == pytest.approx(0.00025), "a report of before that comes late is of before"


@given(st.lists(st.tuples(st.integers(0, 65535), st.floats(0, 1)), max_size=300))
def test_whatever_numbers_come_the_reports_stay_writable_and_bounded(arrivals: list[tuple[int, float]]) -> None:
    builder, now = TransportFeedbackBuilder(1), 0.0
    for number, step in arrivals:
        now += step
        builder.received(number, now)
        report = builder.build(2)
        if report is not None:
            assert len(report.packets) <= 1024
            assert parse_rtcp(report.to_bytes()) == [report]
    for _ in range(len(arrivals) + 70):
        if builder.build(2) is None:
            break
    assert builder.build(2) is None

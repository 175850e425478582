"""The audio jitter buffer against drawn networks, with an explicit clock."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.jitter_buffer import AudioJitterBuffer, Conceal, Play, Silence


def run(delays: list[float | None], tail_s: float = 1.0, start: float = 50.0) -> tuple[AudioJitterBuffer, list[object], list[float]]:
    """Packet k is sent at k × 20 ms and arrives `delays[k]` later (None: never). Pulls every 20 ms."""
    buffer = AudioJitterBuffer()
    arrivals = sorted((start + k * 0.02 + d, k) for k, d in enumerate(delays) if d is not None)
    played, levels, at = [], [], 0
    for tick in range(int(len(delays) + tail_s / 0.02)):
        now = start + tick * 0.02 + 0.001
        while at < len(arrivals) and arrivals[at][0] <= now:
            k = arrivals[at][1]
            buffer.push(k & 0xFFFF, k * 960, k.to_bytes(4, "big"), arrivals[at][0])
            at += 1
        played.append(buffer.pull(now))
        levels.append(buffer.level_s)
    return buffer, played, levels


def numbers(played: list[object]) -> list[int]:
    return [int.from_bytes(p.payload, "big") for p in played if isinstance(p, Play)]


def test_a_clean_network_plays_everything_with_little_delay() -> None:
    _, played, levels = run([0.02] * 500)
    assert len(set(range(490)) - set(numbers(played))) <= 2, "one or two are left out while the delay shrinks to its least"
    assert sum(isinstance(p, Conceal) for p in played[:480]) == 0
    assert max(levels[100:480]) <= 0.06


def test_jitter_raises_the_delay_and_hides_itself() -> None:
    rnd = random.Random(4)
    delays, last = [], 0.0
    for k in range(2000):
        arrival = max(last, k * 0.02 + 0.02 + abs(rnd.gauss(0, 0.02)))
        delays.append(arrival - k * 0.02)
        last = arrival
    buffer, played, _ = run(delays)
    assert sum(isinstance(p, Conceal) for p in played[300:1990]) < 0.03 * 1690
    assert buffer.target_s >= 0.06


def test_a_burst_is_forgotten_within_five_seconds() -> None:
    delays = [0.02] * 200 + [0.52 - 0.02 * k for k in range(25)] + [0.02] * 500
    _, played, levels = run(delays)
    assert max(levels[475:700]) <= 0.1
    got = numbers(played)
    assert got == sorted(got)


def test_loss_is_concealed_and_told_apart_from_silence() -> None:
    delays: list[float | None] = [None if k % 10 == 5 else 0.02 for k in range(400)]
    _, played, _ = run(delays)
    concealed = sum(isinstance(p, Conceal) for p in played[20:390])
    assert 30 <= concealed <= 45
    assert any(isinstance(p, Conceal) and p.next_payload for p in played)


def test_a_mute_is_silence_not_concealment() -> None:
    delays: list[float | None] = [0.02] * 100 + [None] * 200 + [0.02] * 100
    _, played, _ = run(delays)
    assert sum(isinstance(p, Conceal) for p in played) < 20, "a tenth of a second each time sending stops"
    assert all(isinstance(p, Silence) for p in played[120:290])
    assert len(numbers(played)) > 190


def feed(packets: list[tuple[float, int, int]], until: float) -> tuple[AudioJitterBuffer, list[object]]:
    """(arrival, sequence, timestamp) each; a pull every 20 ms."""
    buffer, played, at = AudioJitterBuffer(), [], 0
    for tick in range(int(until / 0.02)):
        now = tick * 0.02 + 0.001
        while at < len(packets) and packets[at][0] <= now:
            buffer.push(packets[at][1] & 0xFFFF, packets[at][2] & 0xFFFFFFFF, packets[at][1].to_bytes(4, "big"), packets[at][0])
            at += 1
        played.append(buffer.pull(now))
    return buffer, played


def test_dtx_is_not_counted_as_loss() -> None:
    packets, now, sequence, stamp = [], 1.0, 0, 0
    for _ in range(10):
        for _ in range(25):     # half a second of speech …
            packets.append((now, sequence, stamp))
            now, sequence, stamp = now + 0.02, sequence + 1, stamp + 960
        for _ in range(3):      # … and one and a fifth of nothing but a packet each 400 ms
            packets.append((now, sequence, stamp))
            now, sequence, stamp = now + 0.4, sequence + 1, stamp + 19200
    buffer, played = feed(packets, now)
    assert buffer.concealed == 0
    assert len(numbers(played)) > 250
    assert buffer.target_s <= 0.06


def test_an_outage_is_counted() -> None:
    for gap in (5, 50):
        packets = [(k * 0.02, k, k * 960) for k in range(400) if not 200 <= k < 200 + gap]
        assert 4 <= feed(packets, 8.0)[0].concealed <= gap
    packets = [(k * 0.02 + (0.3 if 200 <= k < 215 else 0.0), k, k * 960) for k in range(400)]
    packets.sort()
    assert feed(packets, 8.0)[0].concealed >= 5


def test_a_sender_whose_clock_stands_still_while_muted_does_not_raise_the_delay() -> None:
    packets = [(k * 0.02 + (1.5 if k >= 100 else 0.0), k, k * 960) for k in range(400)]
    buffer, played = feed(packets, 10.0)
    assert buffer.target_s <= 0.06
    assert len(numbers(played)) > 390


def test_one_lost_packet_costs_one_concealment_and_no_delay() -> None:
    packets = [(k * 0.02 + 0.01, k, k * 960) for k in range(600) if k not in (150, 250, 350, 450)]
    buffer, played = feed(packets, 12.0)
    assert sum(isinstance(p, Conceal) for p in played[100:590]) == 4
    assert buffer.concealed == 4


def test_numbers_that_begin_anew_are_followed() -> None:
    packets = [(k * 0.02, 30_000 + k, k * 960) for k in range(100)] + [(2 + k * 0.02, 10_000 + k, k * 960) for k in range(100)]
    _, played = feed(packets, 5.0)
    assert sum(n < 30_000 for n in numbers(played)) > 65


def test_a_slower_and_a_faster_clock_are_followed_without_end() -> None:
    for drift in (0.9995, 1.0005):
        packets = [(k * 0.02 * drift, k, k * 960) for k in range(20_000)]
        buffer, played = feed(packets, 400 * drift)
        assert sum(isinstance(p, Conceal) for p in played[100:-20]) < 30
        assert buffer.skipped < 30
        assert buffer.level_s < 0.12


@given(st.lists(st.none() | st.floats(0, 1.5), min_size=1, max_size=300))
def test_order_is_kept_and_nothing_is_played_twice(delays: list[float | None]) -> None:
    buffer, played, _ = run(delays, tail_s=3.0)
    got = numbers(played)
    assert got == sorted(set(got))
    assert buffer.level_s <= 2.0


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, (1 << 32) - 1), st.binary(max_size=10), st.floats(0, 0.1)), max_size=300))
def test_garbage_does_not_break_or_grow_it(packets: list[tuple[int, int, bytes, float]]) -> None:
    buffer, now = AudioJitterBuffer(), 0.0
    for sequence, timestamp, payload, step in packets:
        now += step
        buffer.push(sequence, timestamp, payload, now)
        buffer.pull(now)
        assert buffer.level_s <= 2.0
        assert 0.04 <= buffer.target_s <= 0.5

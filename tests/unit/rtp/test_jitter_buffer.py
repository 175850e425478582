"""The audio jitter buffer against drawn networks, with an explicit clock and a decoder that only counts."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.jitter_buffer import AudioJitterBuffer, Conceal, Play, Recover, Silence

BLOCK = 960
PERIOD = 400
"""Samples that the stretching of a voice adds or takes at a time."""
Packet = tuple[float, int, int, bytes]
"""Arrival, sequence, timestamp, payload."""


def payload(number: int, milliseconds: float = 20, repair: bool = False) -> bytes:
    """A packet whose first byte is Opus's own: hybrid for 10 and 20 ms (with the repair of the one before, if wanted), SILK of 60 ms,
    CELT of 2.5. The rest is its number."""
    head = {20: 0x78, 10: 0x70, 60: 0x58, 2.5: 0xE0}[milliseconds]
    return bytes((head, 0x40 if repair else 0x00)) + number.to_bytes(4, "big")


def number_of(data: bytes) -> int:
    return int.from_bytes(data[2:6], "big")


class Listener:
    """Pulls as the stream does: until a block is full. Decoding and stretching are arithmetic here."""

    def __init__(self, speaking: bool = False) -> None:
        self.buffer, self.speaking = AudioJitterBuffer(), speaking
        self.ahead = 0
        self.heard: list[int] = []
        self.decisions: list[Play | Recover | Conceal | Silence] = []
        self.delays: list[float | None] = []
        """Of each block, against the sender's clock; None for silence."""

    def block(self, now: float, base_s: float = 0.0) -> None:
        while self.ahead < BLOCK:
            decision = self.buffer.pull(now, self.ahead)
            self.decisions.append(decision)
            if isinstance(decision, Silence):
                self.ahead = 0
                self.delays.append(None)
                return
            if isinstance(decision, Play):
                self._play(decision)
            else:
                assert decision.samples > 0
                assert decision.samples % 120 == 0
                self.ahead += decision.samples
        self.delays.append(now - base_s - (self.buffer.next_stamp - self.ahead) / 48_000)
        self.ahead -= BLOCK

    def _play(self, decision: Play) -> None:
        assert decision.payloads
        for data in decision.payloads:
            self.heard.append(number_of(data))
            self.ahead += {0x78: 960, 0x70: 480, 0x58: 2880, 0xE0: 120}[data[0]]
        if decision.stretch and not (decision.patient and self.speaking):
            changed = PERIOD if decision.stretch > 0 else -min(PERIOD, self.ahead // 2)
            self.ahead += changed
            self.buffer.stretched(changed)

    def count(self, kind: type) -> int:
        return sum(isinstance(d, kind) for d in self.decisions)


def listen(packets: list[Packet], until: float, listener: Listener | None = None, copies: Callable[[int], list[int]] = lambda k: []) -> Listener:
    """A block every 20 ms; `copies`: numbers that a packet carries once more."""
    listener, at = listener or Listener(), 0
    packets = sorted(packets)
    for tick in range(int(until / 0.02)):
        now = tick * 0.02 + 0.001
        while at < len(packets) and packets[at][0] <= now:
            arrived, sequence, stamp, data = packets[at]
            listener.buffer.push(sequence & 0xFFFF, stamp & 0xFFFFFFFF, data, arrived)
            for copy in copies(sequence):
                listener.buffer.push(copy & 0xFFFF, (stamp + (copy - sequence) * BLOCK) & 0xFFFFFFFF, payload(copy), arrived, copy=True)
            at += 1
        listener.block(now)
    return listener


def sent(count: int, delay: Callable[[int], float | None] = lambda k: 0.01, start: int = 0, repair: bool = False) -> list[Packet]:
    """Packet k leaves at k × 20 ms and arrives `delay(k)` later (None: never)."""
    return [(k * 0.02 + d, k, k * BLOCK, payload(k, repair=repair)) for k in range(start, start + count) if (d := delay(k)) is not None]


@pytest.mark.parametrize("speaking", [False, True])
def test_a_clean_network_plays_everything_once_with_little_delay(speaking: bool) -> None:
    heard = listen(sent(500), 10.0, Listener(speaking))
    assert heard.heard == list(range(heard.heard[-1] + 1))
    assert heard.count(Conceal) == heard.buffer.skipped == 0
    assert max(d for d in heard.delays[100:] if d is not None) <= 0.07
    assert 0.02 < heard.buffer.mean_delay_s <= 0.06


@pytest.mark.parametrize("speaking", [False, True])
def test_a_small_surplus_goes_in_the_next_pause_and_only_there(speaking: bool) -> None:
    """The first packets come 9 ms later than the others: less than a period too late is let be while somebody speaks."""
    heard = listen(sent(1500, lambda k: 0.019 if k < 40 else 0.01), 30.0, Listener(speaking))
    delays = [d for d in heard.delays[-200:] if d is not None]
    assert heard.buffer.expanded == heard.count(Conceal) == 0
    if speaking:
        assert heard.buffer.accelerated == 0
        assert min(delays) == pytest.approx(0.061, abs=0.001)
    else:
        assert heard.buffer.accelerated == 2 * PERIOD
        assert max(delays) == pytest.approx(0.061 - 2 * PERIOD / 48_000, abs=0.001)


def test_jitter_raises_the_delay_and_hides_itself() -> None:
    rnd, last, arrivals = random.Random(4), 0.0, []
    for k in range(2000):
        last = max(last, k * 0.02 + 0.02 + abs(rnd.gauss(0, 0.02)))
        arrivals.append(last)
    heard = listen(sent(2000, lambda k: arrivals[k] - k * 0.02), 40.0)
    assert heard.buffer.concealed < 0.02 * 2000 * BLOCK
    assert heard.heard == list(range(heard.heard[-1] + 1))
    assert 0.05 < heard.buffer.target_s < 0.12


@pytest.mark.parametrize("speaking", [False, True])
def test_the_delay_of_a_stall_is_gone_within_five_seconds_and_nothing_is_left_out(speaking: bool) -> None:
    heard = listen(sent(700, lambda k: 0.51 - 0.02 * (k - 200) if 200 <= k < 225 else 0.01), 14.0, Listener(speaking))
    assert heard.heard == list(range(heard.heard[-1] + 1))
    assert max(d for d in heard.delays[226:240] if d is not None) > 0.3
    assert max(d for d in heard.delays[225 + 250 :] if d is not None) <= 0.08
    assert heard.buffer.concealed > 0
    assert heard.buffer.accelerated > 0.3 * 48_000


def test_a_block_made_late_is_no_reason_to_hurry() -> None:
    """The machine was busy: one block in a second is asked for 120 ms late, those after it at once."""
    listener, packets, at = Listener(speaking=True), sent(500), 0
    for tick in range(500):
        asked = tick * 0.02 + 0.001 + (0.12 - 0.02 * (tick % 50) if tick >= 50 and tick % 50 < 6 else 0.0)
        while at < len(packets) and packets[at][0] <= asked:
            listener.buffer.push(packets[at][1], packets[at][2], packets[at][3], packets[at][0])
            at += 1
        listener.block(asked)
    assert listener.buffer.accelerated == listener.buffer.concealed == 0


def test_far_behind_it_leaves_out_rather_than_hurry_for_ever() -> None:
    heard = listen(sent(700, lambda k: 3.01 - 0.02 * (k - 200) if 200 <= k < 350 else 0.01), 14.0)
    assert heard.buffer.skipped > 50
    assert heard.heard == sorted(set(heard.heard))
    assert max(d for d in heard.delays[600:] if d is not None) <= 0.08


def test_one_lost_packet_costs_one_concealment_and_no_delay() -> None:
    lost = (150, 250, 350, 450)
    heard = listen(sent(600, lambda k: None if k in lost else 0.01), 12.0)
    assert heard.count(Conceal) == 4
    assert heard.buffer.concealed == 4 * BLOCK
    assert not any(d.joined for d in heard.decisions if isinstance(d, Play))
    assert max(d for d in heard.delays[100:590] if d is not None) <= 0.07


def test_what_the_next_packet_carries_takes_the_place_of_a_lost_one() -> None:
    lost = (150, 250, 251, 350, 450)
    heard = listen(sent(600, lambda k: None if k in lost else 0.01, repair=True), 12.0)
    assert [number_of(d.following) for d in heard.decisions if isinstance(d, Recover)] == [151, 252, 351, 451]
    assert heard.count(Conceal) == 1, "of two in a row the first"
    assert (heard.buffer.recovered, heard.buffer.concealed) == (4 * BLOCK, BLOCK)


def test_a_copy_takes_the_place_of_a_lost_packet() -> None:
    lost = (150, 250, 251, 350)
    heard = listen(sent(600, lambda k: None if k in lost else 0.01), 12.0, copies=lambda k: [k - 1, k - 2] if k > 1 else [])
    assert heard.heard == list(range(heard.heard[-1] + 1))
    assert heard.buffer.copied == 4 * BLOCK
    assert heard.buffer.concealed <= BLOCK, "two in a row may be one too many before it has been seen once"
    assert heard.buffer.late == 0


def test_repaired_packets_are_waited_for_once_that_pays() -> None:
    """A tenth is lost and comes 70 ms later: soon the delay is long enough for it."""
    heard = listen(sent(3000, lambda k: 0.08 if k % 10 == 3 else 0.01), 60.0)
    assert heard.buffer.target_s >= 0.08
    settled = [d for d in heard.decisions[1500:]]
    assert not any(isinstance(d, Conceal) for d in settled)


def test_one_repaired_too_late_leaves_the_delay_as_it_is() -> None:
    heard = listen(sent(1500, lambda k: 0.25 if k % 100 == 3 else 0.01), 30.0)
    assert heard.buffer.late >= 13
    assert max(d for d in heard.delays[100:] if d is not None) <= 0.07
    assert heard.buffer.concealed == pytest.approx(15 * BLOCK, abs=2 * BLOCK)


def test_a_mute_is_silence_not_concealment() -> None:
    heard = listen(sent(400, lambda k: None if 100 <= k < 300 else 0.01), 8.0)
    assert heard.count(Conceal) < 20, "a tenth of a second each time sending stops"
    assert all(d is None for d in heard.delays[125:295])
    assert len(heard.heard) > 190


def test_dtx_is_comfort_and_no_loss() -> None:
    packets: list[Packet] = []
    now, sequence, stamp = 1.0, 0, 0
    for _ in range(10):
        for _ in range(25):     # half a second of speech …
            packets.append((now, sequence, stamp, payload(sequence)))
            now, sequence, stamp = now + 0.02, sequence + 1, stamp + BLOCK
        for _ in range(3):      # … and one and a fifth of nothing but a packet each 400 ms
            packets.append((now, sequence, stamp, b"\x78"))
            now, sequence, stamp = now + 0.4, sequence + 1, stamp + 20 * BLOCK

    class Counting(Listener):
        def _play(self, decision: Play) -> None:
            self.ahead += BLOCK * len(decision.payloads)
            self.heard += [number_of(d) if len(d) > 1 else -1 for d in decision.payloads]

    heard = listen(packets, now, Counting())
    assert heard.buffer.concealed == 0
    assert sum(n >= 0 for n in heard.heard) == 250
    assert heard.buffer.target_s <= 0.06
    comfort = [d.comfort for d in heard.decisions if isinstance(d, Conceal)]
    assert len(comfort) > 400
    assert all(comfort), "the quiet of the room goes on"
    assert not any(d is None for d in heard.delays[60:-25])


def test_an_outage_is_counted() -> None:
    for gap in (5, 50):
        heard = listen(sent(400, lambda k, gap=gap: None if 200 <= k < 200 + gap else 0.0), 8.0)
        assert 4 * BLOCK <= heard.buffer.concealed <= gap * BLOCK
    heard = listen(sent(400, lambda k: 0.3 if 200 <= k < 215 else 0.0), 8.0)
    assert heard.buffer.concealed >= 5 * BLOCK


def test_a_sender_whose_clock_stands_still_while_muted_does_not_raise_the_delay() -> None:
    for pause_s in (0.3, 0.6, 1.5):
        packets = [(k * 0.02 + (pause_s if k >= 100 else 0.0), k, k * BLOCK, payload(k)) for k in range(400)]
        heard = listen(packets, 8.0 + pause_s)
        assert heard.buffer.target_s <= 0.06
        assert heard.heard == list(range(heard.heard[-1] + 1))
        assert heard.buffer.accelerated <= 3 * PERIOD


def test_numbers_that_begin_anew_are_followed() -> None:
    packets = [(k * 0.02, 30_000 + k, k * BLOCK, payload(30_000 + k)) for k in range(100)]
    packets += [(2 + k * 0.02, 10_000 + k, k * BLOCK, payload(10_000 + k)) for k in range(100)]
    heard = listen(packets, 5.0)
    assert sum(n < 30_000 for n in heard.heard) > 65


def test_another_connection_is_played_at_once() -> None:
    listener = listen(sent(100), 1.5)
    before = len(listener.heard)
    listener.buffer.begin_anew()
    packets = [(k * 0.02, (20_000 + k) & 0xFFFF, 777 + k * BLOCK, payload(20_000 + k)) for k in range(100)]
    for k in range(75):
        listener.buffer.push(packets[k][1], packets[k][2], packets[k][3], 1.5 + packets[k][0])
        listener.block(1.501 + k * 0.02)
    assert len(listener.heard) - before >= 71


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_a_clock_that_runs_fast_or_slow_keeps_the_delay_and_costs_no_cut(drift: float) -> None:
    """Ten minutes: 120 ms are to be stretched or squeezed, and nothing else happens."""
    listener = Listener()
    packets = [(k * 0.02 / (1 + drift) + 0.01, k, k * BLOCK, payload(k)) for k in range(30_000)]
    heard = listen(packets, 590.0, listener)
    assert heard.heard == list(range(heard.heard[-1] + 1))
    assert heard.count(Conceal) == heard.buffer.skipped == heard.buffer.late == 0
    changed = heard.buffer.expanded - heard.buffer.accelerated
    assert changed == pytest.approx(-drift * 590 * 48_000, abs=0.05 * 48_000)
    assert min(heard.buffer.expanded, heard.buffer.accelerated) <= 3 * PERIOD, "no stretching to and fro"
    assert 0.02 < heard.buffer.mean_delay_s < 0.07


@pytest.mark.parametrize("milliseconds", [2.5, 10, 60])
def test_packets_of_other_lengths(milliseconds: float) -> None:
    samples, count = int(48 * milliseconds), int(8000 / milliseconds)
    packets = [(k * milliseconds / 1000 + 0.01, k, k * samples, payload(k, milliseconds)) for k in range(count)]
    heard = listen(packets, 7.9)
    assert heard.heard == list(range(heard.heard[-1] + 1))
    assert heard.count(Conceal) == 0
    assert max(d for d in heard.delays[100:] if d is not None) <= 0.08
    lossy = listen([p for p in packets if p[1] % 20 != 13], 7.9)
    assert lossy.buffer.concealed == pytest.approx(0.05 * 7.9 * 48_000, rel=0.2)


def test_packets_that_change_in_length() -> None:
    packets, now, stamp = [], 0.01, 0
    for k in range(600):
        milliseconds = (20, 60, 10, 2.5)[k // 7 % 4]
        packets.append((now + milliseconds / 1000, k, stamp, payload(k, milliseconds)))
        now, stamp = now + milliseconds / 1000, stamp + int(48 * milliseconds)
    heard = listen(packets, now)
    assert heard.heard == list(range(heard.heard[-1] + 1))
    assert heard.buffer.concealed < 0.02 * stamp


def test_packets_without_a_payload_are_no_hole_in_time() -> None:
    """A server that probes sends padding: a number without sound."""
    packets: list[Packet] = []
    for k in range(300):
        packets.append((k * 0.02, 2 * k, k * BLOCK, payload(k)))
        packets.append((k * 0.02 + 0.001, 2 * k + 1, k * BLOCK, b""))
    heard = listen(packets, 6.0)
    assert heard.heard == list(range(heard.heard[-1] + 1))
    assert heard.count(Conceal) == heard.buffer.rubbish == 0


def test_asking_again_makes_sense_while_there_is_time() -> None:
    buffer = AudioJitterBuffer()
    assert not buffer.worth_asking(5, 0.01, 0.0), "nothing is known"
    for k in range(100):
        if k != 99 - 1:
            buffer.push(k, k * BLOCK, payload(k), k * 0.02)
        buffer.pull(k * 0.02)
    now = 99 * 0.02
    assert not buffer.worth_asking(97, 0.0, now), "it was here"
    assert not buffer.worth_asking(100, 0.0, now), "it is to come"
    buffer.set_least_delay(0.1)
    assert buffer.worth_asking(98, 0.05, now)
    assert not buffer.worth_asking(98, 0.15, now)
    assert not buffer.worth_asking(98, 0.05, now + 0.05)
    buffer.push(98, 98 * BLOCK, payload(98), now, copy=True)
    assert not buffer.worth_asking(98, 0.0, now), "a copy has come"


def test_where_much_is_lost_it_is_asked_for_beyond_the_delay_of_now() -> None:
    buffer = AudioJitterBuffer()
    for k in range(1000):
        if k % 8:
            buffer.push(k, k * BLOCK, payload(k), k * 0.02)
        buffer.pull(k * 0.02)
    assert buffer.worth_asking(992, 0.07, 999 * 0.02), "concealed meanwhile, but its answer tells how long to wait for the next"
    buffer.push(1001, 1001 * BLOCK, payload(1001), 1000 * 0.02)
    assert buffer.worth_asking(1000, 0.08, 1000 * 0.02)
    assert not buffer.worth_asking(1000, 0.3, 1000 * 0.02)


def test_a_short_delay_grows_until_repairs_come_in_time() -> None:
    """A server that answers 150 ms after it was asked: at first what was lost has been concealed by then, and was when it was asked."""
    listener, draw = Listener(), random.Random(7)
    buffer = listener.buffer
    answers: dict[int, float] = {}
    missing: list[int] = []
    for k in range(1500):
        now = k * 0.02
        if k > 200 and draw.random() < 0.15:
            missing.append(k)
        else:
            buffer.push(k, k * BLOCK, payload(k), now)
        for number in [n for n, at in answers.items() if at <= now]:
            buffer.push(number, number * BLOCK, payload(number), answers.pop(number))
        listener.block(now + 0.001)
        if k == 200:
            assert buffer.target_s < 0.06
        if k == 750:
            concealed = buffer.concealed
        for number in [n for n in missing if n < k - 2]:
            missing.remove(number)
            if buffer.worth_asking(number, 0.05, now):
                answers[number] = now + 0.15
    assert 0.15 < buffer.target_s < 0.35
    assert (buffer.concealed - concealed) / (750 * BLOCK) < 0.02


@given(st.lists(st.none() | st.floats(0, 1.5), min_size=1, max_size=300), st.booleans(), st.booleans())
def test_order_is_kept_and_nothing_is_played_twice(delays: list[float | None], repair: bool, speaking: bool) -> None:
    heard = listen(sent(len(delays), lambda k: delays[k], repair=repair), len(delays) * 0.02 + 3.0, Listener(speaking))
    assert heard.heard == sorted(set(heard.heard))
    came = {k for k, d in enumerate(delays) if d is not None}
    assert set(heard.heard) <= came
    assert len(heard.heard) + heard.buffer.late + heard.buffer.skipped >= len(came) - len(heard.buffer._packets) - 25
    assert heard.buffer.level_s <= 4.0


PAYLOADS = st.binary(max_size=10) | st.sampled_from([payload(1), payload(2, 60), payload(3, 2.5), payload(4, repair=True), b"\x78"])


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, (1 << 32) - 1), PAYLOADS, st.floats(0, 0.1), st.booleans()), max_size=300))
def test_garbage_does_not_break_or_grow_it(packets: list[tuple[int, int, bytes, float, bool]]) -> None:
    buffer, now = AudioJitterBuffer(), 0.0
    for sequence, timestamp, data, step, copy in packets:
        now += step
        buffer.push(sequence, timestamp, data, now, copy)
        buffer.worth_asking(sequence, 0.05, now)
        decision = buffer.pull(now)
        if isinstance(decision, Conceal | Recover):
            assert 0 < decision.samples <= 5760
            assert decision.samples % 120 == 0
        assert len(buffer._packets) <= 200
        assert len(buffer._missing) <= 200
        assert 0.03 <= buffer.target_s <= 0.5


@given(st.integers(0, 65535), st.lists(st.tuples(st.integers(-3, 30), st.integers(-2000, 5000), PAYLOADS, st.floats(0, 0.1)), max_size=200))
def test_a_stream_that_stumbles_goes_on(first: int, steps: list[tuple[int, int, bytes, float]]) -> None:
    listener, now, sequence, stamp = Listener(), 0.0, first, 0
    for step, units, data, wait_s in steps:
        now, sequence, stamp = now + wait_s, sequence + step, stamp + units
        listener.buffer.push(sequence & 0xFFFF, stamp & 0xFFFFFFFF, data, now)
        ahead, pulls = 0, 0
        while ahead < BLOCK and pulls < 24:
            decision, pulls = listener.buffer.pull(now, ahead), pulls + 1
            if isinstance(decision, Silence):
                break
            ahead += BLOCK if isinstance(decision, Play) else decision.samples
    now += 5.0
    for k in range(100):
        listener.buffer.push((sequence + 1 + k) & 0xFFFF, (stamp + k * BLOCK) & 0xFFFFFFFF, payload(k), now + k * 0.02)
        listener.block(now + k * 0.02)
    assert len(listener.heard) > 70, "all but what the longest delay holds back"

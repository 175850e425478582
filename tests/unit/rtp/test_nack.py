"""Asking again over a way that loses, delays and re-orders: how much is asked, how soon it is mended, what is learned."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.nack import MAX_MISSING, MAX_TRIES, NackScheduler


@dataclass
class Way:
    """A sender that answers questions, and the way between. `hears_after_s`: how old an original must be at the sender before a
    question for it, or another for the same, is answered (livekit-server's rule); 0: at once."""

    rtt_s: float
    loss: float
    seed: int = 1
    hears_after_s: float = 0.0
    jitter_s: float = 0.0
    start: int = 0
    """The first number."""
    lost: int = 0
    mended: list[float] = field(default_factory=list)
    """Seconds after its due arrival that each lost packet came."""
    never: int = 0

    def run(self, seconds: float, nack: NackScheduler, *, packet_s: float = 1 / 300) -> None:
        chance = random.Random(self.seed)
        half = self.rtt_s / 2
        events: list[tuple[float, int, str, int]] = []
        begun_s, count = self.start * packet_s, int(seconds / packet_s)
        for number in range(self.start, self.start + count):
            if number == self.start or chance.random() >= self.loss:
                heapq.heappush(events, (number * packet_s + half + chance.uniform(0, self.jitter_s), number, "packet", number))
            else:
                self.lost += 1
                self.never += 1
        for tick in range(int((seconds + 2) / 0.02)):
            heapq.heappush(events, (begun_s + tick * 0.02, -tick, "tick", 0))
        heard_at = {}
        while events:
            now, _, kind, number = heapq.heappop(events)
            if kind == "packet":
                nack.received(number & 0xFFFF, now)
            elif kind == "answer":
                if nack.received(number & 0xFFFF, now) >= 0:
                    self.mended.append(now - number * packet_s - half)
                    self.never -= 1
            elif kind == "asked":
                last = heard_at.get(number, number * packet_s)
                if now - last >= self.hears_after_s:
                    heard_at[number] = now
                    if chance.random() >= self.loss:
                        heapq.heappush(events, (now + half, number, "answer", number))
                continue
            if kind != "tick" and now < nack.next_due:
                continue
            for asked in nack.due(now, self.rtt_s):
                if chance.random() >= self.loss:
                    base = int(now / packet_s)
                    heapq.heappush(events, (now + half, asked, "asked", base - (base - asked & 0xFFFF)))


@pytest.mark.parametrize("loss", [0.05, 0.1])
@pytest.mark.parametrize("rtt_s", [0.002, 0.05, 0.15])
def test_few_questions_mend_nearly_everything_soon(rtt_s: float, loss: float) -> None:
    nack, way = NackScheduler(), Way(rtt_s, loss)
    way.run(60, nack)
    assert way.lost > 500
    assert nack.asked / way.lost <= 1.5
    assert way.never <= way.lost * 0.001
    late = sorted(way.mended)
    assert late[len(late) // 2] < 0.01 + rtt_s * 1.1 + 1 / 300
    assert late[int(len(late) * 0.99)] < 0.06 + 3.5 * rtt_s


def test_a_sender_that_does_not_hear_a_first_question_is_not_flooded() -> None:
    nack, way = NackScheduler(), Way(0.05, 0.05, hears_after_s=0.1)
    way.run(60, nack)
    assert nack.asked / way.lost <= 1.7
    assert way.never <= way.lost * 0.01


def test_a_sender_that_begins_to_hear_first_questions_is_asked_at_once_again() -> None:
    nack = NackScheduler()
    Way(0.05, 0.05, hears_after_s=0.1).run(30, nack)
    Way(0.05, 0.05, seed=2, start=9000).run(30, nack)
    way = Way(0.05, 0.05, seed=3, start=18_000)
    way.run(30, nack)
    assert sorted(way.mended)[len(way.mended) // 2] < 0.07


def test_on_a_short_way_a_sender_that_waits_is_asked_once_it_hears() -> None:
    nack, way = NackScheduler(), Way(0.001, 0.03, hears_after_s=0.1)
    way.run(60, nack)
    assert nack.asked / way.lost <= 2.0


def test_packets_that_only_overtake_each_other_are_soon_not_asked_for() -> None:
    nack, way = NackScheduler(), Way(0.05, 0.0, jitter_s=0.02)
    way.run(20, nack)
    early = nack.asked
    assert early < 600
    rested = NackScheduler()
    Way(0.05, 0.0).run(20, rested)
    assert rested.asked == 0


def test_ten_tries_and_no_more() -> None:
    nack = NackScheduler()
    nack.received(0, 0.0)
    nack.received(2, 0.0)
    tries = [k for k in range(1000) if nack.due(k * 0.02, 0.05)]
    assert len(tries) == MAX_TRIES
    waits = [0.02 * (b - a) for a, b in itertools.pairwise(tries)]
    assert min(waits) == waits[1] >= 0.025, "only the third comes after half a round trip"
    assert min([waits[0], *waits[2:]]) >= 0.05
    assert (nack.missing, nack.gave_up) == (0, 1)


def test_what_is_not_needed_any_more_is_not_asked_for() -> None:
    nack = NackScheduler()
    nack.received(65_530, 0.0)
    nack.received(10, 0.0)
    assert nack.number == 65_546
    nack.forget_before(65_540)
    assert nack.due(0.0, 0.05) == [4, 5, 6, 7, 8, 9]
    nack.forget_before(1 << 40)
    assert (nack.missing, nack.due(1.0, 0.05)) == (0, [])


@given(st.lists(st.tuples(st.integers(0, 65_535), st.floats(0, 0.3), st.floats(0, 2)), max_size=300))
def test_bounded_and_never_wrong_whatever_comes(events: list[tuple[int, float, float]]) -> None:
    nack, now = NackScheduler(), 0.0
    for number, pause_s, rtt_s in events:
        now += pause_s
        assert nack.received(number, now) >= -1
        due = nack.due(now, rtt_s)
        assert all(0 <= n <= 65_535 for n in due)
        assert len(due) == len(set(due))
        assert nack.missing <= MAX_MISSING


def test_what_would_be_of_no_use_is_not_asked_for() -> None:
    nack = NackScheduler()
    for k in (1, 2, 5, 6):
        nack.received(k, 0.0)
    assert nack.due(0.0, 0.05, lambda number: number == 4) == [4]
    assert (nack.missing, nack.asked, nack.gave_up) == (1, 1, 0)
    assert nack.due(0.1, 0.05, lambda number: False) == []
    assert nack.missing == 0
    assert nack.due(0.2, 0.05) == []

"""The policy of rejoining."""

from __future__ import annotations

import random

from vidconf.engine.reconnect import DELAYS_S, STABLE_S, Backoff, usable


def test_the_first_try_is_at_once_and_later_ones_wait_longer() -> None:
    backoff = Backoff(random.Random(1))
    delays = [backoff.next_delay_s() for _ in range(20)]
    assert delays[0] == 0
    assert all(0.75 * d <= got <= 1.25 * d for got, d in zip(delays, (*DELAYS_S, *[DELAYS_S[-1]] * 20), strict=False))
    assert max(delays) <= 1.25 * DELAYS_S[-1]


def test_a_session_that_lasted_begins_anew_and_a_flapping_one_does_not() -> None:
    backoff = Backoff()
    for _ in range(4):
        backoff.next_delay_s()
    backoff.lasted(STABLE_S / 2)
    assert backoff.next_delay_s() > 0.9 * DELAYS_S[-1] * 0.75
    backoff.lasted(STABLE_S)
    assert backoff.next_delay_s() == 0


def test_a_hall_does_not_come_back_in_one_instant() -> None:
    second = set()
    for _ in range(50):
        backoff = Backoff()
        backoff.next_delay_s()
        second.add(round(backoff.next_delay_s(), 4))
    assert len(second) > 30


def test_tokens_worth_a_try() -> None:
    assert usable(None, 0)
    assert usable(100.0, 90.0)
    assert not usable(100.0, 98.0)
    assert not usable(100.0, 200.0)

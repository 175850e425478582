"""Who counts as speaking: a cough does not, a breath does not end it, and the stage does not jump."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.speaking import HOLD_S, LOUDER, MAIN_HOLD_S, MAIN_SILENT_S, START_LEVEL, START_S, SpeakerOrder

STEP_S = 0.1


def talk(order: SpeakerOrder, levels: dict[str, float], since: float, seconds: float) -> float:
    """Reports ten times a second; the time after them."""
    now = since
    for _ in range(round(seconds / STEP_S)):
        order.report(levels.items(), now)
        now += STEP_S
    return now


def who(order: SpeakerOrder, now: float) -> list[str]:
    return [p for p, _ in order.at(now)]


def test_a_cough_is_no_speech() -> None:
    order = SpeakerOrder()
    assert order.report([("a", 0.9)], 10.0) == ()
    assert order.report([], 10.1) == ()
    assert who(order, 10.0 + START_S + 0.01) == []
    assert order.main is None


def test_a_breath_is_no_end() -> None:
    order = SpeakerOrder()
    now = talk(order, {"a": 0.3}, 10.0, 0.5)
    assert who(order, now) == ["a"]
    assert who(order, now + HOLD_S - 0.2) == ["a"]
    assert who(order, now + HOLD_S) == []
    assert order.main == "a", "the stage stays with who spoke last"


def test_noise_is_nothing() -> None:
    order = SpeakerOrder()
    now = talk(order, {"a": START_LEVEL * 0.9}, 0.0, 3)
    assert who(order, now) == []


def test_two_change_places_only_when_one_is_clearly_louder() -> None:
    order = SpeakerOrder()
    now = talk(order, {"a": 0.3, "b": 0.28}, 0.0, 1)
    assert who(order, now) == ["a", "b"]
    now = talk(order, {"a": 0.28, "b": 0.3}, now, 2)
    assert who(order, now) == ["a", "b"]
    now = talk(order, {"a": 0.2, "b": 0.2 * LOUDER * 1.1}, now, 2)
    assert who(order, now) == ["b", "a"]


def test_who_is_large_stays_for_a_while_while_they_talk() -> None:
    order = SpeakerOrder()
    now = talk(order, {"a": 0.2}, 0.0, 0.5)
    assert order.main == "a"
    now = talk(order, {"a": 0.2, "b": 0.9}, now, 1.0)
    assert order.main == "a"
    talk(order, {"a": 0.2, "b": 0.9}, now, MAIN_HOLD_S)
    assert order.main == "b"


def test_who_falls_silent_makes_room_sooner() -> None:
    order = SpeakerOrder()
    now = talk(order, {"a": 0.3}, 0.0, 0.5)
    talk(order, {"b": 0.3}, now, MAIN_SILENT_S + 0.3)
    assert order.main == "b"


def test_who_leaves_is_forgotten() -> None:
    order = SpeakerOrder()
    now = talk(order, {"a": 0.3, "b": 0.2}, 0.0, 0.5)
    order.forget("a")
    order.forget("nobody")
    assert order.main is None
    assert who(order, now) == ["b"]
    assert order.main == "b"


def test_nothing_to_wait_for_while_all_are_silent() -> None:
    order = SpeakerOrder()
    assert order.next_change_s > 60
    now = talk(order, {"a": 0.3}, 0.0, 0.5)
    assert order.next_change_s <= HOLD_S
    order.at(now + 10)
    assert order.next_change_s > 60


_LEVELS = st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1)), max_size=4)


@given(st.lists(st.tuples(_LEVELS, st.floats(0.01, 2.0)), max_size=40))
def test_whatever_is_reported(reports: list[tuple[list[tuple[str, float]], float]]) -> None:
    order, now, heard, since, main, main_since = SpeakerOrder(), 100.0, {}, {}, None, 0.0
    for levels, pause_s in reports:
        loud = {p for p, level in levels if level >= START_LEVEL}
        for p in loud:
            if p not in heard or now - heard[p] > HOLD_S:
                since[p] = now
            heard[p] = now
        said = order.report(levels, now)
        names = [p for p, _ in said]
        assert len(set(names)) == len(names)
        assert all(0.0 <= level <= 1.0 for _, level in said)
        assert set(names) <= {p for p in heard if now - heard[p] <= HOLD_S and heard[p] - since[p] >= START_S}
        if order.main != main:
            assert order.main in names, "only who speaks becomes large"
            if main is not None:
                assert now - main_since >= MAIN_HOLD_S or now - heard[main] >= MAIN_SILENT_S
            main, main_since = order.main, now
        now += pause_s
    assert order.at(now + HOLD_S + 1) == ()
    assert order.main == main

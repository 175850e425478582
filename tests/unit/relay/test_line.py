"""A subscriber's line: found narrow by estimates that fall, or by a queue that stands; found wide again by padding, and left alone
where it is not. Beside examples, our own receiver's estimator on a drawn line with a queue."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidconf.relay.line import LEAST_BPS, MAX_WAIT_S, WAIT_S, Line
from vidconf.rtp.receive_rate import SEND_TIME_HZ, ReceiveRate


def narrow(limit_bps: int = 500_000, now: float = 10.0) -> Line:
    line = Line()
    assert not line.told(3_000_000, 2_000_000, now - 1)
    assert line.told(limit_bps, 2_000_000, now)
    return line


def test_an_estimate_is_no_limit_until_it_falls_below_what_is_sent() -> None:
    line = Line()
    for at, bps in enumerate((900_000, 880_000, 2_000_000, 1_500_000)):
        assert not line.told(bps, 800_000, float(at))
    assert line.limit_bps is None, "1.5 Mb/s is less than before, and more than is sent"
    assert line.told(700_000, 800_000, 5.0)
    assert line.limit_bps == 700_000
    assert line.told(400_000, 650_000, 6.0)
    assert line.limit_bps == 400_000
    assert not line.told(450_000, 400_000, 7.0)
    assert line.limit_bps == 450_000, "what it says by itself is believed"


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_fall_right_after_more_is_sent_is_a_suspicion(confirmed: bool) -> None:
    """A larger layer's keyframe in a burst, and an estimate made of what arrived before it."""
    line = Line()
    for at in range(5):
        line.told(3_000_000, 200_000, float(at))
        line.reported(0.0, 0.05, 200_000, float(at))
    assert not line.told(340_000, 1_200_000, 5.0)
    assert line.reported(0.0, 0.3 if confirmed else 0.06, 1_200_000, 5.5) is confirmed
    assert line.limit_bps == (340_000 if confirmed else None)
    if not confirmed:
        assert not line.told(350_000, 1_200_000, 7.5)
        assert line.told(300_000, 1_200_000, 8.0), "one that goes on falling is believed"


@pytest.mark.parametrize(("bps", "cut"), [(1_500_000, False), (1_000_000, True)])
def test_the_first_estimate_of_all_may_be_a_little_low(bps: int, cut: bool) -> None:
    assert Line().told(bps, 2_000_000, 1.0) is cut


def test_a_queue_that_stands_is_seen_by_the_round_trip() -> None:
    line = Line()
    for at in range(5):
        assert not line.reported(0.0, 0.05, 0.0, float(at))
    assert line.told(600_000, 2_000_000, 5.0)
    assert not line.reported(0.0, 0.3, 600_000, 6.0)
    assert not line.reported(0.0, 0.06, 600_000, 7.0), "it was the burst before"
    assert not line.reported(0.0, 0.3, 600_000, 8.0)
    assert not line.reported(0.0, 0.0, 600_000, 8.5), "not known"
    assert line.reported(0.0, 0.3, 600_000, 9.6)
    assert line.limit_bps == pytest.approx(510_000)
    assert line.reported(0.3, 0.3, 500_000, 10.3), "it overflows as well: at once"
    assert line.limit_bps == pytest.approx(425_000)
    for at in range(11, 30):
        assert not line.reported(0.3, 0.3, 0.0, float(at)), "nothing but sound is sent: there is nothing to be had from less"


def test_loss_without_a_queue_takes_nothing_away() -> None:
    line = Line()
    line.told(2_000_000, 1_000_000, 0.0)
    for at in range(20):
        assert not line.reported(0.25, 0.05, 1_000_000, float(at))
    assert line.limit_bps is None


def test_padding_goes_up_in_steps_until_the_estimate_says_that_all_passes() -> None:
    line, needed = narrow(), 1_000_000.0
    assert line.padding(needed, 200_000, 10.0 + WAIT_S - 0.1) == 0
    now, sent = 10.0 + WAIT_S, []
    while line.limit_bps < needed:  # type: ignore[operator]
        padding = line.padding(needed, 200_000, now)
        sent.append(200_000 + padding)
        now += 0.2
        line.told(max(500_000, int(sent[-1])), 200_000, now)
        assert now < 20
    steps = sorted({int(total) for total in sent if total > 200_000})
    assert steps == [300_000, 450_000, 675_000, 1_000_000]
    assert line.padding(needed, 950_000, now) == 0


def test_reports_without_harm_do_where_the_estimate_grows_slowly() -> None:
    """As libwebrtc's, 8 % a second, from very little."""
    line, needed, now, told = narrow(60_000), 400_000.0, 10.0 + WAIT_S, 60_000.0
    line.reported(0.0, 0.05, 0.0, now)
    began = now
    while line.limit_bps < needed:  # type: ignore[operator]
        line.padding(needed, 50_000, now)
        now += 0.2
        told *= 1.016
        line.told(int(told), 50_000, now)
        if int(now * 5) % 5 == 0:
            line.reported(0.0, 0.06, 0.0, now)
    assert now - began < 12


@pytest.mark.parametrize("sign", ["estimate", "loss", "round trip", "silence"])
def test_a_line_that_stays_narrow_is_asked_ever_more_seldom(sign: str) -> None:
    line, now, began, padded = narrow(), 10.0, [], 0.0
    line.reported(0.0, 0.05, 200_000, now)
    for _ in range(5 * 300):
        padding = line.padding(900_000, 200_000, now)
        if padding and not padded:
            began.append(now)
        elif padding and now - began[-1] > 1:
            match sign:
                case "estimate":
                    line.told(300_000, 200_000, now)
                case "loss":
                    line.reported(0.2, 0.05, 200_000, now)
                case "round trip":
                    line.reported(0.0, 0.3, 200_000, now)
        elif not padding:
            line.told(500_000, 200_000, now)
            line.reported(0.0, 0.05, 200_000, now)
        padded, now = padding, now + 0.2
    gaps = [b - a for a, b in itertools.pairwise(began)]
    assert gaps[0] < 20
    assert all(b > 1.3 * a or b > MAX_WAIT_S - 1 for a, b in itertools.pairwise(gaps))
    assert 4 <= len(began) <= 10
    assert line.limit_bps is not None
    assert line.limit_bps >= 200_000, "what flowed before the padding still does"


@example([("told", 2, 3, 0.0, 0.0), ("told", 1, 0, 0.0, 0.0)])
@given(st.lists(st.tuples(st.sampled_from(["told", "reported", "padding", "raise", "free"]), st.integers(0, 1 << 40), st.integers(0, 10**8), st.floats(0, 1), st.floats(0, 20)), max_size=60))
def test_whatever_is_told_it_stays_within_its_bounds(what: list[tuple[str, int, int, float, float]]) -> None:
    line, now = Line(), 0.0
    for name, bps, sending, part, step in what:
        now += step
        match name:
            case "told":
                line.told(bps, sending, now)
            case "reported":
                line.reported(part, 2 * part, sending, now)
            case "padding" if line.limit_bps is not None:
                assert 0 <= line.padding(bps, sending, now) <= max(bps, 0)
            case "raise" if line.limit_bps is not None:
                line.raise_to(max(bps, LEAST_BPS), now)
            case "free":
                line.free()
        assert line.limit_bps is None or line.limit_bps >= LEAST_BPS


class Way:
    """A line of `bps` with a queue of 0.3 s, and our receiver at its end; what is sent in 10 ms is packets of 1,000 octets."""

    def __init__(self, line: Line) -> None:
        self.line, self.bps, self.now, self.rate = line, 10_000_000.0, 100.0, ReceiveRate()
        self.free_at, self.owed, self.lost, self.sent, self.queue_s = 0.0, 0.0, 0, 0, 0.0
        self.arriving: list[tuple[float, int]] = []

    def step(self, media_bps: float, padding_bps: float) -> None:
        self.owed += (media_bps + padding_bps) / 800
        while self.owed >= 1000:
            self.owed -= 1000
            self.sent += 1
            self.queue_s = max(0.0, self.free_at - self.now)
            if self.queue_s > 0.3:
                self.lost += 1
                continue
            self.free_at = max(self.now, self.free_at) + 8000 / self.bps
            self.arriving.append((self.free_at + 0.025, int(self.now * SEND_TIME_HZ) & 0xFFFFFF))
        self.now += 0.01
        while self.arriving and self.arriving[0][0] <= self.now:
            at, stamp = self.arriving.pop(0)
            self.rate.arrived(1000, at)
            self.rate.timed(stamp, at)
        if (told := self.rate.due(self.now)) is not None:
            self.line.told(told, media_bps, self.now)

    def second(self, media_bps: float, needed_bps: float = 0.0) -> None:
        padding = 0.0
        for k in range(100):
            if k % 20 == 0 and self.line.limit_bps is not None:
                padding = self.line.padding(needed_bps, media_bps, self.now)
            self.step(media_bps, padding)
        fraction, self.lost, self.sent = self.lost / max(1, self.sent), 0, 0
        self.rate.round_trip(0.05 + self.queue_s, self.now)
        self.line.reported(fraction, 0.05 + self.queue_s, media_bps, self.now)


def test_our_receiver_on_a_line_that_shrinks_and_widens() -> None:
    line = Line()
    way = Way(line)
    for _ in range(6):
        way.second(2_000_000)
    assert line.limit_bps is None
    way.bps = 800_000
    way.second(2_000_000)
    assert line.limit_bps is not None, "within a second"
    for _ in range(8):
        way.second(min(500_000, line.limit_bps))
    assert way.queue_s < 0.05
    for _ in range(30):
        way.second(500_000, 2_000_000)
        assert line.limit_bps < 1_000_000
    way.bps = 10_000_000
    waited = 0
    while line.limit_bps < 2_000_000:
        way.second(500_000, 2_000_000)
        waited += 1
        assert waited < 75
    for _ in range(20):
        way.second(2_000_000)
    assert line.limit_bps >= 2_000_000, "and it holds"

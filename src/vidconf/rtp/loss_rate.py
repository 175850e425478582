"""How much the way carries, judged by what is lost on it beyond what it loses anyway. Pure; one thread an object.

Rates in bits a second. After libwebrtc's loss_based_bwe_v2.cc (modules/congestion_controller/goog_cc) with the values it ships: a
way is two numbers, what it loses of whatever is sent (`inherent`) and a rate beyond which it loses the surplus. Of some candidates
the pair is taken under which the last observations, a quarter of a second each, are likeliest, with some liking for more. Random
loss is thus no reason to send less, loss that grows with the rate is. Where most is lost the bound is immediate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from math import log

from vidconf.rtp.feedback import SentPacket

OBSERVATION_S = 0.25
WINDOW, LEAST_OBSERVATIONS = 15, 3
AGE_WEIGHT = 0.9
FACTORS = (1.02, 1.0, 0.95)
LIKING, LOG_LIKING = 0.0002, 0.02
LIKED_BELOW, LIKING_WIDTH = 0.2, 0.002
"""From this average loss on less is liked better."""
LEAST_INHERENT, FIRST_INHERENT = 0.001, 0.01
INHERENT_OFFSET, INHERENT_BALANCE_BPS = 0.05, 150_000
"""What may be inherent: five per cent, and more on a slow way. The original has 100 kb/s: with it a way that loses a tenth of whatever is
sent carries 1.2 to 1.4 Mb/s by turns, with this 1.5 to 2.1, and one with a short queue is not filled further for it."""
NEWTON_STEP = 0.75
RISE, RISE_S = 1.3, 0.3
"""While losses bound, it grows by no more than this in so long."""
BEYOND, BEYOND_IN_HOLD, HOLD_NEAR = 1.5, 1.2, 1.3
CALM, USED = 0.01, 0.9
"""While less than this is lost on the average, or less than this part of the rate is sent, how much arrives does not bound the rise: the
original sends padding then so that more arrives, and without it who uses two thirds of the target would never get beyond it."""
FIRST_HOLD_S, LONGEST_HOLD_S, HOLD_FACTOR = 0.3, 5.0, 2.0
"""After a cut the rate is held so long, twice as long each time. The original goes on to a minute, which a way that just loses a
twentieth of what is sent does not deserve."""
SPIKE = 2.0
EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class _Observation:
    octets: float
    """Thousands of them, as in the original, which sets how much they weigh against the liking."""
    lost: float
    bps: float


class LossRate:
    """`estimate_bps` is what losses allow, never more than the delay does. `bound` tells whether losses are what limits."""

    def __init__(self, floor_bps: float) -> None:
        self._floor = floor_bps
        self.estimate_bps = float("inf")
        self.bound = False
        """Losses limit the rate."""
        self.rising = False
        """They do, and less than they did."""
        self.average = 0.0
        """Share of octets lost of late, without the best and the worst quarter of a second."""
        self._rate: float | None = None
        self._inherent = FIRST_INHERENT
        self._observed: deque[_Observation] = deque(maxlen=WINDOW)
        self._octets = 0
        self._lost: dict[int, int] = {}
        self._since: float | None = None
        self._rise_limit, self._rise_since = float("inf"), float("-inf")
        self._hold_until, self._hold_s, self._hold_bps = float("-inf"), FIRST_HOLD_S, float("inf")

    def on_report(self, results: Sequence[SentPacket], delay_bps: float, arriving_bps: int | None, ceiling_bps: float, *, idle: bool = False) -> None:
        """Results of one transport-wide report, what the delay allows now, what arrives (None: not known), `idle`: the
        application limits what is sent, which then says nothing of the way."""
        last = self._count(results)
        if last is None or self._since is None or last - self._since < OBSERVATION_S:
            if not self.bound:
                self.estimate_bps = delay_bps if len(self._observed) >= LEAST_OBSERVATIONS else float("inf")
            else:
                self.estimate_bps = min(self.estimate_bps, delay_bps)
            return
        self._observed.append(_Observation(self._octets / 1000, sum(self._lost.values()) / 1000, 8 * self._octets / (last - self._since)))
        self._octets, self._since = 0, last
        self._lost.clear()
        self.average = self._average()
        self._conclude(delay_bps, arriving_bps, ceiling_bps, last, idle)

    def _count(self, results: Sequence[SentPacket]) -> float | None:
        """Into the present observation. When the newest of them was sent, None for none."""
        last: float | None = None
        for result in results:
            if result.received_at is None:
                self._lost[result.sequence] = result.size
            elif self._lost.pop(result.sequence, None) is not None:
                continue        # it came after all, and has been counted
            self._octets += result.size
            last = result.sent_at if last is None else max(last, result.sent_at)
            if self._since is None:
                self._since = result.sent_at
        return last

    def _conclude(self, delay_bps: float, arriving_bps: int | None, ceiling_bps: float, at: float, idle: bool) -> None:
        before = self._rate = delay_bps if self._rate is None else self._rate
        rate, inherent = self._likeliest(self._candidates(before, delay_bps, arriving_bps, ceiling_bps, idle))
        if self.average > inherent and rate > before:
            rate = before
        if self.bound:
            if at < self._rise_since + RISE_S:
                rate = min(rate, max(self._rise_limit, before))
            if rate >= before and arriving_bps is not None and self.average > CALM and self._observed[-1].bps > USED * before:
                factor = BEYOND_IN_HOLD if arriving_bps < HOLD_NEAR * self._hold_bps else BEYOND
                rate = max(before, min(rate, factor * arriving_bps))
        least = max(self._floor, arriving_bps or 0.0)
        bounded = max(least, min(rate, self._instant_bound(ceiling_bps), delay_bps))
        if bounded < rate:
            self._rate, self._inherent = bounded, 0.0
        else:
            self._rate, self._inherent = max(rate, least), inherent
        self._told(bounded, delay_bps, ceiling_bps, at, least)
        if self.bound and at > self._rise_since + RISE_S:
            self._rise_limit, self._rise_since = max(self._floor, RISE * self._rate), at

    def _told(self, bounded: float, delay_bps: float, ceiling_bps: float, at: float, least: float) -> None:
        """What is said: the bound, but after a cut for a while no more than it was cut to."""
        if self.bound and not self.rising and self._hold_until > at and bounded < delay_bps:
            self._hold_bps = max(least, self._hold_bps)
            self.estimate_bps = min(self._hold_bps, bounded, delay_bps)
            return
        limits = bounded < delay_bps and bounded < ceiling_bps
        grows = bounded > self.estimate_bps or (bounded == self.estimate_bps and self.rising)
        if limits and not (self.bound and grows):
            if not self.bound or self.rising:
                self._hold_until, self._hold_bps = at + self._hold_s, bounded
                self._hold_s = min(LONGEST_HOLD_S, HOLD_FACTOR * self._hold_s)
            self.rising = False
        elif limits:
            self.rising = True
        else:
            self._hold_until, self._hold_s, self._hold_bps = float("-inf"), FIRST_HOLD_S, float("inf")
            self.rising = False
        self.bound = limits
        self.estimate_bps = min(bounded, delay_bps) if len(self._observed) >= LEAST_OBSERVATIONS else float("inf")

    # ---- the model
    def _candidates(self, before: float, delay_bps: float, arriving_bps: int | None, ceiling_bps: float, idle: bool) -> list[float]:
        rates = [factor * before for factor in FACTORS]
        if arriving_bps is not None and not idle:
            rates.append(float(arriving_bps))
        if delay_bps > before:
            rates.append(delay_bps)
        most = max(before, self._rise_limit if self.bound else ceiling_bps)
        return [max(1.0, min(rate, most)) for rate in rates]

    def _likeliest(self, rates: Sequence[float]) -> tuple[float, float]:
        best, chosen = float("-inf"), (rates[0], self._inherent)
        weights = list(accumulate(repeat(AGE_WEIGHT, len(self._observed) - 1), lambda a, b: a * b, initial=1.0))
        weighted = list(zip(weights, reversed(self._observed), strict=True))
        toward_less = LIKED_BELOW - self.average
        direction = toward_less / (LIKING_WIDTH + abs(toward_less))
        for rate in rates:
            inherent = self._newton(rate, weighted)
            liking = direction * (LIKING * rate / 1000 + LOG_LIKING * log(1 + rate / 1000))
            likelihood = 0.0
            for weight, seen in weighted:
                chance = _loss_chance(inherent, rate, seen.bps)
                likelihood += weight * (seen.lost * log(chance) + (seen.octets - seen.lost) * log(1 - chance) + liking * seen.octets)
            if likelihood > best:
                best, chosen = likelihood, (rate, inherent)
        return chosen

    def _newton(self, rate: float, weighted: Sequence[tuple[float, _Observation]]) -> float:
        """One step from the last inherent loss towards what is likeliest under this rate."""
        inherent = _feasible(self._inherent, rate)
        first = second = 0.0
        for weight, seen in weighted:
            chance = _loss_chance(inherent, rate, seen.bps)
            came = seen.octets - seen.lost
            first += weight * (seen.lost / chance - came / (1 - chance))
            second -= weight * (seen.lost / chance**2 + came / (1 - chance) ** 2)
        return _feasible(inherent - NEWTON_STEP * first / second, rate) if second < 0 else inherent

    def _instant_bound(self, ceiling_bps: float) -> float:
        return INHERENT_BALANCE_BPS / (self.average - INHERENT_OFFSET) if self.average > INHERENT_OFFSET else ceiling_bps

    def _average(self) -> float:
        weighted = [(AGE_WEIGHT**age, seen) for age, seen in enumerate(reversed(self._observed))]
        octets, lost = sum(w * o.octets for w, o in weighted), sum(w * o.lost for w, o in weighted)
        if not octets:
            return 0.0
        if len(weighted) > 3:
            ordered = sorted(weighted, key=lambda entry: entry[1].lost / entry[1].octets if entry[1].octets else 0.0)
            (best_weight, best), (worst_weight, worst) = ordered[0], ordered[-1]
            usual = sorted(o.bps for _, o in weighted)[len(weighted) // 2]
            rest = octets - best_weight * best.octets - worst_weight * worst.octets
            # much more sent than before may well be why it was lost: then the worst counts
            if SPIKE * usual > worst.bps and rest > 0:
                return max(0.0, (lost - best_weight * best.lost - worst_weight * worst.lost) / rest)
        return lost / octets


def _feasible(inherent: float, rate_bps: float) -> float:
    return max(LEAST_INHERENT, min(inherent, INHERENT_OFFSET + INHERENT_BALANCE_BPS / max(rate_bps, 1.0), 1.0))


def _loss_chance(inherent: float, rate_bps: float, sent_bps: float) -> float:
    surplus = (1 - inherent) * (sent_bps - rate_bps) / sent_bps if sent_bps > rate_bps else 0.0
    return max(EDGE, min(inherent + surplus, 1 - EDGE))

"""What one subscriber's line carries, as far as it is known. Pure; `now` in monotonic seconds, rates in bits a second.

Subscribers tell an estimate (REMB, draft-alvestrand-rmcat-remb-03). It follows what is sent, so that alone it never says that more
would pass: a line is taken for wide until its estimate *falls*, and when it has been found too narrow, padding is sent to see
whether it carries more: by half as much again a step, at ever longer intervals while that fails (as livekit-server's
pkg/sfu/streamallocator; libwebrtc's estimate grows 8 % a second and never beyond one and a half times what arrives).
"""

from __future__ import annotations

from dataclasses import dataclass

FELL = 0.95
"""An estimate below so much of the one before it has fallen: receivers cut theirs to 0.85 of what arrives."""
FIRST_LOW = 0.7
"""The first one of all counts as fallen below so much of what is sent."""
NEAR = 1.1
"""One that is still above what is sent by more says that there is room."""
GROWN, GROWN_S = 1.3, 2.0
"""Where so much more is sent than a moment ago (a larger layer, another picture), a burst of keyframes looks like a queue, and what
arrives was counted before: an estimate that falls so soon is only a suspicion,"""
SUSPECTED_S = 3.0
"""which so long a longer round trip or loss confirms."""
STANDS_S, STANDS_CUT = 1.5, 0.85
"""A round trip that stays longer than the shortest for so long, although nothing was changed: a queue stands. Then so much is sent."""
OVERFLOWS, OVERFLOWS_S = 0.1, 0.6
"""And so much is lost: then so long after the last change."""
LEAST_ROUND_TRIP_S = 30.0
"""The shortest is looked for in the last one to two of these."""
LEAST_BPS = 30_000
STEP, LEAST_STEP_BPS = 1.5, 100_000
REACHED = 0.9
"""An estimate of so much of what is sent with the padding: it passes."""
GOOD_REPORTS, PASSED_S = 2, 2.0
"""And so does what brings neither loss nor a queue in so many reports and so long, however slowly the estimate grows."""
GREW = 1.01
HEARD_S, STUCK_S = 0.4, 6.0
"""What comes sooner after the padding began says nothing of it; an estimate that has not grown for the second: it does not pass."""
WAIT_S, MAX_WAIT_S = 4.0, 60.0
"""Between a cut and the first question whether there is more, and at most."""
SETTLED_S = 15.0
"""What was raised and has held for so long was right."""
MORE_LOST, LONGER_S = 0.05, 0.08
"""So much more lost than before the padding, or a round trip so much longer: it does not pass."""


@dataclass(slots=True)
class _Stage:
    """One step of padding: `target_bps` in all since `began`; what was lost and how long a round trip was before it; the highest
    estimate, and when that came."""

    target_bps: float
    began: float
    fraction_lost: float
    round_trip_s: float
    best_bps: float
    grew_at: float
    good: int = 0
    """Reports since that tell of no harm."""


class Line:
    """`limit_bps`: what may be sent in all; None while nothing says that there is a limit."""

    __slots__ = (
        "_changed_at", "_fraction_lost", "_grown_at", "_least_at", "_least_before_s", "_least_s", "_probe_at", "_raised_at", "_round_trip_s",
        "_sending_bps", "_stage", "_standing_since", "_suspected_at", "_told_bps", "_wait_s", "limit_bps",
    )  # fmt: skip

    def __init__(self) -> None:
        self.limit_bps: float | None = None
        self._told_bps: int | None = None
        self._stage: _Stage | None = None
        self._standing_since: float | None = None
        self._changed_at = self._grown_at = self._suspected_at = float("-inf")
        self._sending_bps = 0.0
        self._least_s = self._least_before_s = float("inf")
        self._least_at = float("-inf")
        self._wait_s, self._probe_at, self._raised_at = WAIT_S, 0.0, float("-inf")
        self._fraction_lost = self._round_trip_s = 0.0

    def told(self, bps: int, sending_bps: float, now: float) -> bool:
        """An estimate, while so much was sent, padding aside. Whether the limit is lower now."""
        before, self._told_bps = self._told_bps, bps
        if before is not None and sending_bps > GROWN * self._sending_bps:
            self._grown_at = now
        self._sending_bps = sending_bps
        stage, limit_bps = self._stage, self.limit_bps
        fell = bps < FELL * before if before is not None else bps < FIRST_LOW * sending_bps
        if not fell or bps > NEAR * (sending_bps if stage is None else stage.target_bps):
            if stage is not None and bps > GREW * stage.best_bps:
                stage.best_bps, stage.grew_at = bps, now
            if limit_bps is not None and (fell or bps > limit_bps):
                self.limit_bps = float(max(LEAST_BPS, bps))
            return False
        if stage is None and now - self._grown_at < GROWN_S:
            self._suspected_at = now
            return False
        if stage is not None and limit_bps is not None:
            bps = max(bps, int(min(limit_bps, sending_bps)))     # what flowed before the padding still does
        self._cut(bps, now)
        return True

    def _stands(self, stands: bool, overflows: bool, bps: float, now: float) -> bool:
        """Whether a queue has stood for so long that less than these `bps` must be sent: its delay is the same all the time, and
        estimates that look for a trend do not see it. One that overflows as well needs no second look."""
        if not stands:
            self._standing_since = None
            return False
        if self._standing_since is None:
            self._standing_since = now
        since = self._changed_at + OVERFLOWS_S if overflows else max(self._standing_since, self._changed_at) + STANDS_S
        if now >= since:
            self._cut(STANDS_CUT * bps, now)
            return True
        return False

    def reported(self, fraction_lost: float, round_trip_s: float, sending_bps: float, now: float) -> bool:
        """A receiver report, while so much was sent (0: no more than must be); a `round_trip_s` of 0 is not known. Whether the limit
        is lower now."""
        if round_trip_s > 0:
            if now - self._least_at > LEAST_ROUND_TRIP_S:
                self._least_before_s, self._least_s, self._least_at = self._least_s, round_trip_s, now
            self._least_s = min(self._least_s, round_trip_s)
        stage = self._stage
        if stage is not None and now - stage.began >= HEARD_S:
            longer = stage.round_trip_s > 0 and round_trip_s > stage.round_trip_s + LONGER_S
            if longer or fraction_lost > stage.fraction_lost + MORE_LOST:
                self._stop(now)
            elif round_trip_s > 0 and stage.round_trip_s > 0:
                stage.good += 1
        self._fraction_lost, self._round_trip_s = fraction_lost, round_trip_s
        long = round_trip_s > min(self._least_s, self._least_before_s) + LONGER_S
        if self._told_bps is not None and now - self._suspected_at < SUSPECTED_S and (long or fraction_lost > OVERFLOWS):
            self._suspected_at = float("-inf")
            self._cut(min(self._told_bps, STANDS_CUT * sending_bps), now)
            return True
        if stage is None and self.limit_bps is not None and round_trip_s > 0 and sending_bps > 0:
            return self._stands(long, fraction_lost > OVERFLOWS, min(self.limit_bps, sending_bps), now)
        return False

    def _cut(self, bps: float, now: float) -> None:
        self.limit_bps = max(float(LEAST_BPS), bps)
        self._stop(now)

    def _stop(self, now: float) -> None:
        """No padding for a while: it did not pass, or what was sent did not."""
        failed = self._stage is not None or now - self._raised_at < SETTLED_S
        self._stage, self._standing_since, self._changed_at = None, None, now
        self._wait_s = min(MAX_WAIT_S, 2 * self._wait_s) if failed else WAIT_S
        self._probe_at = now + self._wait_s

    def padding(self, needed_bps: float, sending_bps: float, now: float) -> float:
        """What to send besides media to learn whether `needed_bps` in all would pass, bits a second; asked several times a second
        while there is a limit and somebody wants more. When it is known to pass it has become the limit."""
        assert self.limit_bps is not None
        if needed_bps <= self.limit_bps:
            self._stage = None
            return 0.0
        stage = self._stage
        if stage is None:
            if now < self._probe_at or self._told_bps is None:
                return 0.0
            stage = self._stage = self._next(needed_bps, max(sending_bps, LEAST_BPS), now)
        elif self._passes(stage, now):
            if stage.target_bps >= needed_bps:
                self.raise_to(needed_bps, now)
                return 0.0
            stage = self._stage = self._next(needed_bps, stage.target_bps, now)
        elif now - stage.grew_at > STUCK_S:
            self._stop(now)
            return 0.0
        return max(0.0, stage.target_bps - sending_bps)

    def _passes(self, stage: _Stage, now: float) -> bool:
        if self._told_bps is not None and self._told_bps >= REACHED * stage.target_bps:
            return now - stage.began >= HEARD_S
        return stage.good >= GOOD_REPORTS and now - stage.began >= PASSED_S

    def _next(self, needed_bps: float, from_bps: float, now: float) -> _Stage:
        return _Stage(min(needed_bps, max(STEP * from_bps, from_bps + LEAST_STEP_BPS)), now, self._fraction_lost, self._round_trip_s, self._told_bps or 0.0, now)

    def may_try(self, now: float) -> bool:
        """Whether more may be sent without having asked by padding: for whoever cannot be sent any."""
        return now >= self._probe_at

    def raise_to(self, bps: float, now: float) -> None:
        """So much passes, or is tried."""
        if now - self._raised_at >= SETTLED_S and now >= self._probe_at + SETTLED_S:
            self._wait_s = WAIT_S
        self.limit_bps, self._stage = bps, None
        self._raised_at, self._probe_at = now, now + WAIT_S / 2

    def free(self) -> None:
        """Everything wanted is sent, and has been for long: there is no limit any more."""
        self.limit_bps, self._stage = None, None

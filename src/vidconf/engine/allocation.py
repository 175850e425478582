"""How the rate that the way carries is shared among the layers of what one sends. Pure; `now` is an argument; one thread an object.

After libwebrtc's simulcast_rate_allocator.cc: each layer gets what is enough for it, from the most important on; one whose least does
not fit is not sent, nor any beyond it; what is then left goes to the largest that is sent. Screens come before cameras, and both after
sound, which the caller takes off. A camera's layers matter from the smallest on, a screen's from the largest: text at half its size
is no text.

Unlike there, a camera's largest layer is not the first to go where all three are taken: it stands for the middle one, in its size if
need be (`layer_encoder`). Who watches the largest goes on watching the same stream; from a layer that ends an SFU moves its viewers only
when it has noticed, and with another keyframe, which was measured to take a second and a half where a line had become narrow.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from vidconf.engine.ladder import Layer

STAYS = 0.8
"""A layer that is sent goes on with this part of its least: a little coarser is better than another layer."""
RETURN_FACTOR = 1.2
"""A layer that is off comes back when so many times its least is there (StableTargetRateExperiment's factor)."""
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 16.0
"""One that had to go stays away for so long, twice as long each time it had to go again soon: each return costs a keyframe, and one
that comes and goes is worse to look at than one that is not there."""
CALM_S = 20.0
"""Sent for so long without having to go, it is no longer held against it."""


@dataclass(frozen=True, slots=True)
class Need:
    """One source of pictures: its layers, smallest first, and which of them anybody takes."""

    layers: tuple[Layer, ...]
    wanted: tuple[bool, ...]
    screen: bool = False

    @property
    def useful_bps(self) -> int:
        """The most that makes a difference: enough for each that is taken, all that it can use for the largest."""
        taken = [layer for layer, wanted in zip(self.layers, self.wanted, strict=True) if wanted]
        return sum(layer.enough_bps for layer in taken[:-1]) + sum(layer.most_bps for layer in taken[-1:])

    def order(self) -> list[int]:
        """Those that are taken, the most important first."""
        taken = [k for k, wanted in enumerate(self.wanted) if wanted]
        return taken[::-1] if self.screen else taken


@dataclass(slots=True)
class _Seat:
    """What is remembered of a layer."""

    on: bool = False
    on_since: float = 0.0
    cut: int = 0
    """How often it had to go, of late."""
    cut_at: float = 0.0


@dataclass(slots=True)
class _Share:
    need: Need
    order: list[int]
    seats: list[_Seat]
    rates: list[int] = field(default_factory=list)
    sent: int = 0
    """So many of `order` are sent."""

    def more(self, k: int, left: int, *, enough: bool = True) -> int:
        """Give a layer of what is left, until it has enough or all that it can use; how much it took."""
        layer = self.need.layers[k]
        taken = max(0, min(left, (layer.enough_bps if enough else layer.most_bps) - self.rates[k]))
        self.rates[k] += taken
        return taken


    def give_way(self, missing: int) -> int:
        """What a camera's smallest layer can spare of `missing` for the next one, which would have to go else: down to half of what is
        enough for it. Nothing where that does not help."""
        if self.need.screen or self.sent != 1:
            return 0
        first = self.order[0]
        spare = self.rates[first] - max(self.need.layers[first].least_bps, self.need.layers[first].enough_bps // 2)
        if spare < missing:
            return 0
        self.rates[first] -= missing
        return missing

    def stand_in(self, left: int) -> int:
        """Let the largest take the place of the one before it, where it alone does not fit and a smaller one is still there; how much
        of what is left it took besides."""
        if self.need.screen or self.sent < 2 or self.sent != len(self.order) - 1:
            return 0
        before, largest = self.order[-2:]
        self.rates[largest], self.rates[before] = self.rates[before], 0
        return self.more(largest, left, enough=False)


class Allocator:
    """One connection's."""

    def __init__(self) -> None:
        self._seats: dict[Hashable, list[_Seat]] = {}

    def share(self, budget_bps: int, needs: dict[Hashable, Need], now: float) -> dict[Hashable, tuple[int, ...]]:
        """Bits a second for each layer of each source, 0 for those that are not sent. The most important layer of each source is sent
        always, at its least if need be: whether nothing at all should leave is not decided here. Beyond these leasts the sum is never
        above `budget_bps`."""
        self._seats = {key: seats for key, seats in self._seats.items() if key in needs and len(seats) == len(needs[key].layers)}
        shares = [
            _Share(need, need.order(), self._seats.setdefault(key, [_Seat() for _ in need.layers]), [0] * len(need.layers))
            for key, need in needs.items()
        ]
        ranked = sorted((share for share in shares if share.order), key=lambda share: not share.need.screen)
        left = budget_bps
        for share in ranked:
            first = share.order[0]
            share.rates[first], share.sent = share.need.layers[first].least_bps, 1
            left -= share.rates[first]
        for share in ranked:
            left -= share.more(share.order[0], left)
        for share in ranked:
            left = self._beyond_first(share, left, now)
        for share in ranked:
            left -= share.more(max(share.order[: share.sent]), left, enough=False)
        for share in shares:
            self._note(share, now)
        for share in ranked:
            left -= share.stand_in(left)
        return {key: tuple(share.rates) for key, share in zip(needs, shares, strict=True)}

    def _beyond_first(self, share: _Share, left: int, now: float) -> int:
        """Those after the most important one, as far as they fit; what is left after them."""
        for k in share.order[1:]:
            layer, seat = share.need.layers[k], share.seats[k]
            least = int(STAYS * layer.least_bps) if seat.on else min(int(RETURN_FACTOR * layer.least_bps), layer.enough_bps)
            if seat.on and left < least:
                left += share.give_way(least - left)
            if left < least or (not seat.on and self._must_wait(seat, now)):
                break
            share.sent += 1
            left -= share.more(k, left)
        return left

    def _must_wait(self, seat: _Seat, now: float) -> bool:
        return bool(seat.cut) and now - seat.cut_at < min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (seat.cut - 1))

    def _note(self, share: _Share, now: float) -> None:
        """Which are on from now on; which had to go for want of room (and not because nobody takes them)."""
        for k, seat in enumerate(share.seats):
            on = share.rates[k] > 0
            if on and not seat.on:
                seat.on_since = now
            if seat.cut and on and now - seat.on_since > CALM_S:
                seat.cut = 0
            if seat.on and not on and share.need.wanted[k]:
                seat.cut, seat.cut_at = min(seat.cut + 1, 8), now
            seat.on = on


def useful_bps(needs: Sequence[Need]) -> int:
    """The most that makes a difference to all of them together."""
    return sum(need.useful_bps for need in needs)

"""Who gets which layer of what a narrow line carries. Pure; any thread; rates in bits a second.

The most important first, and everybody something: each picture its smallest layer while that fits, in their order; then, again
in their order, the largest that what is left allows. What does not fit at all is paused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PAUSED = -1
STAYS, RISES = 0.9, 1.15
"""A layer that flows may cost a little more than it should, one to come must be sure to fit: rates tremble."""
SQUEEZED = 0.67
"""A picture is paused where less than this part of its smallest layer fits: a queue that is never empty delays the sound, but no
picture at all is worse than one that is late."""


@dataclass(frozen=True, slots=True)
class Want:
    """One picture. `rates`: of its layers, smallest first, None of one that is not being sent; `most`: the layer wished for;
    `flows`: the one it gets now, or PAUSED; `importance`: the larger the earlier."""

    rates: Sequence[float | None]
    most: int
    flows: int
    importance: tuple[int, ...] = ()

    def layers(self) -> list[int]:
        """What there is to give, smallest first; the smallest of all that is sent, when all is larger than wished."""
        sent = [k for k, rate in enumerate(self.rates) if rate is not None]
        return [k for k in sent if k <= self.most] or sent[:1]

    def cost(self, layer: int, stays: float = STAYS) -> float:
        """To be reckoned with for it: no less than for any smaller one, whatever they happen to send."""
        upto = self.rates[: layer + 1]
        return max(((rate or 0.0) * (stays if k == self.flows else RISES) for k, rate in enumerate(upto)), default=0.0)


def share(wants: Sequence[Want], budget_bps: float, *, cut: bool = False) -> list[int]:
    """The layer of each, or PAUSED. A want of which nothing is sent gets `most`: it begins when something comes. `cut`: what flows
    has just been found too much, and gets no allowance."""
    stays = 1.0 if cut else STAYS
    order = sorted(range(len(wants)), key=lambda k: wants[k].importance, reverse=True)
    given = [PAUSED if want.layers() else want.most for want in wants]
    left = budget_bps
    for k in order:
        if layers := wants[k].layers():
            cost = wants[k].cost(layers[0], stays)
            if SQUEEZED * cost <= left:
                given[k] = layers[0]
                left -= cost
    for k in order:
        layers = wants[k].layers()
        if given[k] == PAUSED or not layers:
            continue
        for layer in reversed(layers):
            more = wants[k].cost(layer, stays) - wants[k].cost(layers[0], stays)
            if layer > given[k] and more <= left:
                given[k] = layer
                left -= more
                break
    return given


def next_step(wants: Sequence[Want], given: Sequence[int]) -> float | None:
    """What all pictures would cost with one step more for the most important that has less than it wants; None when none has."""
    lacking = [k for k, want in enumerate(wants) if (layers := want.layers()) and given[k] < layers[-1]]
    if not lacking:
        return None
    first = max(lacking, key=lambda k: (given[k] == PAUSED, wants[k].importance))
    up = next(layer for layer in wants[first].layers() if layer > given[first])
    others = sum(want.cost(layer) for k, (want, layer) in enumerate(zip(wants, given, strict=True)) if k != first)
    return others + wants[first].cost(up) * 1.02

"""What a publisher is told of who watches: the best quality anybody takes (SubscribedQualityUpdate). Pure; `now` is an argument.

LiveKit's rule (pkg/rtc/dynacast): more is told at once; less only after five seconds, so that a tile scrolled away and back
costs no keyframe. A publisher that was told nothing sends everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from vidconf.relay.layers import HIGH, LOW, MEDIUM

NOTHING = -1
"""Nobody watches: not encoded at all."""
LESS_AFTER_S = 5.0


class Watched:
    """One video track's. `told` is the best quality of those that the publisher knows to be wanted."""

    __slots__ = ("_less_since", "told")

    def __init__(self) -> None:
        self.told = HIGH
        self._less_since: float | None = None

    def look(self, wanted: int, now: float) -> bool:
        """`wanted` is the best quality taken now, or NOTHING. Whether `told` has changed and is to be said."""
        if wanted >= self.told:
            self._less_since = None
            if wanted == self.told:
                return False
        elif self._less_since is None:
            self._less_since = now
            return False
        elif now - self._less_since < LESS_AFTER_S:
            return False
        self.told, self._less_since = wanted, None
        return True


def enabled(told: int) -> Sequence[tuple[int, bool]]:
    """(quality, whether it is to be sent), as the message lists them."""
    return [(quality, quality <= told) for quality in (LOW, MEDIUM, HIGH)]

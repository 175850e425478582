"""How many layers less a subscriber gets whose line does not carry them. Pure; `now` is an argument.

For clients that do not estimate (those that do: `line`) there is one sign, the loss in their receiver reports. More than a tenth
for three seconds: one layer down. Next to none for ten: one up again; a line that fails again at once is tried again later and
later. Deliberately coarse: it keeps a full queue from staying full.
"""

from __future__ import annotations

TOO_MUCH = 0.10
LITTLE = 0.02
DOWN_AFTER_S = 3.0
UP_AFTER_S = 10.0
UP_AFTER_MAX_S = 80.0
AGAIN_S = 15.0
"""A step down so soon after a step up: that step was a mistake."""


class Downlink:
    """One subscriber's and track's."""

    __slots__ = ("_bad_since", "_good_since", "_up_after_s", "_up_at", "less")

    def __init__(self) -> None:
        self.less = 0
        """Layers below the one wished for."""
        self._bad_since: float | None = None
        self._good_since: float | None = None
        self._up_after_s, self._up_at = UP_AFTER_S, float("-inf")

    def reported(self, fraction_lost: float, most: int, now: float) -> bool:
        """A receiver report, about once a second. `most`: how far `less` may go. Whether it has changed."""
        if fraction_lost > TOO_MUCH:
            self._good_since = None
            if self._bad_since is None:
                self._bad_since = now
            elif now - self._bad_since >= DOWN_AFTER_S and self.less < most:
                self.less += 1
                self._bad_since = now
                if now - self._up_at < AGAIN_S:
                    self._up_after_s = min(UP_AFTER_MAX_S, 2 * self._up_after_s)
                return True
            return False
        self._bad_since = None
        if fraction_lost > LITTLE:
            self._good_since = None
        elif self._good_since is None:
            self._good_since = now
        elif self.less and now - self._good_since >= self._up_after_s:
            self.less -= 1
            self._good_since, self._up_at = now, now
            return True
        elif not self.less and now - self._good_since >= UP_AFTER_MAX_S:
            self._up_after_s = UP_AFTER_S
        return False

"""When to try again, and with what: the policy of rejoining, apart from the session that follows it. Pure; any thread."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

DELAYS_S = (0.0, 0.3, 0.7, 1.2, 1.5)
"""The first attempt is at once: most losses are a server's restart or a changed network, over when they are noticed. The last is
short enough to be back within three seconds of a server's return; a server that is up but full says itself when to come."""
CONNECT_S, CONNECT_MOST_S, CONNECT_GROWS = 2.0, 10.0, 1.5
"""What a connection is given to open: TCP's own repeats come after 1, 3 and 7 s, and a way that is back should not wait for those."""
STABLE_S = 10.0
"""A session that has lived so long begins the next series anew."""
FRESH_S = 3.0
"""A token with less left to live is not worth a try."""
FIRST_JOIN_PATIENCE_S = 12.0
"""How long a first join is tried before the user is told; a rejoin is tried until someone leaves."""

REFUSED = frozenset({"token_refused", "refused", "no_room"})
"""The server does not want this token: another one is needed, not patience."""
ANSWERED = REFUSED | {"server_busy", "malformed", "bad_url", "untrusted_certificate", "no_turn"}
"""The server has not let us in: it, or something before it, has said so."""
HOPELESS = frozenset({"bad_url", "untrusted_certificate", "no_turn"})
"""Trying again cannot help."""


@dataclass(slots=True)
class Backoff:
    """Delays that grow to one and a half seconds, each 0.75 … 1.25 of its number, so that a hall does not come back in one instant."""

    random: random.Random = field(default_factory=random.Random)
    tries: int = 0

    def next_delay_s(self) -> float:
        """Seconds to wait before the next attempt. A second loss soon after a first does not start at once."""
        delay = DELAYS_S[min(self.tries, len(DELAYS_S) - 1)]
        self.tries += 1
        return delay * self.random.uniform(0.75, 1.25)

    def lasted(self, seconds: float) -> None:
        """A session ended that had lived so long."""
        if seconds >= STABLE_S:
            self.tries = 0


def connect_timeout_s(tries: int) -> float:
    """Seconds that opening a connection may take in an attempt after `tries` others: more each time, for ways that are slow."""
    return min(CONNECT_MOST_S, CONNECT_S * CONNECT_GROWS ** min(tries, 10))


def usable(expires_at: float | None, now: float) -> bool:
    """Whether a token is worth a try (`expires_at` in Unix seconds; one without an end is)."""
    return expires_at is None or expires_at - now > FRESH_S

"""How much one client may ask of the relay. Loop's thread."""

from __future__ import annotations

from dataclasses import dataclass

TRACKS = 20
"""Published and pending, for a participant (LiveKit: 20 pending)."""
SIGNAL_BYTES = 2 << 20
SIGNAL_PER_S, SIGNAL_BURST = 50.0, 500.0
RTCP_PER_S, RTCP_BURST = 200.0, 400.0
DATA_PER_S, DATA_BURST = 200.0, 1000.0
DATA_BYTES = 64_000
"""A larger message kills the channel at some receivers (livekit-protocol.md §2.8)."""
DATA_BUFFERED_BYTES = {True: 4 << 20, False: 256 << 10}
"""Waiting for one subscriber: reliable, lossy."""
OUTBOX = 2000
"""Signalling messages waiting for one client; with more it is cut off and joins again."""
METADATA_BYTES = 64_000
ATTRIBUTES = 64
NAME_CHARS = 256
IDENTITY_CHARS = 256
ROOM_CHARS = 256
PARTICIPANTS = 2000
"""Of one relay, all rooms together."""
ROOMS = 5000
REMOVED = 10_000
"""Removed identities and their tokens remembered."""

ACTIVE_WITHIN_S = 30.0
"""A participant whose media is not up by then is removed."""
HOLD_S = 6.0
"""A participant whose WebSocket broke stays so long, that others see no flicker."""
CONSENT_S = 20.0
"""No valid check for so long: the media connection is dead."""
NEGOTIATION_S = 15.0


@dataclass(slots=True)
class Bucket:
    """A token bucket. `now` in monotonic seconds."""

    per_s: float
    burst: float
    level: float = -1.0
    at: float = 0.0

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Whether there is room for one more."""
        level = self.burst if self.level < 0 else min(self.burst, self.level + (now - self.at) * self.per_s)
        self.at = now
        if level < cost:
            self.level = level
            return False
        self.level = level - cost
        return True

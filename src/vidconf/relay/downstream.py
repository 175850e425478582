"""One track on its way to one subscriber: which layer it gets, under which numbers. The loop's thread.

`out = index + add` (forwarder). With every switch between layers, pause and mute a new *stretch* begins, so that the numbers go
on without a gap; the last few are remembered, because what was lost before a switch is asked for after it.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vidconf.relay.downlink import Downlink
from vidconf.relay.layers import Wish
from vidconf.relay.renumbering import Pictures, Shift
from vidconf.webrtc.ice_lite import LiteSession

if TYPE_CHECKING:
    from vidconf.relay.forwarder import Upstream
    from vidconf.relay.simulcast import Layers

COPIED = 2.5
"""Times its payload, with header and two copies."""
RESENDS_PER_S = 300
"""For one subscriber and track: what asks for more is not repaired by more packets."""
STRETCHES = 4
LONG = 0x4000
"""Packets. Numbers come again after four times as many: what lies before a longer stretch is not asked for any more, and would be
taken for something else."""
NO_LIMIT = 99
"""Of `most`: whatever it wishes for."""
PLAIN = Shift()


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a subscriber was sent of one layer: the indexes `first` to `last`, with `add` and `shift` on their numbers."""

    layer: Upstream
    first: int
    last: int
    add: int
    shift: Shift


class Down:
    """`upstream` is the layer that flows, or was the last to."""

    __slots__ = (
        "accepted", "add", "downlink", "enabled", "first", "fraction_lost", "has_begun", "is_open", "layers", "most", "octets_base", "packets_base",
        "past", "pictures", "resend_tokens", "resent_at", "round_trip_s", "rtx_sequence", "rtx_ssrc", "sequence", "session", "shift", "sr_at", "sr_ntp",
        "ssrc", "takes_red", "takes_rtx", "upstream", "wish",
    )  # fmt: skip

    def __init__(self, upstream: Upstream, session: LiteSession, ssrc: int, wish: Wish | None = None) -> None:
        self.upstream, self.session, self.ssrc = upstream, session, ssrc
        self.layers: Layers | None = None
        """The track's: set while it is subscribed."""
        self.wish = wish or Wish()
        self.is_open = False
        """Packets flow."""
        self.accepted = False
        """Offered, answered and reachable; from here on it opens at the next keyframe (video) or packet (audio)."""
        self.enabled = not self.wish.disabled
        """The subscriber's own pause is off."""
        self.most = NO_LIMIT
        """The largest layer that its line carries; below 0: none, it is paused."""
        self.rtx_ssrc, self.rtx_sequence = 0, secrets.randbits(14)
        self.takes_rtx = False
        """Video: it has answered that it takes repairs under an SSRC of their own."""
        self.takes_red = False
        """Audio: it has answered that it understands RED."""
        self.has_begun = False
        """It was sent something: numbers must go on from there."""
        self.sequence = secrets.randbits(14)
        """The last number sent before it was closed."""
        self.add = self.first = 0
        self.shift = PLAIN
        self.pictures = Pictures()
        """The VP8 numbers of what it was sent last, before it was closed."""
        self.past: deque[Stretch] = deque(maxlen=STRETCHES)
        self.packets_base = self.octets_base = 0
        self.sr_ntp, self.sr_at = 0, 0.0
        self.fraction_lost, self.round_trip_s = 0.0, 0.0
        self.downlink = Downlink()
        self.resend_tokens, self.resent_at = float(RESENDS_PER_S), 0.0

    @property
    def is_wanted(self) -> bool:
        return self.accepted and self.enabled and self.most >= 0

    @property
    def costs_bps(self) -> float:
        """What is sent to it, bits a second; of sound with copies about what that comes to."""
        return self.upstream.rate_bps * (COPIED if self.takes_red else 1.0)

    @property
    def is_apart(self) -> bool:
        """It gets its packets in another form than they came."""
        return self.takes_red or not self.shift.is_plain

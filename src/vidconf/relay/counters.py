"""What the relay counts: everything a client or a stranger can make it drop. Loop's thread; shown at /debug/counters on loopback."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    rtp_malformed: int = 0
    rtp_unknown_ssrc: int = 0
    """Packets of an SSRC that no published track is known to have."""
    rtp_refused: int = 0
    """Packets of a track that is muted or not permitted."""
    rtcp_malformed: int = 0
    rtcp_over_limit: int = 0
    packets_resent: int = 0
    padding_sent: int = 0
    """Packets of nothing, to see what a subscriber's line carries."""
    resends_refused: int = 0
    nacks_sent: int = 0
    keyframes_asked: int = 0
    signal_malformed: int = 0
    signal_over_limit: int = 0
    sdp_malformed: int = 0
    data_refused: int = 0
    """Data messages that are malformed, too large, too many, or not permitted."""
    data_dropped: int = 0
    """Data messages that a subscriber's full channel did not take."""
    joins: int = 0
    joins_refused: int = 0
    webhooks_dropped: int = 0
    slow_clients: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)

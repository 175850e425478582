"""How fast one connection sends: numbers, estimate, probes and pacer tied together. Made by `transport`, loop's thread only.

It covers what is numbered. livekit-server numbers pictures and not sound (and takes numbered sound for lost), so on it the target
is for pictures, and sound leaves besides, never waiting. Who gets which part of the target is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vidconf.engine.outgoing import OutgoingStream, TransportNumbers
from vidconf.engine.pacer import Pacer
from vidconf.rtp.congestion import SendRate
from vidconf.rtp.rtcp import TransportFeedback

START_BPS, FLOOR_BPS = 500_000, 100_000
CEILING_BPS = 4_000_000
"""Until `allow` says how much is of use."""
ROOM = 1.2
"""The target may be so many times what the encoders want at most: repairs, headers, and a keyframe now and then."""
TELL_EVERY_S = 0.04
SHARE_EVERY_S = 0.25
FELL, HOLD_S = 0.6, 0.15
"""A target below such a part of the one before it: the way has become much narrower, and its queue is full. So long at most nothing
leaves, else the keyframe that usually follows runs over at its end and has to be repaired by way of the same queue."""
LEAST_SHARE = 0.8
"""Repairs come in bursts, and a layer that goes for them stays away for seconds."""


class SendControl:
    """Call `tick` every 20 ms or so and `on_feedback` for each report; `changed` is called when encoders should follow.

    `streams`: what may send just now (a muted one not), for padding and for how much of what leaves is pictures.
    """

    def __init__(self, overflowed: Callable[[], None], streams: Callable[[], Iterable[OutgoingStream]], changed: Callable[[], None]) -> None:
        self.numbers = TransportNumbers()
        self.pacer = Pacer(overflowed)
        self.rate = SendRate(START_BPS, FLOOR_BPS, CEILING_BPS)
        self.probed = 0
        """Probes sent."""
        self._streams, self._changed = streams, changed
        self._told_bps = 0
        self._told_at = float("-inf")
        self._share = 1.0
        """Of what leaves, what is pictures sent for the first time."""
        self._counted: tuple[int, int] = (0, 0)
        self._counted_at = float("-inf")
        self.numbers.on_sent = self.rate.sent
        self.pacer.target_bps = self.rate.target_bps
        self.pacer.padding = self._padded

    @property
    def governs(self) -> bool:
        """Something that is sent is reported about; where nothing is, the target means nothing."""
        return self.rate.heard or any(stream.numbered for stream in self._streams())

    @property
    def target_bps(self) -> int:
        """What may leave, all told."""
        return self.rate.target_bps

    @property
    def media_bps(self) -> int:
        """What of it the encoders may make: repairs and headers are taken off as they have lately been."""
        return int(self._share * self.rate.target_bps)

    def allow(self, useful_bps: int, most_bps: int, *, limit_bps: int = 0) -> None:
        """No more than `useful_bps` is of use to all encoders together now, and never more than `most_bps`, whoever watches. All told,
        probes and repairs included, no more than `limit_bps` may leave (0: no such limit)."""
        ceiling = min(int(ROOM * most_bps), limit_bps or int(ROOM * most_bps))
        self.rate.ceiling_bps = max(FLOOR_BPS, ceiling)
        self.rate.want(max(FLOOR_BPS, ROOM * useful_bps))

    def on_feedback(self, feedback: TransportFeedback, now: float) -> None:
        """A transport-wide report."""
        results = self.numbers.report(feedback)
        if results:
            self.rate.on_report(results, now)
            self.tick(now)

    def tick(self, now: float) -> None:
        """Probe where that is due, follow the estimate, tell of its changes."""
        for probe in self.rate.probes(now):
            self.probed += 1
            self.pacer.probe(probe)
        if now - self._counted_at >= SHARE_EVERY_S:
            self._count(now)
        target = self.rate.target_bps
        if target == self._told_bps or now - self._told_at < TELL_EVERY_S:
            return
        self.pacer.target_bps = target
        if target < FELL * self._told_bps:
            self.pacer.hold(min(HOLD_S, self.rate.standing_s))
        self._told_bps, self._told_at = target, now
        self._changed()

    def report(self) -> dict[str, float | int]:
        """For who looks at the connection: rates in bits a second, times in ms."""
        return {
            "target_bps": self.rate.target_bps, "arriving_bps": self.rate.arriving_bps or 0, "loss": round(self.rate.loss, 3),
            "rtt_ms": round(1000 * self.rate.rtt_s, 1), "backlog_ms": round(1000 * self.pacer.backlog_s, 1), "overuses": self.rate.overuses,
            "probes": self.probed, "let_go": self.pacer.overflows,
        }  # fmt: skip

    def close(self) -> None:
        self.pacer.close()

    def _padded(self) -> OutgoingStream | None:
        """One that can carry a probe: with an SSRC for repairs if there is one."""
        able = [stream for stream in self._streams() if stream.numbered and stream.packets]
        return next((stream for stream in able if stream.rtx_ssrc), able[0] if able else None)

    def _count(self, now: float) -> None:
        numbered = [stream for stream in self._streams() if stream.numbered]
        first, wire = sum(s.octets for s in numbered), sum(s.wire_octets - s.padding_octets for s in numbered)
        more_first, more_wire = first - self._counted[0], wire - self._counted[1]
        self._counted, self._counted_at = (first, wire), now
        if 0 < more_first <= more_wire:
            self._share += (max(LEAST_SHARE, more_first / more_wire) - self._share) / 2

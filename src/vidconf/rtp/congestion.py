"""A simple send rate that follows the feedback: loss backs off, a rising queue backs off, quiet grows.

Pure; one thread an object. Additive increase, multiplicative decrease with a guard on one-way delay; small on purpose: a
delay-based estimator after libwebrtc's replaces it behind the same two methods.
"""

from __future__ import annotations

from collections.abc import Sequence

from vidconf.rtp.feedback import SentPacket

WINDOW_S = 0.5
LOSS_HIGH, LOSS_LOW = 0.10, 0.02
QUEUE_HIGH_S = 0.08
"""Extra one-way delay over the smallest seen of late that counts as a filling queue."""
LEAST_WINDOW_S = 5.0
"""The smallest delay is looked for in the last one to two of these."""


class SimpleRate:
    """`target_bps` moves at most once in WINDOW_S. Feed it with transport-wide reports, or with receiver reports' loss. It does
    not grow beyond twice what is really being sent: a still picture proves nothing about the network."""

    __slots__ = (
        "_delays", "_floor", "_least", "_least_before", "_least_since", "_lost", "_octets", "_sent", "_target", "_window_at",
        "ceiling_bps",
    )  # fmt: skip

    def __init__(self, start_bps: int, floor_bps: int, ceiling_bps: int) -> None:
        self._floor, self.ceiling_bps = floor_bps, ceiling_bps
        self._target = float(start_bps)
        self._window_at: float | None = None
        self._sent = self._lost = self._octets = 0
        self._delays: list[float] = []
        self._least = self._least_before = float("inf")
        """Smallest one-way delay of this window and of the one before."""
        self._least_since = float("-inf")

    @property
    def target_bps(self) -> int:
        return int(max(self._floor, min(self._target, self.ceiling_bps)))

    def on_report(self, results: Sequence[SentPacket], now: float) -> None:
        """Results of one transport-wide report."""
        for result in results:
            self._sent += 1
            if result.received_at is None:
                self._lost += 1
                continue
            self._octets += result.size
            delay = result.received_at - result.sent_at
            if now - self._least_since > LEAST_WINDOW_S:
                self._least_before, self._least, self._least_since = self._least, delay, now
            self._least = min(self._least, delay)
            self._delays.append(delay)
        self._step(now)

    def on_receiver_report(self, fraction_lost: float, now: float) -> None:
        """0…1 since the last one; used where the section has no transport-wide numbers."""
        self._sent += 100
        self._lost += round(100 * fraction_lost)
        self._step(now)

    def _step(self, now: float) -> None:
        if self._window_at is None:
            self._window_at = now
        if now - self._window_at < WINDOW_S or self._sent < 10:
            return
        loss = self._lost / self._sent
        queue_s = 0.0
        if self._delays:
            queue_s = sorted(self._delays)[len(self._delays) // 2] - min(self._least, self._least_before)
        if loss > LOSS_HIGH:
            self._target *= 1 - loss / 2
        elif queue_s > QUEUE_HIGH_S:
            self._target *= 0.85
        elif loss < LOSS_LOW:
            elapsed_s = now - self._window_at
            grown = self._target * 1.08**elapsed_s + 20_000 * elapsed_s
            proven = 16 * self._octets / elapsed_s if self._octets else grown
            self._target = max(self._target, min(grown, proven))
        self._target = max(self._floor, min(self._target, self.ceiling_bps))
        self._window_at, self._sent, self._lost, self._octets, self._delays = now, 0, 0, 0, []

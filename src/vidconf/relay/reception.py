"""One SSRC as it comes in: numbers unwrapped, what is missing and asked for again, what the publisher is told. The loop's thread.

Its only child is the forwarder's Upstream, which counts each packet in the hot path; here is what not every packet costs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from vidconf.rtp.rtcp import ReportBlock

CLOCK_HZ = {"video": 90_000, "audio": 48_000}
MAX_MISSING = 1000
MAX_GAP = 2000
"""A larger jump is a new beginning, not a loss."""
MAX_TRIES = 10
HEADER = 20
"""Octets of an RTP header with one extension."""
RATE_OVER_S, LEAST_RATE_BPS = 3.0, 1000.0
"""Long enough for keyframes not to show."""
REORDER_S = 0.010
"""A packet may be so late before it is asked for again."""


class Reception:
    """`number` and `index` as the forwarder says. `on_gap`: something is missing, `due_nacks` will have something soon."""

    def __init__(self, on_gap: Callable[[], None]) -> None:
        self._on_gap = on_gap
        self.ssrc = 0
        self.missing: dict[int, list[float]] = {}
        """number -> [tries, not before, first asked at]"""
        self.round_trip_s = 0.1
        self.top = -1
        """The newest index."""
        self._highest = -1
        self._shift = 0
        self._shifts: deque[tuple[int, int]] = deque(maxlen=64)
        """(from number, how many were dropped before it)"""
        self._shifted = True
        # RFC 3550 A.3 and A.8.
        self.packets = self.octets = 0
        self.last_packet_at = 0.0
        self._base = 0
        self._jitter = 0.0
        self._transit = 0.0
        self._last_timestamp = -1
        self._prior_expected = self._prior_received = 0
        self._lsr_at = 0.0
        self._report_ntp = self._report_timestamp = 0
        self.frames = 0
        """Timestamps seen in order."""
        self.rate_bps = 0.0
        """What it sends of late, with headers; `measure` keeps it."""
        self._measured: tuple[float, int, int] | None = None
        self._measured_s = 0.0

    def _begin(self, sequence: int) -> None:
        """The first packet of an SSRC. The index goes on where an earlier SSRC of this track ended."""
        self._highest = sequence + 0x10000 - 1
        self._base = self._highest + 1
        self._shift = self._base - (self.top + 1 if self.top >= 0 else self._base)
        self._shifted = True

    def restart(self) -> None:
        """The track goes on with another SSRC."""
        self._highest = -1
        self.packets = self._prior_expected = self._prior_received = 0
        self._report_ntp = 0
        self._last_timestamp = -1
        self.missing.clear()
        self._shifts.clear()

    def _gap(self, step: int, now: float) -> None:
        if step > MAX_GAP:
            self.missing.clear()
            return
        for number in range(max(self._highest + 1, self._highest + step - MAX_MISSING), self._highest + step):
            self.missing[number] = [0.0, now + REORDER_S, now]
        # in one go: the way to a dictionary's first entry leads over all that were deleted before it
        for number in list(islice(self.missing, max(0, len(self.missing) - MAX_MISSING))):
            del self.missing[number]
        self._on_gap()

    def _late_index(self, number: int) -> int | None:
        """The index of a packet that comes late; None when its neighbours were dropped on purpose."""
        after: int | None = None
        for start, shift in reversed(self._shifts):
            if number >= start:
                index = number - shift
                return index if after is None or index < after else None
            after = start - shift
        return None

    def measure(self, now: float) -> None:
        """A few times a second. After silence the first figure is that of the first look."""
        before, self._measured = self._measured, (now, self.octets, self.packets)
        if before is None or now <= before[0]:
            return
        bps = 8 * (self.octets - before[1] + HEADER * max(0, self.packets - before[2])) / (now - before[0])
        self._measured_s = min(RATE_OVER_S, self._measured_s + now - before[0]) if self.rate_bps else now - before[0]
        self.rate_bps += (bps - self.rate_bps) * min(1.0, (now - before[0]) / self._measured_s)
        if self.rate_bps < LEAST_RATE_BPS:
            self.rate_bps = 0.0

    # ---- NACK

    def due_nacks(self, now: float) -> list[int]:
        """What to ask the publisher for now; again after a round trip, MAX_TRIES times."""
        numbers = []
        again = now + max(0.02, 1.2 * self.round_trip_s)
        for number, entry in list(self.missing.items()):
            if entry[1] > now:
                continue
            if entry[0] >= MAX_TRIES or number < self._highest - MAX_GAP:
                del self.missing[number]
                continue
            if not entry[0]:
                entry[2] = now
            entry[0] += 1
            entry[1] = again
            numbers.append(number & 0xFFFF)
        return numbers

    # ---- reports

    def sender_report(self, ntp: int, timestamp: int, now: float) -> None:
        """The publisher says which timestamp belongs to which moment."""
        self._report_ntp, self._report_timestamp, self._lsr_at = ntp, timestamp, now

    def report(self, now: float) -> ReportBlock | None:
        """The report block owed to the publisher; the fraction lost is since the last call. None before the first packet."""
        if self._highest < 0 or not self.ssrc:
            return None
        expected = self._highest - self._base + 1
        new_expected, new_received = expected - self._prior_expected, self.packets - self._prior_received
        self._prior_expected, self._prior_received = expected, self.packets
        lost = max(0, new_expected - new_received)
        fraction = min(255, lost * 256 // new_expected) if new_expected > 0 else 0
        lsr = self._report_ntp >> 16 & 0xFFFFFFFF
        dlsr = int((now - self._lsr_at) * 65536) & 0xFFFFFFFF if self._report_ntp else 0
        return ReportBlock(
            self.ssrc, fraction, expected - self.packets, self._highest & 0xFFFFFFFF, int(self._jitter) & 0xFFFFFFFF, lsr, dlsr
        )

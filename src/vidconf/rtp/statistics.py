"""Sequence and timestamp unwrapping, reception statistics (RFC 3550 §6.4.1, appendix A.3 and A.8).

Pure; one thread an object.
"""

from __future__ import annotations

from vidconf.rtp.rtcp import ReportBlock


class Unwrapper:
    """Makes numbers that wrap at `bits` grow for ever. A step of less than half the range backwards is backwards."""

    __slots__ = ("_half", "_last", "_mask")

    def __init__(self, bits: int) -> None:
        self._mask, self._half = (1 << bits) - 1, 1 << bits - 1
        self._last: int | None = None

    def unwrap(self, value: int) -> int:
        """The long number of `value`. It may be below 0 when something older than the very first comes."""
        if self._last is None:
            self._last = value
            return value
        step = (value - self._last) & self._mask
        if step > self._half:
            step -= self._mask + 1
        extended = self._last + step
        self._last = max(self._last, extended)
        return extended

    def peek(self, value: int) -> int:
        """What `unwrap` would give, without moving."""
        if self._last is None:
            return value
        step = (value - self._last) & self._mask
        return self._last + (step - self._mask - 1 if step > self._half else step)


def sequence_unwrapper() -> Unwrapper:
    return Unwrapper(16)


def timestamp_unwrapper() -> Unwrapper:
    return Unwrapper(32)


MAX_DROPOUT, MAX_MISORDER = 3000, 100
"""RFC 3550 A.1's: how far ahead of the newest, how far before the very first a number may be. A retransmission on the stream's own
SSRC may be as far behind the newest as a loss ahead of it."""


class ReceiverStatistics:
    """What a receiver knows of one SSRC: counts, loss, jitter, and the report block it owes the sender."""

    __slots__ = (
        "_base", "_before", "_highest", "_jumped_to", "_last_timestamp", "_lsr", "_lsr_at", "_prior_expected", "_prior_received", "_transit",
        "_unwrap", "clock_hz", "jitter", "octets", "packets", "ssrc",
    )  # fmt: skip

    def __init__(self, ssrc: int, clock_hz: int) -> None:
        self.ssrc, self.clock_hz = ssrc, clock_hz
        self.packets = self.octets = 0
        self.jitter = 0.0
        """Clock units, RFC 3550 A.8."""
        self._base: int | None = None
        self._before = 0
        """Expected before the sender numbered anew."""
        self._highest = 0
        self._jumped_to: int | None = None
        """The number that would follow a jump too wide for a loss: two in a row, and the sender has begun anew."""
        self._unwrap = sequence_unwrapper()
        self._transit: float | None = None
        self._last_timestamp = 0
        self._prior_expected = self._prior_received = 0
        self._lsr, self._lsr_at = 0, 0.0

    def received(self, sequence: int, timestamp: int, size: int, now: float) -> int:
        """Count one packet (not a retransmission on an SSRC of its own). Returns its unwrapped sequence number."""
        extended = self._unwrap.unwrap(sequence)
        if self._base is None:
            self._base = self._highest = extended
        elif not -MAX_DROPOUT < extended - self._highest < MAX_DROPOUT or extended < self._base - MAX_MISORDER:
            begun = self._jumped(sequence)
            if begun is None:
                return extended
            extended = begun
        newest = extended > self._highest
        self._base, self._highest = min(self._base, extended), max(self._highest, extended)
        self.packets += 1
        self.octets += size
        if (newest or self._transit is None) and (timestamp != self._last_timestamp or self._transit is None):
            transit = now * self.clock_hz - timestamp
            if self._transit is not None:
                step = transit - self._transit
                wrap = 1 << 32
                step = (step + wrap / 2) % wrap - wrap / 2
                self.jitter += (min(abs(step), self.clock_hz * 10) - self.jitter) / 16
            self._transit, self._last_timestamp = transit, timestamp
        return extended

    def _jumped(self, sequence: int) -> int | None:
        """RFC 3550 A.1: a number far from all others is stray and not counted (None), unless the next one follows it."""
        assert self._base is not None
        if sequence != self._jumped_to:
            self._jumped_to = (sequence + 1) & 0xFFFF
            self._unwrap = sequence_unwrapper()
            self._unwrap.unwrap(self._highest)
            return None
        self._before += self._highest - self._base + 1
        self._jumped_to, self._transit = None, None
        self._unwrap = sequence_unwrapper()
        self._base = self._highest = self._unwrap.unwrap(sequence)
        return self._base

    def sender_report(self, ntp: int, now: float) -> None:
        """Remember the sender's last report for LSR and DLSR."""
        self._lsr, self._lsr_at = ntp >> 16 & 0xFFFFFFFF, now

    @property
    def heard(self) -> bool:
        """Whether anything has come since the last block: who is silent is not reported (RFC 3550 §6.4)."""
        return self.packets > self._prior_received

    @property
    def expected(self) -> int:
        return 0 if self._base is None else self._before + self._highest - self._base + 1

    @property
    def lost(self) -> int:
        return self.expected - self.packets

    def block(self, now: float) -> ReportBlock:
        """The report block; the fraction lost is since the last call."""
        expected, received = self.expected - self._prior_expected, self.packets - self._prior_received
        self._prior_expected, self._prior_received = self.expected, self.packets
        lost = max(0, expected - received)
        fraction = min(255, lost * 256 // expected) if expected > 0 else 0
        dlsr = min(0xFFFFFFFF, int((now - self._lsr_at) * 65536)) if self._lsr else 0
        return ReportBlock(self.ssrc, fraction, self.lost, self._highest & 0xFFFFFFFF, int(self.jitter), self._lsr, dlsr)


NTP_EPOCH_OFFSET_S = 2_208_988_800


def ntp_time(unix_s: float) -> int:
    """Unix seconds as NTP's 32.32 fixed point."""
    return int((unix_s + NTP_EPOCH_OFFSET_S) * (1 << 32)) & ((1 << 64) - 1)


def round_trip_s(block: ReportBlock, ntp_now: int) -> float | None:
    """Round trip in seconds from a report about us (RFC 3550 §6.4.1), None when it names no sender report."""
    if not block.lsr:
        return None
    units = ((ntp_now >> 16) - block.lsr - block.dlsr) & 0xFFFFFFFF
    return units / 65536 if units < 1 << 31 else None

"""What a receiver tells the sender of a whole connection, by what the offer asked for: transport-wide feedback, or REMB, or nothing.

Pure; one thread an object. Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01) goes out every 50 to
250 ms and lets the sender estimate; REMB (draft-alvestrand-rmcat-remb-03) is our own estimate, every 200 ms to 1 s. How often
within those bounds is decided by a share of what arrives, so that all our RTCP together stays under five per cent of it
(RFC 3550 §6.2; libwebrtc's intervals, `aimd_rate_control.cc`, `remote_estimator_proxy.cc`).
"""

from __future__ import annotations

from collections.abc import Sequence

from vidconf.rtp.feedback import TransportFeedbackBuilder
from vidconf.rtp.receive_rate import ReceiveRate
from vidconf.rtp.rtcp import Remb

SHARE = 0.03
"""Of what arrives, for the messages made here; reports and NACKs have the rest of the five per cent."""
REPORT_SHARE = 0.01
OVERHEAD = 14 + 28
"""SRTCP's index and tag, UDP's and IP's headers."""
MIN_NUMBERS_S, FIRST_NUMBERS_S, MAX_NUMBERS_S = 0.05, 0.1, 0.25
MIN_REMB_S, MAX_REMB_S = 0.2, 1.0
MIN_REPORT_S, MAX_REPORT_S = 1.0, 5.0
MAX_REPORTS = 8
MAX_REMB_SSRCS = 31


class ReceiverFeedback:
    """`asked` says what was negotiated, `received` is called for every packet, `due` gives what to send now."""

    __slots__ = ("_builder", "_last_size", "_number_id", "_send_time_id", "_sender", "_told_at", "octets", "rate")

    def __init__(self, sender_ssrc: int) -> None:
        self._sender = sender_ssrc
        self._builder = TransportFeedbackBuilder(sender_ssrc)
        self.rate = ReceiveRate()
        self._number_id = self._send_time_id = 0
        self._told_at = float("-inf")
        self._last_size = 0
        self.octets = 0
        """Told so far, without what carries it."""

    def asked(self, number_id: int, send_time_id: int) -> None:
        """Ids of the transport-wide number and of abs-send-time as our answer took them, 0 where it did not. Numbers win."""
        self._number_id, self._send_time_id = number_id, 0 if number_id else send_time_id

    def received(self, extensions: dict[int, bytes], size: int, now: float) -> None:
        """One RTP packet: its header extensions by id, its octets, its arrival in monotonic seconds. Extensions of a length that
        they never have are taken for missing."""
        self.rate.arrived(size, now)
        if self._number_id:
            number = extensions.get(self._number_id)
            if number is not None and len(number) == 2:
                self._builder.received(number[0] << 8 | number[1], now)
        elif self._send_time_id:
            stamp = extensions.get(self._send_time_id)
            if stamp is not None and len(stamp) == 3:
                self.rate.timed(stamp[0] << 16 | stamp[1] << 8 | stamp[2], now)

    def due(self, ssrcs: Sequence[int], now: float) -> list[bytes]:
        """RTCP packets to send now, mostly none. Call it every 20 ms or so. `ssrcs`: what we receive; a server finds the estimate's
        owner by them."""
        self.rate.arriving_bps(now)      # counted by now, not by the next question
        if self._number_id:
            return self._numbers(ssrcs, now)
        if self._send_time_id and ssrcs:
            return self._remb(ssrcs, now)
        return []

    def report_interval_s(self, size: int, now: float) -> float:
        """How long to wait between receiver reports of `size` octets (RFC 3550 §6.2, with one second for the least)."""
        return self._interval_s(size, REPORT_SHARE, MIN_REPORT_S, MAX_REPORT_S, MAX_REPORT_S, now)

    def _interval_s(self, size: int, share: float, least_s: float, most_s: float, unknown_s: float, now: float) -> float:
        arriving = self.rate.arriving_bps(now)
        if not arriving:
            return unknown_s
        return max(least_s, min(8 * (size + OVERHEAD) / (share * arriving), most_s))

    def _numbers(self, ssrcs: Sequence[int], now: float) -> list[bytes]:
        if now - self._told_at < self._interval_s(self._last_size, SHARE, MIN_NUMBERS_S, MAX_NUMBERS_S, FIRST_NUMBERS_S, now):
            return []
        self._told_at = now
        made: list[bytes] = []
        while len(made) < MAX_REPORTS and (report := self._builder.build(ssrcs[0] if ssrcs else 0)) is not None:
            made.append(report.to_bytes())
        self._last_size = sum(len(m) for m in made)
        self.octets += self._last_size
        return made

    def _remb(self, ssrcs: Sequence[int], now: float) -> list[bytes]:
        size = 20 + 4 * min(len(ssrcs), MAX_REMB_SSRCS)
        estimate = self.rate.due(now, self._interval_s(size, SHARE, MIN_REMB_S, MAX_REMB_S, MAX_REMB_S, now))
        if estimate is None:
            return []
        self.octets += size
        return [Remb(self._sender, estimate, tuple(ssrcs[:MAX_REMB_SSRCS])).to_bytes()]

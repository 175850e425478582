"""A publisher's RTP to each subscriber: renumbering, history, gaps, keyframes. The hot path; the loop's thread.

A packet goes straight through `Upstream.received`: header read, twelve new bytes a subscriber, protect, sendto. Nothing is
queued, awaited or decoded. Numbers:

    number   the publisher's sequence number, made to grow for ever
    index    the number less all that was dropped on purpose (mute, padding): without gaps but for real losses.
             The history is kept once, by index, for all subscribers
    out      index + the subscriber's own `add`: what it sees. `add` is set anew whenever it starts to receive, so that it
             sees no gap for what it was not meant to get
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence

from vidconf.relay.counters import Counters
from vidconf.relay.keyframes import Clock, KeyframeRequests
from vidconf.rtp.rtcp import ReportBlock
from vidconf.webrtc.ice_lite import LiteSession

HISTORY = {"video": 512, "audio": 256}
"""Packets kept for answering NACK; powers of two. LiveKit keeps 500 and 200."""
CLOCK_HZ = {"video": 90_000, "audio": 48_000}
MAX_MISSING = 1000
MAX_GAP = 2000
"""A larger jump is a new beginning, not a loss."""
MAX_TRIES = 10
REORDER_S = 0.010
"""A packet may be so late before it is asked for again."""
RESENDS_PER_S = 300
"""For one subscriber and track: what asks for more is not repaired by more packets."""

Kept = tuple[int, int, int, bytes]
"""index, first 16 bits of the header, timestamp, payload."""


def starts_keyframe(payload: bytes) -> bool:
    """VP8: the first packet of a frame's first partition, with the P bit of the frame tag 0 (RFC 7741 §4.2, §4.3)."""
    size = len(payload)
    if size < 2 or payload[0] & 0x17 != 0x10:
        return False
    at = 1
    if payload[0] & 0x80:
        more, at = payload[1], 2
        if more & 0x80:
            at += 2 if at < size and payload[at] & 0x80 else 1
        at += (more >> 6 & 1) + (1 if more & 0x30 else 0)
    return at < size and not payload[at] & 1


class Down:
    """One track on its way to one subscriber."""

    __slots__ = (
        "accepted", "add", "enabled", "first", "fraction_lost", "is_open", "octets_base", "packets_base", "resend_tokens",
        "resent_at", "round_trip_s", "sequence", "session", "sr_at", "sr_ntp", "ssrc", "upstream",
    )  # fmt: skip

    def __init__(self, upstream: Upstream, session: LiteSession, ssrc: int) -> None:
        self.upstream, self.session, self.ssrc = upstream, session, ssrc
        self.is_open = False
        """Packets flow."""
        self.accepted = False
        """Offered, answered and reachable; from here on it opens at the next keyframe (video) or packet (audio)."""
        self.enabled = True
        """The subscriber's own pause is off."""
        self.sequence = secrets.randbits(14)
        """The last number sent before it was closed."""
        self.add = self.first = 0
        self.packets_base = self.octets_base = 0
        self.sr_ntp, self.sr_at = 0, 0.0
        self.fraction_lost, self.round_trip_s = 0.0, 0.0
        self.resend_tokens, self.resent_at = float(RESENDS_PER_S), 0.0

    @property
    def is_wanted(self) -> bool:
        return self.accepted and self.enabled


class Upstream:
    """One published track's media as it comes in, and its way out."""

    def __init__(self, kind: str, payload_type_out: int, counters: Counters, clock: Clock, on_gap: Callable[[], None]) -> None:
        self.kind, self._out, self._counters, self._on_gap = kind, payload_type_out, counters, on_gap
        self.payload_type = -1
        self.ssrc = 0
        self.rtx_payload_type = -1
        self.rtx_ssrc = 0
        self.extension_id = 0
        """Audio: of the level; video: of the transport-wide number. 0: not negotiated."""
        self.arrivals: list[tuple[int, float]] = []
        """Transport-wide numbers and when they came: the publisher's own list, shared by its tracks."""
        self.blocked = False
        """Muted, or not permitted: nothing is forwarded."""
        self.open: tuple[Down, ...] = ()
        self.downs: list[Down] = []
        self.keyframes = KeyframeRequests(clock, self._ask_keyframe)
        self.send_keyframe_request: Callable[[], None] = lambda: None
        self.missing: dict[int, list[float]] = {}
        """number -> [tries, not before, first asked at]"""
        self.round_trip_s = 0.1
        self.top = -1
        """The newest index."""
        self._history: list[Kept | None] = [None] * HISTORY[kind]
        self._mask = HISTORY[kind] - 1
        self._highest = -1
        self._shift = 0
        self._shifts: deque[tuple[int, int]] = deque(maxlen=64)
        """(from number, how many were dropped before it)"""
        self._shifted = True
        self._waiting = False
        # Levels since the last look at them (speakers.py).
        self.heard = self.loud = self.level_sum = 0
        # Reception, RFC 3550 A.3 and A.8.
        self.packets = self.octets = 0
        self.last_packet_at = 0.0
        self._base = 0
        self._jitter = 0.0
        self._transit = 0.0
        self._last_timestamp = -1
        self._prior_expected = self._prior_received = 0
        self._lsr, self._lsr_at = 0, 0.0

    # ---- packets in

    def received(self, data: bytes, now: float, repaired: bool = False) -> None:
        """One RTP packet of this track's SSRC (or rebuilt from its RTX), decrypted."""
        first, size = data[0], len(data)
        at = 12 + 4 * (first & 15)
        if first & 0x10:
            if size < at + 4:
                self._counters.rtp_malformed += 1
                return
            end = at + 4 + 4 * (data[at + 2] << 8 | data[at + 3])
            if size < end:
                self._counters.rtp_malformed += 1
                return
            if self.extension_id and data[at] == 0xBE and data[at + 1] == 0xDE:
                self._extension(data, at + 4, end, now)
            at = end
        if first & 0x20:
            size -= data[-1]
        # -- its place in the sequence
        step = ((data[2] << 8 | data[3]) - self._highest) & 0xFFFF
        if self._highest < 0:
            self._begin(data[2] << 8 | data[3])
            step = 1
        timestamp = data[4] << 24 | data[5] << 16 | data[6] << 8 | data[7]
        self.last_packet_at = now
        if step == 1:
            number = self._highest = self._highest + 1
            in_order = True
        elif 0 < step < 0x8000:
            self._gap(step, now)
            number = self._highest = self._highest + step
            in_order = True
        else:
            number = self._highest - (-step & 0xFFFF)
            asked = self.missing.pop(number, None)
            if asked is None:
                return  # a repeat; libwebrtc also probes with old packets
            if asked[0] == 1:
                self.round_trip_s += (min(1.0, now - asked[2]) - self.round_trip_s) / 8
            in_order = False
        if not repaired:
            self.packets += 1
        if in_order and timestamp != self._last_timestamp:
            transit = now * CLOCK_HZ[self.kind] - timestamp
            if self._last_timestamp >= 0:
                change = abs((transit - self._transit + 2147483648.0) % 4294967296.0 - 2147483648.0)
                self._jitter += (change - self._jitter) / 16
            self._transit, self._last_timestamp = transit, timestamp
        # -- what is not passed on leaves no gap behind
        if size <= at or self.blocked or data[1] & 127 != self.payload_type:
            if in_order:
                self._shift += 1
                self._shifted = True
            if size < at:
                self._counters.rtp_malformed += 1
            elif self.blocked:
                self._counters.rtp_refused += 1
            return
        if in_order:
            index = self.top = number - self._shift
            if self._shifted:
                self._shifts.append((number, self._shift))
                self._shifted = False
        else:
            late = self._late_index(number)
            if late is None:
                return
            index = late
        word = 0x8000 | (data[1] & 0x80) | self._out
        body = data[at:size]
        self.octets += size - at
        self._history[index & self._mask] = (index, word, timestamp, body)
        # -- and out
        if self._waiting or self.keyframes.wanted:
            self._look(index, body)
        if in_order:
            for down in self.open:
                down.session.send(word, (index + down.add) & 0xFFFF, timestamp, down.ssrc, body)
        else:
            for down in self.open:
                if index >= down.first:
                    down.session.send(word, (index + down.add) & 0xFFFF, timestamp, down.ssrc, body)

    def received_rtx(self, data: bytes, now: float) -> None:
        """A packet of the RTX SSRC (RFC 4588): the original number stands before the payload."""
        first, size = data[0], len(data)
        at = 12 + 4 * (first & 15)
        if first & 0x10 and size >= at + 4:
            end = at + 4 + 4 * (data[at + 2] << 8 | data[at + 3])
            if self.extension_id and size >= end and self.kind == "video" and data[at] == 0xBE and data[at + 1] == 0xDE:
                self._extension(data, at + 4, end, now)
            at = end
        if first & 0x20:
            size -= data[-1]
        if size < at + 2:
            return  # padding that probes the way
        if self._highest >= 0:
            head = bytes((0x80, (data[1] & 0x80) | self.payload_type)) + data[at : at + 2] + data[4:8] + data[8:12]
            self.received(head + data[at + 2 : size], now, repaired=True)

    def _extension(self, data: bytes, at: int, end: int, now: float) -> None:
        wanted = self.extension_id
        while at + 1 < end:
            head = data[at]
            if head == 0:
                at += 1
                continue
            if head >> 4 == wanted:
                if self.kind == "video":
                    if at + 2 < end:
                        self.arrivals.append((data[at + 1] << 8 | data[at + 2], now))
                elif not self.blocked:
                    level = data[at + 1] & 127
                    self.heard += 1
                    if level < LOUD_LEVEL:
                        self.loud += 1
                        self.level_sum += level
                return
            at += (head & 15) + 2

    def _begin(self, sequence: int) -> None:
        """The first packet of an SSRC. The index goes on where an earlier SSRC of this track ended."""
        self._highest = sequence + 0x10000 - 1
        self._base = self._highest + 1
        self._shift = self._base - (self.top + 1 if self.top >= 0 else self._base)
        self._shifted = True

    def restart(self) -> None:
        """The track goes on with another SSRC."""
        self._highest = -1
        self.packets = self._prior_expected = self._prior_received = self._lsr = 0
        self._last_timestamp = -1
        self.missing.clear()
        self._shifts.clear()

    def _gap(self, step: int, now: float) -> None:
        if step > MAX_GAP:
            self.missing.clear()
            return
        for number in range(self._highest + 1, self._highest + step):
            self.missing[number] = [0.0, now + REORDER_S, now]
        while len(self.missing) > MAX_MISSING:
            del self.missing[next(iter(self.missing))]
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

    # ---- NACK, both ways

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

    def resend(self, down: Down, numbers: Sequence[int], now: float) -> None:
        """Answer a subscriber's NACK from the history, within its budget."""
        if not down.is_open:
            return
        tokens = min(float(RESENDS_PER_S), down.resend_tokens + (now - down.resent_at) * RESENDS_PER_S)
        down.resent_at = now
        for number in numbers:
            low = (number - down.add) & 0xFFFF
            kept = self._history[low & self._mask]
            if kept is None or kept[0] & 0xFFFF != low or kept[0] < down.first:
                continue
            if tokens < 1:
                self._counters.resends_refused += 1
                continue
            tokens -= 1
            self._counters.packets_resent += 1
            down.session.send(kept[1], number & 0xFFFF, kept[2], down.ssrc, kept[3])
        down.resend_tokens = tokens

    # ---- who receives

    def add(self, down: Down) -> None:
        self.downs.append(down)
        self.update(down)

    def remove(self, down: Down) -> None:
        self._close(down)
        down.accepted = False
        if down in self.downs:
            self.downs.remove(down)
        self._recount()

    def update(self, down: Down) -> None:
        """`accepted` or `enabled` of a subscriber has changed."""
        if not down.is_wanted:
            self._close(down)
        self._recount()

    def block(self, blocked: bool) -> None:
        """Muted or not permitted; unblocked, video goes on with a keyframe."""
        if blocked == self.blocked:
            return
        self.blocked = blocked
        if blocked:
            for down in self.open:
                self._close(down)
            self.keyframes.close()
            self.missing.clear()
        self._recount()

    def _recount(self) -> None:
        self._waiting = not self.blocked and any(d.is_wanted and not d.is_open for d in self.downs)
        if self._waiting and self.kind == "video":
            self.keyframes.want()

    def want_keyframe(self) -> None:
        """A subscriber lost the picture."""
        if self.kind == "video" and not self.blocked:
            self.keyframes.want()

    def _look(self, index: int, body: bytes) -> None:
        """Whether those who wait may start here."""
        if self.kind == "video":
            if not starts_keyframe(body):
                return
            self.keyframes.passed()
        if not self._waiting:
            return
        self._waiting = False
        for down in self.downs:
            if down.is_wanted and not down.is_open:
                down.is_open = True
                down.first, down.add = index, down.sequence + 1 - index
                down.packets_base -= index
                down.octets_base -= self.octets - len(body)
        self.open = tuple(d for d in self.downs if d.is_open)

    def _close(self, down: Down) -> None:
        if not down.is_open:
            return
        down.is_open = False
        down.sequence = (max(self.top, down.first) + down.add) & 0xFFFF
        down.packets_base += self.top + 1
        down.octets_base += self.octets
        self.open = tuple(d for d in self.open if d is not down)

    def sent(self, down: Down) -> tuple[int, int]:
        """Packets and octets sent to a subscriber so far, for its sender reports."""
        if not down.is_open:
            return max(0, down.packets_base), max(0, down.octets_base)
        return max(0, down.packets_base + self.top + 1), max(0, down.octets_base + self.octets)

    def _ask_keyframe(self) -> None:
        self._counters.keyframes_asked += 1
        self.send_keyframe_request()

    # ---- reports

    def sender_report(self, ntp: int, now: float) -> None:
        self._lsr, self._lsr_at = ntp >> 16 & 0xFFFFFFFF, now

    def report(self, now: float) -> ReportBlock | None:
        """The report block owed to the publisher; the fraction lost is since the last call. None before the first packet."""
        if self._highest < 0 or not self.ssrc:
            return None
        expected = self._highest - self._base + 1
        new_expected, new_received = expected - self._prior_expected, self.packets - self._prior_received
        self._prior_expected, self._prior_received = expected, self.packets
        lost = max(0, new_expected - new_received)
        fraction = min(255, lost * 256 // new_expected) if new_expected > 0 else 0
        dlsr = int((now - self._lsr_at) * 65536) & 0xFFFFFFFF if self._lsr else 0
        return ReportBlock(
            self.ssrc, fraction, expected - self.packets, self._highest & 0xFFFFFFFF, int(self._jitter) & 0xFFFFFFFF, self._lsr, dlsr
        )

    def close(self) -> None:
        self.keyframes.close()
        for down in list(self.downs):
            self.remove(down)


LOUD_LEVEL = 36
"""−dBov: what is at least as loud as −35 dBov counts as sound (LiveKit's active_level)."""

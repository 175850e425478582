"""A publisher's RTP to each subscriber: renumbering, history, gaps, keyframes. The hot path; the loop's thread.

A packet goes straight through `Upstream.received`: header read, twelve new bytes a subscriber, protect, sendto. Nothing is
queued, awaited or decoded. Numbers:

    number   the publisher's sequence number, made to grow for ever
    index    the number less all that was dropped on purpose (mute, padding): without gaps but for real losses.
             The history is kept once, by index, for all subscribers
    out      index + the subscriber's own `add`: what it sees. `add` is set anew whenever it starts to receive, so that it
             sees no gap for what it was not meant to get

An Upstream is one SSRC: a track, or one layer of it (simulcast decides who gets which). Here is the way in, and each packet's
straight way through; who gets it, from where on, and what is sent once more is its Outlet's (downstream). Most subscribers get a
packet as it came, with another number; those *apart* get it in another form: with the numbers of a layer made to follow another's,
or with and without RED.
"""

from __future__ import annotations

from collections.abc import Callable

from vidconf.relay import redundancy
from vidconf.relay.codecs import RED
from vidconf.relay.counters import Counters
from vidconf.relay.downstream import HAS_EXTENSION, Outlet, sent_at
from vidconf.relay.keyframes import Clock
from vidconf.relay.reception import CLOCK_HZ
from vidconf.rtp.opus import duration
from vidconf.rtp.packets import PacketError
from vidconf.rtp.red import recover

LOUD_LEVEL = 36
"""−dBov: what is at least as loud as −35 dBov counts as sound (LiveKit's active_level)."""


class Upstream(Outlet):
    """One SSRC's media as it comes in."""

    def __init__(self, kind: str, counters: Counters, clock: Clock, on_gap: Callable[[], None]) -> None:
        super().__init__(kind, counters, clock, on_gap)
        self.payload_type = -1
        self.red_payload_type = -1
        """Audio: under which the publisher may send RED."""
        self.rtx_payload_type = -1
        self.rtx_ssrc = 0
        self.extension_id = 0
        """Audio: of the level; video: of the transport-wide number. 0: not negotiated."""
        self.arrivals: list[tuple[int, float]] = []
        """Transport-wide numbers and when they came: the publisher's own list, shared by its tracks."""
        # Levels since the last look at them (speakers.py).
        self.heard = self.loud = self.level_sum = 0

    @property
    def payload_types(self) -> tuple[int, int, int]:
        """What the publisher may send under."""
        return self.payload_type, self.rtx_payload_type, self.red_payload_type

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
            self.frames += 1
        body, came = data[at:size], None
        if data[1] & 127 != self.payload_type:
            came = body if data[1] & 127 == self.red_payload_type else None
            body = redundancy.primary_of(body, self.payload_type) if came is not None else b""
        # -- what is not passed on leaves no gap behind
        if not body or self.blocked:
            if in_order:
                self._shift += 1
                self._shifted = True
            if size < at or (came and not body):
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
            if index <= self.top - len(self._history):
                return  # older than what is kept: its place is another's
        word = 0x8000 | (data[1] & 0x80) | self._out
        self.octets += len(body)
        self._history[index & self._mask] = (index, word, timestamp, body)
        # -- and out
        if self._waiting or self.keyframes.wanted:
            self._look(index, timestamp, body, now)
        out = body
        if self._is_video:
            word |= HAS_EXTENSION
            out = sent_at(now) + body
        if in_order:
            for down in self.open:
                down.session.send(word, (index + down.add) & 0xFFFF, timestamp, down.ssrc, out)
        else:
            for down in self.open:
                if index >= down.first:
                    down.session.send(word, (index + down.add) & 0xFFFF, timestamp, down.ssrc, out)
        if self.apart:
            self._send_apart(index, word, timestamp, body, came if in_order else None, now)
        if came is not None and step > 1 and in_order:
            self._recover(data, number, timestamp, came, now)

    def _send_apart(self, index: int, word: int, timestamp: int, body: bytes, came: bytes | None, now: float) -> None:
        """One packet to those who get it in another form; `came`: the RED payload it was in."""
        if self.kind == "video":
            for down in self.apart:
                if index >= down.first:
                    self._send_shifted(down, (index + down.add) & 0xFFFF, word, timestamp, body, down.shift, now)
            return
        red = came if came is not None and self.payload_type == self._out else self._with_copies(index, timestamp, body)
        if red is None:
            red = body
        else:
            word = word & 0xFF80 | RED
        more = len(red) - len(body)
        for down in self.apart:
            if index >= down.first:
                down.octets_base += more
                down.session.send(word, (index + down.add) & 0xFFFF, timestamp, down.ssrc, red)

    def _with_copies(self, index: int, timestamp: int, body: bytes) -> bytes | None:
        """With the two packets before it, where they follow each other. A late packet goes alone: copies of what is older came."""
        if index != self.top:
            return None
        earlier: list[redundancy.Earlier] = []
        for back in range(redundancy.COPIES, 0, -1):
            kept = self._history[(index - back) & self._mask]
            if kept is None or kept[0] != index - back:
                earlier.clear()
            else:
                earlier.append((kept[2], kept[3]))
        return redundancy.wrapped(timestamp, body, earlier, self._out)

    def _recover(self, data: bytes, number: int, timestamp: int, came: bytes, now: float) -> None:
        """A gap whose packets are in the RED payload behind it: there is nothing to ask for again."""
        try:
            found = recover(number & 0xFFFF, timestamp, came, duration)
        except PacketError:
            return
        for packet in found:
            lost = number - ((number - packet.sequence) & 0xFFFF)
            if packet.copy and lost in self.missing and packet.payload_type == self.payload_type:
                head = bytes((0x80, packet.payload_type)) + packet.sequence.to_bytes(2, "big") + packet.timestamp.to_bytes(4, "big")
                self.received(head + data[8:12] + packet.payload, now, repaired=True)

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

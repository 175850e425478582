"""A publisher's RTP to each subscriber: renumbering, history, gaps, keyframes. The hot path; the loop's thread.

A packet goes straight through `Upstream.received`: header read, twelve new bytes a subscriber, protect, sendto. Nothing is
queued, awaited or decoded. Numbers:

    number   the publisher's sequence number, made to grow for ever
    index    the number less all that was dropped on purpose (mute, padding): without gaps but for real losses.
             The history is kept once, by index, for all subscribers
    out      index + the subscriber's own `add`: what it sees. `add` is set anew whenever it starts to receive, so that it
             sees no gap for what it was not meant to get

An Upstream is one SSRC: a track, or one layer of it (simulcast decides who gets which). Most subscribers get a packet as it
came, with another number; those *apart* get it in another form: with the numbers of a layer made to follow another's, or with
and without RED.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vidconf.relay import codecs, redundancy
from vidconf.relay.codecs import RED
from vidconf.relay.counters import Counters
from vidconf.relay.description import SEND_TIME_ID
from vidconf.relay.downstream import LONG, RESENDS_PER_S, Down, Stretch
from vidconf.relay.keyframes import Clock, KeyframeRequests
from vidconf.relay.layers import Layer
from vidconf.relay.reception import CLOCK_HZ, Reception
from vidconf.relay.renumbering import Heard, Pictures, Shift, picture_shift, shifted_vp8, timestamp_shift, vp8_pictures
from vidconf.rtp.opus import duration
from vidconf.rtp.packets import PacketError
from vidconf.rtp.receive_rate import SEND_TIME_HZ
from vidconf.rtp.red import recover
from vidconf.rtp.rtcp import Sdes, SenderReport
from vidconf.rtp.vp8 import keyframe_size, unpack

HISTORY = {"video": 512, "audio": 256}
"""Packets kept for answering NACK; powers of two. LiveKit keeps 500 and 200."""
REPORTS_APART_S = 0.2
"""A sender's reports that come closer together are told to nobody: one datagram holds fifty, and each costs one for every viewer."""
LOOKED_UP = 0.1
"""What a number costs a viewer's budget for repairs that is not kept any more."""
REPORT_HOLDS_S = 15.0
"""A publisher's sender report is carried on for so long; they come every one to five seconds."""

HAS_EXTENSION, IS_PADDED = 0x1000, 0x2000
"""Bits of the first 16 of a header."""
_EXTENSION = b"\xbe\xde\x00\x01" + bytes((SEND_TIME_ID << 4 | 2,))

Kept = tuple[int, int, int, bytes]
"""index, first 16 bits of the header, timestamp, payload."""


def sent_at(now: float) -> bytes:
    """The header extension abs-send-time of a packet sent now: what its receiver's estimate of the way is made from. The same for
    all who get it; who has not agreed on it passes over it (RFC 8285 §4.1)."""
    return _EXTENSION + (int(now * SEND_TIME_HZ) & 0xFFFFFF).to_bytes(3, "big")


class Upstream(Reception):
    """One SSRC's media as it comes in, and its way out."""

    def __init__(self, kind: str, counters: Counters, clock: Clock, on_gap: Callable[[], None]) -> None:
        super().__init__(on_gap)
        self.kind, self._counters = kind, counters
        self._is_video = kind == "video"
        self.layer = Layer()
        """What is known of it as one of several."""
        self.is_layer = False
        """One of several: all its keyframes are looked at."""
        self.alive = True
        """It is being sent. Only layers are ever found dead, by their Layers; a keyframe brings them back."""
        self.on_alive: Callable[[], None] = lambda: None
        """A dead layer begins a keyframe; called before it is seen who waits for it."""
        self.on_opened: Callable[[Down], None] = lambda down: None
        """A subscriber gets this one from now on."""
        self.seen = (0, 0)
        """Width and height, where the pictures say them."""
        self.cname = ""
        """Of its sender reports: who publishes it."""
        self.payload_type = -1
        self.red_payload_type = -1
        """Audio: under which the publisher may send RED."""
        self.rtx_payload_type = -1
        self.rtx_ssrc = 0
        self.extension_id = 0
        """Audio: of the level; video: of the transport-wide number. 0: not negotiated."""
        self.arrivals: list[tuple[int, float]] = []
        """Transport-wide numbers and when they came: the publisher's own list, shared by its tracks."""
        self.blocked = False
        """Muted, or not permitted: nothing is forwarded."""
        self.open: tuple[Down, ...] = ()
        """Who gets each packet as it came."""
        self.apart: tuple[Down, ...] = ()
        """Who gets it in another form."""
        self.downs: list[Down] = []
        """Who gets it, and who waits for it."""
        self.keyframes = KeyframeRequests(clock, self._ask_keyframe)
        self.send_keyframe_request: Callable[[], None] = lambda: None
        self._history: list[Kept | None] = [None] * HISTORY[kind]
        self._mask = HISTORY[kind] - 1
        self._waiting = False
        # Levels since the last look at them (speakers.py).
        self.heard = self.loud = self.level_sum = 0
        self.use(codecs.FIRST[kind])

    def use(self, codec: codecs.Codec) -> None:
        """What it is sent in is agreed on (again)."""
        self.codec, self._out = codec, codec.payload_type
        self._starts_keyframe = codec.starts_keyframe or (lambda payload: True)

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

    def _send_shifted(self, down: Down, number: int, word: int, timestamp: int, body: bytes, shift: Shift, now: float) -> None:
        if self.codec is codecs.VP8 and not shift.is_plain:
            body = shifted_vp8(body, shift)
        if self._is_video:
            word, body = word | HAS_EXTENSION, sent_at(now) + body
        down.session.send(word, number, (timestamp + shift.timestamp) & 0xFFFFFFFF, down.ssrc, body)

    def _send_repair(self, down: Down, number: int, kept: Kept, shift: Shift, now: float) -> None:
        """Once more, as RTX (RFC 4588): the number it had stands before the payload."""
        _, word, timestamp, body = kept
        if self.codec is codecs.VP8 and not shift.is_plain:
            body = shifted_vp8(body, shift)
        down.rtx_sequence = (down.rtx_sequence + 1) & 0xFFFF
        word = word & 0xFF80 | self.codec.rtx_payload_type | HAS_EXTENSION
        timestamp = (timestamp + shift.timestamp) & 0xFFFFFFFF
        down.session.send(word, down.rtx_sequence, timestamp, down.rtx_ssrc, sent_at(now) + number.to_bytes(2, "big") + body)

    def send_padding(self, down: Down, octets: int, now: float) -> None:
        """A packet of `octets` (1…255) of nothing, where repairs go: it says how the way is, and no more."""
        newest = self._newest()
        timestamp = (newest[2] + down.shift.timestamp if newest is not None else 0) & 0xFFFFFFFF
        down.rtx_sequence = (down.rtx_sequence + 1) & 0xFFFF
        word = 0x8000 | IS_PADDED | HAS_EXTENSION | self.codec.rtx_payload_type
        self._counters.padding_sent += 1
        down.session.send(word, down.rtx_sequence, timestamp, down.rtx_ssrc, sent_at(now) + bytes(octets - 1) + bytes((octets,)))

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

    # ---- NACK

    def resend(self, down: Down, numbers: Sequence[int], now: float) -> None:
        """Answer a subscriber's NACK from the history, within its budget; also of what it got before it came to this layer."""
        if not down.is_open:
            return
        tokens = min(float(RESENDS_PER_S), down.resend_tokens + (now - down.resent_at) * RESENDS_PER_S)
        down.resent_at = now
        past = down.past if self.top - down.first < LONG else ()
        stretches = (Stretch(self, down.first, self.top, down.add, down.shift), *past)
        for done, number in enumerate(numbers):
            if tokens < 1:
                self._counters.resends_refused += len(numbers) - done
                break
            for stretch in stretches:
                layer, low = stretch.layer, (number - stretch.add) & 0xFFFF
                kept = layer._history[low & layer._mask]
                if kept is not None and kept[0] & 0xFFFF == low and stretch.first <= kept[0] <= stretch.last:
                    break
            else:
                tokens -= LOOKED_UP
                continue
            tokens -= 1
            self._counters.packets_resent += 1
            if down.takes_rtx:
                layer._send_repair(down, number & 0xFFFF, kept, stretch.shift, now)
            else:
                layer._send_shifted(down, number & 0xFFFF, kept[1], kept[2], kept[3], stretch.shift, now)
        down.resend_tokens = tokens

    # ---- who receives

    def add(self, down: Down) -> None:
        """Somebody is to get this one: from its next keyframe on, if it may."""
        self.downs.append(down)
        self.update(down)

    def remove(self, down: Down) -> None:
        """It gets another one, or nothing."""
        self._close(down)
        if down in self.downs:
            self.downs.remove(down)
        self._recount()

    def stop(self, down: Down) -> None:
        """Not one packet more of this one, which its line does not carry: what went on until the keyframe of a smaller layer would
        take that one's room in the queue."""
        self._close(down)
        self._recount()

    def update(self, down: Down) -> None:
        """`accepted` or `enabled` of a subscriber has changed."""
        if not down.is_wanted:
            self._close(down)
        self._recount()

    def seat(self, down: Down, among: bool) -> None:
        """Whether it gets or waits for this one; what flows goes on."""
        if among and down not in self.downs:
            self.downs.append(down)
        elif not among and down in self.downs:
            self.downs.remove(down)
        self._recount()

    def block(self, blocked: bool) -> None:
        """Muted or not permitted; unblocked, video goes on with a keyframe."""
        if blocked == self.blocked:
            return
        self.blocked = blocked
        if blocked:
            for down in self.receivers:
                self._close(down)
            self.keyframes.close()
            self.missing.clear()
        self._recount()

    def died(self) -> None:
        """A layer that is no longer sent: nobody asks for it; its next keyframe is looked out for."""
        self.alive = False
        self.keyframes.close()
        self.missing.clear()
        self._recount()

    @property
    def receivers(self) -> tuple[Down, ...]:
        return self.open + self.apart

    def _waits(self, down: Down) -> bool:
        return down.is_wanted and not (down.is_open and down.upstream is self)

    def _recount(self) -> None:
        wanted = not self.blocked and any(self._waits(d) for d in self.downs)
        self._waiting = wanted or (self.is_layer and not self.blocked)
        if wanted and self.kind == "video" and self.alive:
            self.keyframes.want()

    def want_keyframe(self) -> None:
        """A subscriber lost the picture."""
        if self.kind == "video" and not self.blocked:
            self.keyframes.want()

    def _look(self, index: int, timestamp: int, body: bytes, now: float) -> None:
        """Whether those who wait may start here."""
        if self.kind == "video":
            if not self._starts_keyframe(body):
                return
            self.keyframes.passed()
            if not self.alive:
                self.alive = True
                self.on_alive()
                self.keyframes.passed()  # whoever came with it begins here: there is nothing to ask for
            if self.is_layer:
                self._note_size(body)
        if not self._waiting:
            return
        self._waiting = self.is_layer
        begun = [down for down in self.downs if self._waits(down)]
        for down in begun:
            self._begin_with(down, index, timestamp, body, now)
        self._regroup()
        for down in begun:
            self._report_to(down, now)
            self.on_opened(down)

    def _note_size(self, body: bytes) -> None:
        """VP8: its keyframes say how large the pictures are, whatever the publisher declared (the first ten bytes stay readable
        when media is encrypted end to end)."""
        if self.codec is not codecs.VP8:
            return
        try:
            size = keyframe_size(unpack(body)[0])
        except PacketError:
            return
        self.seen = size

    def _begin_with(self, down: Down, index: int, timestamp: int, body: bytes, now: float) -> None:
        """From this packet on `down` gets this one, numbered to follow what it got before."""
        left = down.upstream
        if down.has_begun and left is not self:
            left._close(down)
            shift = timestamp_shift(down.shift.timestamp, left.moment(), self.moment(timestamp), now, CLOCK_HZ[self.kind])
            pictures = picture_shift(down.pictures, vp8_pictures(body)) if self.codec is codecs.VP8 else (0, 0, 0)
            down.shift = Shift(shift, *pictures)
        down.upstream, down.is_open, down.has_begun = self, True, True
        down.first, down.add = index, down.sequence + 1 - index
        down.packets_base -= index
        down.octets_base -= self.octets - len(body)

    def moment(self, timestamp: int = -1) -> Heard:
        """For placing this layer and another in time; `timestamp` when it is another than the newest."""
        newest = self._newest()
        known = timestamp if timestamp >= 0 or newest is None else newest[2]
        return Heard(known, self.last_packet_at, self._report_ntp, self._report_timestamp)

    def last_pictures(self, shift: Shift) -> Pictures:
        """The VP8 numbers of the newest packet as a subscriber with `shift` got them."""
        newest = self._newest()
        return vp8_pictures(shifted_vp8(newest[3], shift)) if newest is not None else Pictures()

    def _newest(self) -> Kept | None:
        return self._history[self.top & self._mask] if self.top >= 0 else None

    def _regroup(self) -> None:
        mine = [d for d in self.downs if d.is_open and d.upstream is self]
        self.open, self.apart = tuple(d for d in mine if not d.is_apart), tuple(d for d in mine if d.is_apart)

    def _close(self, down: Down) -> None:
        if not down.is_open or down.upstream is not self:
            return
        down.is_open = False
        if self.codec is codecs.VP8:
            down.pictures = self.last_pictures(down.shift)
        last = max(self.top, down.first)
        if last - down.first >= LONG:
            down.past.clear()
        down.past.appendleft(Stretch(self, down.first, last, down.add, down.shift))
        down.sequence = (last + down.add) & 0xFFFF
        down.packets_base += self.top + 1
        down.octets_base += self.octets
        self.open = tuple(d for d in self.open if d is not down)
        self.apart = tuple(d for d in self.apart if d is not down)

    def pass_report(self, report: SenderReport, now: float) -> None:
        """The publisher says which timestamp belongs to which moment: so it is passed on, under each subscriber's SSRC and with its
        counts. One a moment, however many come. BYE never passes: it stops some decoders."""
        if self._report_ntp and now - self._lsr_at < REPORTS_APART_S:
            return
        self.sender_report(report.ntp, report.rtp_timestamp, now)
        for down in self.receivers:
            self._report_to(down, now)

    def _report_to(self, down: Down, now: float) -> None:
        """The last report, carried on to now: who begins here need not wait seconds for the next to hear and see together."""
        since = now - self._lsr_at
        if not self._report_ntp or since > REPORT_HOLDS_S:
            return
        ntp = self._report_ntp + int(since * (1 << 32)) & (1 << 64) - 1
        timestamp = self._report_timestamp + round(since * CLOCK_HZ[self.kind]) + down.shift.timestamp
        packets, octets = self.sent(down)
        down.sr_ntp, down.sr_at = ntp >> 16 & 0xFFFFFFFF, now
        report = SenderReport(down.ssrc, ntp, timestamp, packets, octets)
        down.session.send_rtcp(report.to_bytes() + Sdes(down.ssrc, self.cname).to_bytes())

    def sent(self, down: Down) -> tuple[int, int]:
        """Packets and octets sent to a subscriber so far, for its sender reports."""
        if not down.is_open:
            return max(0, down.packets_base), max(0, down.octets_base)
        return max(0, down.packets_base + self.top + 1), max(0, down.octets_base + self.octets)

    def _ask_keyframe(self) -> None:
        self._counters.keyframes_asked += 1
        self.send_keyframe_request()

    def close(self) -> None:
        self.keyframes.close()
        for down in list(self.downs):
            self.remove(down)


LOUD_LEVEL = 36
"""−dBov: what is at least as loud as −35 dBov counts as sound (LiveKit's active_level)."""

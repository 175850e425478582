"""The way out: one track on its way to one subscriber (`Down`: which layer it gets, under which numbers), and what each layer keeps
and knows of those who get it (`Outlet`). The loop's thread.

`out = index + add` (forwarder). With every switch between layers, pause and mute a new *stretch* begins, so that the numbers go
on without a gap; the last few are remembered, because what was lost before a switch is asked for after it.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vidconf.relay import codecs
from vidconf.relay.counters import Counters
from vidconf.relay.description import SEND_TIME_ID
from vidconf.relay.downlink import Downlink
from vidconf.relay.keyframes import Clock, KeyframeRequests
from vidconf.relay.layers import Layer, Wish
from vidconf.relay.reception import CLOCK_HZ, Reception
from vidconf.relay.renumbering import Heard, Pictures, Shift, picture_shift, shifted_vp8, timestamp_shift, vp8_pictures
from vidconf.rtp.packets import PacketError
from vidconf.rtp.receive_rate import SEND_TIME_HZ
from vidconf.rtp.rtcp import Sdes, SenderReport
from vidconf.webrtc.ice_lite import LiteSession

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

    layer: Outlet
    first: int
    last: int
    add: int
    shift: Shift


class Siblings(Protocol):
    """The layers of one track, as they are to be had here: simulcast's Layers."""

    @property
    def all(self) -> Sequence[Outlet]: ...

    def wished(self, down: Down) -> int: ...

    def wish(self, down: Down, wish: Wish) -> None: ...

    def lost(self, down: Down, fraction: float, now: float) -> None: ...

    def update(self, down: Down) -> None: ...


class Down:
    """`upstream` is the layer that flows, or was the last to."""

    __slots__ = (
        "accepted", "add", "downlink", "enabled", "first", "fraction_lost", "has_begun", "is_open", "layers", "most", "octets_base", "packets_base",
        "past", "pictures", "resend_tokens", "resent_at", "round_trip_s", "rtx_sequence", "rtx_ssrc", "sequence", "session", "shift", "sr_at", "sr_ntp",
        "ssrc", "takes_red", "takes_rtx", "upstream", "wish",
    )  # fmt: skip

    def __init__(self, upstream: Outlet, session: LiteSession, ssrc: int, wish: Wish | None = None) -> None:
        self.upstream, self.session, self.ssrc = upstream, session, ssrc
        self.layers: Siblings | None = None
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


def sent_at(now: float) -> bytes:
    """The header extension abs-send-time of a packet sent now: what its receiver's estimate of the way is made from. The same for
    all who get it; who has not agreed on it passes over it (RFC 8285 §4.1)."""
    return _EXTENSION + (int(now * SEND_TIME_HZ) & 0xFFFFFF).to_bytes(3, "big")


class Outlet(Reception):
    """The way out of one SSRC's media: its history, who gets it and who waits for it. Its only child is the forwarder's Upstream."""

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
        self.use(codecs.FIRST[kind])

    def use(self, codec: codecs.Codec) -> None:
        """What it is sent in is agreed on (again)."""
        self.codec, self._out = codec, codec.payload_type
        self._starts_keyframe = codec.starts_keyframe or (lambda payload: True)

    # ---- sending

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
        """Keyframes say how large the pictures are, whatever the publisher declared (of VP8 the first ten bytes stay readable when
        media is encrypted end to end)."""
        try:
            self.seen = self.codec.keyframe_size(body) or self.seen
        except PacketError:
            return

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

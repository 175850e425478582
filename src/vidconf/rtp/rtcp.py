"""RTCP packets: bytes <-> frozen values (RFC 3550 §6, RFC 4585, RFC 5104, REMB, transport-wide feedback).

Pure; any thread. `parse_rtcp` takes a decrypted compound packet; types it does not know are skipped, malformed ones raise
PacketError. Every value writes itself with `to_bytes()`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vidconf.rtp.packets import PacketError

SR, RR, SDES, BYE, APP, RTPFB, PSFB = 200, 201, 202, 203, 204, 205, 206
_HEAD = struct.Struct("!BBH")
_BLOCK = struct.Struct("!IIIIII")
MAX_FEEDBACK_PACKETS = 2048
"""More packets than this in one transport-wide feedback is an attack: no sender sends so much in 100 ms."""


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return _HEAD.pack(0x80 | count, kind, len(body) // 4) + body


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """RFC 3550 §6.4.1. `fraction_lost` in 1/256; `lost` signed; `jitter` in clock units; `dlsr` in 1/65536 s."""

    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int
    lsr: int = 0
    dlsr: int = 0

    def to_bytes(self) -> bytes:
        lost = max(-(1 << 23), min((1 << 23) - 1, self.lost)) & 0xFFFFFF
        return _BLOCK.pack(
            self.ssrc, (self.fraction_lost & 255) << 24 | lost, self.highest & 0xFFFFFFFF, self.jitter & 0xFFFFFFFF, self.lsr, self.dlsr
        )


@dataclass(frozen=True, slots=True)
class SenderReport:
    """`ntp` is 32.32 fixed point seconds since 1900."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def to_bytes(self) -> bytes:
        body = struct.pack(
            "!IQIII", self.ssrc, self.ntp, self.rtp_timestamp & 0xFFFFFFFF, self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF
        )
        return _packet(SR, len(self.blocks), body + b"".join(b.to_bytes() for b in self.blocks))


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def to_bytes(self) -> bytes:
        return _packet(RR, len(self.blocks), struct.pack("!I", self.ssrc) + b"".join(b.to_bytes() for b in self.blocks))


@dataclass(frozen=True, slots=True)
class Nack:
    """RFC 4585 §6.2.1. `numbers` are 16-bit sequence numbers; written in as few entries as their order allows."""

    sender: int
    media: int
    numbers: tuple[int, ...]

    def to_bytes(self) -> bytes:
        entries: list[list[int]] = []
        for number in self.numbers:
            if entries and 0 < (ahead := (number - entries[-1][0]) & 0xFFFF) <= 16:
                entries[-1][1] |= 1 << ahead - 1
            else:
                entries.append([number & 0xFFFF, 0])
        body = struct.pack("!II", self.sender, self.media) + b"".join(struct.pack("!HH", *e) for e in entries)
        return _packet(RTPFB, 1, body)


@dataclass(frozen=True, slots=True)
class Pli:
    """Picture Loss Indication, RFC 4585 §6.3.1."""

    sender: int
    media: int

    def to_bytes(self) -> bytes:
        return _packet(PSFB, 1, struct.pack("!II", self.sender, self.media))


@dataclass(frozen=True, slots=True)
class Fir:
    """Full Intra Request, RFC 5104 §4.3.1: (ssrc, command number) each."""

    sender: int
    entries: tuple[tuple[int, int], ...]

    def to_bytes(self) -> bytes:
        body = struct.pack("!II", self.sender, 0) + b"".join(struct.pack("!IB3x", s, n & 255) for s, n in self.entries)
        return _packet(PSFB, 4, body)


@dataclass(frozen=True, slots=True)
class Remb:
    """draft-alvestrand-rmcat-remb: the receiver's estimate for all `ssrcs` together."""

    sender: int
    bitrate_bps: int
    ssrcs: tuple[int, ...]

    def to_bytes(self) -> bytes:
        exponent = max(0, self.bitrate_bps.bit_length() - 18)
        head = len(self.ssrcs) << 24 | exponent << 18 | self.bitrate_bps >> exponent
        body = struct.pack("!II4sI", self.sender, 0, b"REMB", head) + b"".join(struct.pack("!I", s) for s in self.ssrcs)
        return _packet(PSFB, 15, body)


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1.

    `packets`: for `base`, `base` + 1, … (16 bit) the time since the one received before it in µs (multiples of 250, the first
    since `reference_64ms` × 64 ms), or None where it did not come. `count` is the feedback packet's own running number (8 bit).
    """

    sender: int
    media: int
    base: int
    reference_64ms: int
    count: int
    packets: tuple[int | None, ...]

    def to_bytes(self) -> bytes:
        deltas, symbols = bytearray(), []
        for delta_us in self.packets:
            if delta_us is None:
                symbols.append(0)
                continue
            ticks = round(delta_us / 250)
            if 0 <= ticks <= 255:
                symbols.append(1)
                deltas.append(ticks)
            else:
                symbols.append(2)
                deltas += struct.pack("!h", max(-32768, min(32767, ticks)))
        chunks = bytearray()
        at = 0
        while at < len(symbols):
            run = 1
            while at + run < len(symbols) and symbols[at + run] == symbols[at] and run < 0x1FFF:
                run += 1
            if run >= 7:
                chunks += struct.pack("!H", symbols[at] << 13 | run)
                at += run
            else:
                word = 0xC000
                for k, symbol in enumerate(symbols[at : at + 7]):
                    word |= symbol << 12 - 2 * k
                chunks += struct.pack("!H", word)
                at += 7
        body = struct.pack("!IIHHI", self.sender, self.media, self.base, len(self.packets), (self.reference_64ms & 0xFFFFFF) << 8 | self.count & 255)
        body += bytes(chunks + deltas)
        return _packet(RTPFB, 15, body + bytes(-len(body) % 4))


@dataclass(frozen=True, slots=True)
class Bye:
    ssrcs: tuple[int, ...]

    def to_bytes(self) -> bytes:
        return _packet(BYE, len(self.ssrcs), b"".join(struct.pack("!I", s) for s in self.ssrcs))


@dataclass(frozen=True, slots=True)
class Sdes:
    """One chunk with a CNAME; what else others put into SDES is not read."""

    ssrc: int
    cname: str

    def to_bytes(self) -> bytes:
        name = self.cname.encode("utf-8", "replace")[:255]
        body = struct.pack("!IBB", self.ssrc, 1, len(name)) + name + b"\0"
        return _packet(SDES, 1, body + bytes(-len(body) % 4))


RtcpPacket = SenderReport | ReceiverReport | Nack | Pli | Fir | Remb | TransportFeedback | Bye | Sdes


def parse_rtcp(data: bytes) -> list[RtcpPacket]:
    """Read a compound packet. Raises PacketError for anything malformed in a type that is known."""
    found: list[RtcpPacket] = []
    at = 0
    try:
        while at < len(data):
            first, kind, words = _HEAD.unpack_from(data, at)
            end = at + 4 + 4 * words
            if first >> 6 != 2 or end > len(data):
                raise PacketError("RTCP packet is cut short or of another version")
            body = data[at + 4 : end]
            if first & 0x20:
                if not body or not 0 < body[-1] <= len(body):
                    raise PacketError("RTCP padding is longer than the packet")
                body = body[: -body[-1]]
            packet = _read(kind, first & 31, body)
            if packet is not None:
                found.append(packet)
            at = end
    except (struct.error, IndexError) as error:
        raise PacketError(f"RTCP packet is cut short: {error}") from error
    return found


def _blocks(body: bytes, at: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for k in range(count):
        ssrc, word, highest, jitter, lsr, dlsr = _BLOCK.unpack_from(body, at + 24 * k)
        lost = word & 0xFFFFFF
        blocks.append(ReportBlock(ssrc, word >> 24, lost - (1 << 24) if lost >> 23 else lost, highest, jitter, lsr, dlsr))
    return tuple(blocks)


def _read(kind: int, count: int, body: bytes) -> RtcpPacket | None:
    match kind:
        case 200:
            ssrc, ntp, timestamp, packets, octets = struct.unpack_from("!IQIII", body)
            return SenderReport(ssrc, ntp, timestamp, packets, octets, _blocks(body, 24, count))
        case 201:
            return ReceiverReport(struct.unpack_from("!I", body)[0], _blocks(body, 4, count))
        case 202:
            return _read_sdes(count, body)
        case 203:
            return Bye(struct.unpack_from(f"!{count}I", body))
        case 205:
            return _read_rtpfb(count, body)
        case 206:
            return _read_psfb(count, body)
    return None


def _read_sdes(count: int, body: bytes) -> Sdes | None:
    """The first chunk that has a CNAME."""
    at = 0
    for _ in range(count):
        (ssrc,) = struct.unpack_from("!I", body, at)
        at += 4
        while (item := body[at]) != 0:
            size = body[at + 1]
            if at + 2 + size > len(body):
                raise PacketError("an SDES item runs over its packet")
            if item == 1:
                return Sdes(ssrc, body[at + 2 : at + 2 + size].decode("utf-8", "replace"))
            at += 2 + size
        at = (at + 4) // 4 * 4
    return None


def _read_rtpfb(form: int, body: bytes) -> RtcpPacket | None:
    if form == 1:
        sender, media = struct.unpack_from("!II", body)
        numbers: list[int] = []
        for at in range(8, len(body) - 3, 4):
            number, bits = struct.unpack_from("!HH", body, at)
            numbers.append(number)
            numbers += [(number + k + 1) & 0xFFFF for k in range(16) if bits >> k & 1]
        return Nack(sender, media, tuple(numbers))
    if form == 15:
        return _read_transport_feedback(body)
    return None


def _read_transport_feedback(body: bytes) -> TransportFeedback:
    sender, media, base, total, word = struct.unpack_from("!IIHHI", body)
    if total > MAX_FEEDBACK_PACKETS:
        raise PacketError("transport-wide feedback about more packets than anyone sends")
    symbols: list[int] = []
    at = 16
    while len(symbols) < total:
        (chunk,) = struct.unpack_from("!H", body, at)
        at += 2
        if not chunk & 0x8000:
            symbols += [chunk >> 13 & 3] * min(chunk & 0x1FFF, total - len(symbols))
            if not chunk & 0x1FFF:
                raise PacketError("an empty run in transport-wide feedback")
        elif chunk & 0x4000:
            symbols += [chunk >> s & 3 for s in range(12, -1, -2)]
        else:
            symbols += [chunk >> s & 1 for s in range(13, -1, -1)]
    packets: list[int | None] = []
    for symbol in symbols[:total]:
        if symbol == 1:
            packets.append(body[at] * 250)
            at += 1
        elif symbol == 2:
            packets.append(struct.unpack_from("!h", body, at)[0] * 250)
            at += 2
        else:
            packets.append(None)
    return TransportFeedback(sender, media, base, word >> 8, word & 255, tuple(packets))


def _read_psfb(form: int, body: bytes) -> RtcpPacket | None:
    sender, media = struct.unpack_from("!II", body)
    if form == 1:
        return Pli(sender, media)
    if form == 4:
        return Fir(sender, tuple(struct.unpack_from("!IB", body, at) for at in range(8, len(body) - 7, 8)))
    if form == 15 and body[8:12] == b"REMB":
        (head,) = struct.unpack_from("!I", body, 12)
        return Remb(sender, (head & 0x3FFFF) << (head >> 18 & 63), struct.unpack_from(f"!{head >> 24}I", body, 16))
    return None

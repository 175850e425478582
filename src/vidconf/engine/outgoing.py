"""What leaves by RTP: numbering, history, repairs, padding and reports. Used by `publishing`, `pacer` and the publications, loop's thread only.

An `OutgoingStream` lives for one connection of one track; a rejoin makes a new one with a new SSRC. It knows nothing of mute:
the valve is in `publication`, above it. When it may send is the pacer's matter, what becomes of it the estimate's (`send_control`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from vidconf.rtp.feedback import SentPacket, TransportFeedbackReader
from vidconf.rtp.nack import SendHistory
from vidconf.rtp.packets import build_rtp
from vidconf.rtp.rtcp import ReportBlock, Sdes, SenderReport, TransportFeedback
from vidconf.rtp.statistics import ntp_time, round_trip_s

_NUMBER_AT = 17
"""Offset of the transport-wide number, always the first extension: 12 bytes of header, 4 of the block's, 1 of the element's."""
MAX_PADDING = 224
"""Octets of a packet that is nothing but padding, as libwebrtc's (its length is one octet, RFC 3550 §5.1)."""

Send = Callable[[bytes], bool]


class TransportNumbers:
    """The transport-wide sequence numbers of one connection, and what the far end reports about them."""

    def __init__(self) -> None:
        self._next = random.randrange(1 << 15)
        self._reader = TransportFeedbackReader()
        self.reported = self.lost = 0
        self.on_sent: Callable[[int, float], None] = lambda size, now: None
        """Told of every numbered packet: octets, when."""

    def stamp(self, packet: bytearray, now: float, probe: int = 0) -> None:
        """Give a packet its number as it leaves. `probe`: the cluster it belongs to."""
        number = self._next & 0xFFFF
        self._next += 1
        packet[_NUMBER_AT : _NUMBER_AT + 2] = number.to_bytes(2, "big")
        self._reader.sent(number, len(packet), now, probe, int.from_bytes(packet[8:12], "big"))
        self.on_sent(len(packet), now)

    def report(self, feedback: TransportFeedback) -> list[SentPacket]:
        """What a report says of packets of ours, in the order they left."""
        results = self._reader.report(feedback)
        self.reported += len(results)
        self.lost += sum(1 for r in results if r.received_at is None)
        return results


class OutgoingStream:
    """One SSRC, and the one that repairs it (RFC 4588) where that was negotiated.

    `mid_id`, `level_id`, `number_id`, `rid_id`, `repaired_rid_id`: extension ids as the answer gave them, 0 where it gave none.
    `rtx_ssrc` and `rtx_payload_type`: 0 where repairs are plain repetitions. `rid`: the simulcast layer's name (RFC 8852).
    `redundant_payload_type`: of RED (RFC 2198), 0 where the far end does not take it.
    """

    def __init__(
        self, *, send: Send, payload_type: int, clock_hz: int, mid: str, mid_id: int, level_id: int, number_id: int,
        numbers: TransportNumbers, ssrc: int, rid: str = "", rid_id: int = 0, repaired_rid_id: int = 0, rtx_ssrc: int = 0,
        rtx_payload_type: int = 0, redundant_payload_type: int = 0,
    ) -> None:
        self.ssrc, self.clock_hz, self.rtx_ssrc = ssrc, clock_hz, rtx_ssrc
        self._send, self._payload_type, self._rtx_payload_type = send, payload_type, rtx_payload_type
        self._mid, self._rid = mid.encode(), rid.encode()
        self._mid_id, self._level_id, self._number_id = mid_id, level_id, number_id
        self._rid_id, self._repaired_rid_id = rid_id, repaired_rid_id
        self.redundant_payload_type = redundant_payload_type
        self.ahead = 0
        """Ticks by which the source's own clock, which its timestamps follow, is ahead of ours: reports tell of it."""
        self._numbers = numbers
        self._sequence, self._rtx_sequence = random.randrange(1 << 15), random.randrange(1 << 15)
        self._timestamp_base = random.randrange(1 << 31)
        self._timestamp = 0
        self._epoch = time.monotonic()
        self._history = SendHistory()
        self._anew_at: int | None = None
        """The number of the newest keyframe's first packet."""
        self._named = False
        """The far end has reported about this SSRC: it knows whose it is, mid and rid need not travel any more."""
        self._between_frames = False
        """The last packet ended a picture: padding may follow under this SSRC."""
        self.packets = self.octets = self.repeated = 0
        self.wire_octets = self.padding_octets = 0
        """All that was put on the wire, and what of it was only padding."""
        self.fraction_lost = 0.0
        self.rtt_s: float | None = None

    @property
    def numbered(self) -> bool:
        """The far end reports about each of its packets: it may carry probes."""
        return bool(self._number_id)

    def timestamp(self, at: float) -> int:
        """RTP timestamp of an instant in monotonic seconds."""
        return self._timestamp_base + int((at - self._epoch) * self.clock_hz)

    def packet(self, payload: bytes, timestamp: int, *, marker: bool, level: int | None = None, redundant: bool = False) -> bytearray:
        """The next packet in order; `level`: RFC 6464, voice bit and -dBov; `redundant`: it is RED. Packets leave in the order they were
        made."""
        extensions: list[tuple[int, bytes]] = []
        if self._number_id:
            extensions.append((self._number_id, b"\0\0"))
        if not self._named:
            if self._mid_id and self._mid:
                extensions.append((self._mid_id, self._mid))
            if self._rid_id and self._rid:
                extensions.append((self._rid_id, self._rid))
        if self._level_id and level is not None:
            extensions.append((self._level_id, bytes((level,))))
        self._sequence += 1
        self._timestamp = timestamp
        payload_type = self.redundant_payload_type if redundant else self._payload_type
        return bytearray(build_rtp(payload_type, self._sequence, timestamp, self.ssrc, marker, payload, extensions))

    def transmit(self, packet: bytearray, now: float, *, probe: int = 0) -> bool:
        """Put one packet on the wire for the first time, numbered where that was negotiated; False: the way is not up."""
        data = self._wire(packet, now, probe)
        if data is None:
            return False
        self._history.put(int.from_bytes(data[2:4], "big"), data, now)
        self._between_frames = data[1] >= 0x80
        self.packets += 1
        self.octets += len(data) - 12
        return True

    def begin_anew(self, packet: bytearray) -> None:
        """With this packet a picture begins that needs nothing from before it."""
        self._anew_at = int.from_bytes(packet[2:4], "big")

    def repair(self, number: int, now: float, *, probe: int = 0) -> int:
        """Answer a NACK for one number (16 bit). Octets put on the wire: 0 when the packet is unknown, too old, was just repeated or
        is of before the last keyframe."""
        if self._anew_at is not None and 0 < (self._anew_at - number) & 0xFFFF < 0x8000:
            return 0
        data = self._history.get(number, now)
        if data is None:
            return 0
        sent = self._wire(self._again(data), now, probe)
        if sent is None:
            return 0
        self.repeated += 1
        return len(sent)

    def pad(self, now: float, *, probe: int = 0) -> int:
        """One packet whose octets alone matter: a packet of late once more as RTX, without RTX an empty one between two pictures.
        Octets put on the wire, 0 when there is none to send."""
        packet: bytearray | None = None
        if self.rtx_ssrc:
            data = self._history.padding(now)
            packet = None if data is None else self._again(data)
        elif self._between_frames and self.packets:
            packet = self.packet(b"", self._timestamp, marker=False)
            packet[0] |= 0x20
            packet += bytes(MAX_PADDING - 1) + bytes((MAX_PADDING,))
        if packet is None:
            return 0
        sent = self._wire(packet, now, probe)
        if sent is None:
            return 0
        if not self.rtx_ssrc:
            # it has a number of the stream's own: who misses it may ask for it
            self._history.put(int.from_bytes(sent[2:4], "big"), sent, now)
            self.packets += 1
        self.padding_octets += len(sent)
        return len(sent)

    def _again(self, data: bytes) -> bytearray:
        """A packet of ours as it is sent once more: RFC 4588 §4, the number it had before its payload; else as it was."""
        if not self.rtx_ssrc:
            return bytearray(data)
        at = 12 if not data[0] & 0x10 else 16 + 4 * int.from_bytes(data[14:16], "big")
        extensions: list[tuple[int, bytes]] = []
        if self._number_id:
            extensions.append((self._number_id, b"\0\0"))
        # few enough to be named each time: nobody reports about this SSRC
        if self._mid_id and self._mid:
            extensions.append((self._mid_id, self._mid))
        if self._repaired_rid_id and self._rid:
            extensions.append((self._repaired_rid_id, self._rid))
        self._rtx_sequence += 1
        timestamp = int.from_bytes(data[4:8], "big")
        return bytearray(
            build_rtp(self._rtx_payload_type, self._rtx_sequence, timestamp, self.rtx_ssrc, data[1] >= 0x80, data[2:4] + data[at:], extensions)
        )

    def _wire(self, packet: bytearray, now: float, probe: int) -> bytes | None:
        if self._number_id:
            self._numbers.stamp(packet, now, probe)
        data = bytes(packet)
        if not self._send(data):
            return None
        self.wire_octets += len(data)
        return data

    def note_report(self, block: ReportBlock) -> None:
        """A receiver report's block about this SSRC."""
        self._named = True
        self.fraction_lost = block.fraction_lost / 256
        rtt_s = round_trip_s(block, ntp_time(time.time()))
        if rtt_s is not None and rtt_s < 10:
            self.rtt_s = rtt_s

    def sender_report(self, now: float) -> bytes | None:
        """Compound SR and SDES, None before the first packet."""
        if not self.packets:
            return None
        report = SenderReport(self.ssrc, ntp_time(time.time()), (self.timestamp(now) + self.ahead) & 0xFFFFFFFF, self.packets, self.octets)
        return report.to_bytes() + Sdes(self.ssrc, "vidconf").to_bytes()

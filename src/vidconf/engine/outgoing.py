"""What leaves by RTP: numbering, history, reports and a light pace. Used by `transport` and `publication`, loop's thread only.

An `OutgoingStream` lives for one connection of one track; a rejoin makes a new one with a new SSRC. It knows nothing of mute:
the valve is in `publication`, above it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence

from vidconf.rtp.feedback import SentPacket, TransportFeedbackReader
from vidconf.rtp.nack import SendHistory
from vidconf.rtp.packets import build_rtp
from vidconf.rtp.rtcp import ReportBlock, Sdes, SenderReport, TransportFeedback
from vidconf.rtp.statistics import ntp_time, round_trip_s

PACE_S = 0.005
BURST = 12
"""Packets that leave at once: nearly every frame but a keyframe."""
PER_TICK = 4
"""More leave each 5 ms: 7 Mb/s, a keyframe of 60 packets in 60 ms."""
MAX_PACED = 600
_NUMBER_AT = 17
"""Offset of the transport-wide number, always the first extension: 12 bytes of header, 4 of the block's, 1 of the element's."""

Send = Callable[[bytes], bool]


class TransportNumbers:
    """The transport-wide sequence numbers of one connection, and what the far end reports about them."""

    def __init__(self) -> None:
        self._next = random.randrange(1 << 15)
        self._reader = TransportFeedbackReader()
        self.reported = self.lost = 0

    def stamp(self, packet: bytearray, now: float) -> None:
        number = self._next & 0xFFFF
        self._next += 1
        packet[_NUMBER_AT : _NUMBER_AT + 2] = number.to_bytes(2, "big")
        self._reader.sent(number, len(packet), now)

    def report(self, feedback: TransportFeedback) -> list[SentPacket]:
        results = self._reader.report(feedback)
        self.reported += len(results)
        self.lost += sum(1 for r in results if r.received_at is None)
        return results


class Pacer:
    """Spreads bursts of video; audio does not come through here. `overflowed` is called when so much waits that it is let go."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        self._queue: deque[tuple[OutgoingStream, bytearray]] = deque()
        self._overflowed = overflowed
        self._timer: asyncio.TimerHandle | None = None
        self.overflows = 0

    def push(self, stream: OutgoingStream, packets: Sequence[bytearray]) -> None:
        now = time.monotonic()
        at = 0
        if not self._queue:
            while at < len(packets) and at < BURST:
                stream.transmit(packets[at], now)
                at += 1
        if at == len(packets):
            return
        self._queue.extend((stream, packet) for packet in packets[at:])
        if len(self._queue) > MAX_PACED:
            self._queue.clear()
            self.overflows += 1
            self._overflowed()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PACE_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        for _ in range(min(PER_TICK, len(self._queue))):
            stream, packet = self._queue.popleft()
            stream.transmit(packet, now)
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(PACE_S, self._tick)

    def drop(self, stream: OutgoingStream) -> None:
        """Nothing of this stream leaves any more (muted, unpublished)."""
        if any(s is stream for s, _ in self._queue):
            self._queue = deque(item for item in self._queue if item[0] is not stream)

    def close(self) -> None:
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class OutgoingStream:
    """One SSRC. `extensions`: URI-independent ids as the answer gave them: `mid`, `level`, `number` (0: not negotiated)."""

    def __init__(
        self, *, send: Send, payload_type: int, clock_hz: int, mid: str, mid_id: int, level_id: int, number_id: int,
        numbers: TransportNumbers, ssrc: int,
    ) -> None:
        self.ssrc, self.clock_hz = ssrc, clock_hz
        self._send, self._payload_type = send, payload_type
        self._mid = mid.encode()
        self._mid_id, self._level_id, self._number_id = mid_id, level_id, number_id
        self._numbers = numbers
        self._sequence = random.randrange(1 << 15)
        self._timestamp_base = random.randrange(1 << 31)
        self._epoch = time.monotonic()
        self._history = SendHistory()
        self._named = False
        """The far end has reported about this SSRC: it knows whose it is, mid need not travel any more."""
        self.packets = self.octets = self.repeated = 0
        self.fraction_lost = 0.0
        self.rtt_s: float | None = None

    def timestamp(self, at: float) -> int:
        """RTP timestamp of an instant in monotonic seconds."""
        return self._timestamp_base + int((at - self._epoch) * self.clock_hz)

    def packet(self, payload: bytes, timestamp: int, *, marker: bool, level: int | None = None) -> bytearray:
        """The next packet in order; `level`: RFC 6464, voice bit and -dBov."""
        extensions: list[tuple[int, bytes]] = []
        if self._number_id:
            extensions.append((self._number_id, b"\0\0"))
        if self._mid_id and not self._named and self._mid:
            extensions.append((self._mid_id, self._mid))
        if self._level_id and level is not None:
            extensions.append((self._level_id, bytes((level,))))
        self._sequence += 1
        return bytearray(build_rtp(self._payload_type, self._sequence, timestamp, self.ssrc, marker, payload, extensions))

    def transmit(self, packet: bytearray, now: float, *, again: bool = False) -> bool:
        """Put one packet on the wire, numbered where that was negotiated."""
        if self._number_id:
            self._numbers.stamp(packet, now)
        data = bytes(packet)
        if not self._send(data):
            return False
        if again:
            self.repeated += 1
        else:
            self._history.put(int.from_bytes(data[2:4], "big"), data, now)
            self.packets += 1
            self.octets += len(data) - 12
        return True

    def repeat(self, numbers: Sequence[int], now: float) -> None:
        """Answer a NACK."""
        for number in numbers:
            data = self._history.get(number, now)
            if data is not None:
                self.transmit(bytearray(data), now, again=True)

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
        report = SenderReport(self.ssrc, ntp_time(time.time()), self.timestamp(now) & 0xFFFFFFFF, self.packets, self.octets)
        return report.to_bytes() + Sdes(self.ssrc, "vidconf").to_bytes()

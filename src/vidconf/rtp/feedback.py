"""Transport-wide feedback: built by whoever receives, read by whoever sends (draft-holmer-rmcat-transport-wide-cc-extensions-01).

Pure; one thread an object.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidconf.rtp.rtcp import MAX_FEEDBACK_PACKETS, TransportFeedback
from vidconf.rtp.statistics import Unwrapper, sequence_unwrapper

_MAX_DELTA_US = 32767 * 250


class TransportFeedbackBuilder:
    """Collects arrivals; `build` reports them once, together with what is missing between them. Call it every 50 to 100 ms."""

    __slots__ = ("_arrivals", "_count", "_next", "_sender", "_unwrap")

    def __init__(self, sender_ssrc: int) -> None:
        self._sender = sender_ssrc
        self._unwrap = sequence_unwrapper()
        self._arrivals: dict[int, float] = {}
        self._next: int | None = None
        self._count = 0

    def received(self, sequence: int, now: float) -> None:
        number = self._unwrap.unwrap(sequence)
        if self._next is None:
            self._next = number
        if number < self._next:
            return      # already reported as not received; the sender has acted on it
        self._arrivals.setdefault(number, now)
        while len(self._arrivals) > 4 * MAX_FEEDBACK_PACKETS:
            del self._arrivals[next(iter(self._arrivals))]

    def build(self, media_ssrc: int) -> TransportFeedback | None:
        """The next report, None when nothing came since the last. What did not fit (more than a thousand numbers, or a pause
        of more than eight seconds) is in the one after it: call again until None, or wait for the next turn."""
        if not self._arrivals or self._next is None:
            return None
        numbers = sorted(n for n in self._arrivals if n >= self._next)
        if not numbers:
            self._arrivals.clear()
            return None
        base = max(self._next, numbers[0] - 500)
        reference = int(self._arrivals[numbers[0]] * 1000 / 64)
        at_us = reference * 64_000
        packets: list[int | None] = []
        for number in range(base, numbers[-1] + 1):
            arrival = self._arrivals.get(number)
            if arrival is None:
                packets.append(None)
            else:
                delta = round((arrival * 1e6 - at_us) / 250) * 250
                if abs(delta) > _MAX_DELTA_US:
                    break
                packets.append(delta)
                at_us += delta
            if len(packets) >= MAX_FEEDBACK_PACKETS // 2:
                break
        if not packets or all(p is None for p in packets):
            for number in numbers:
                del self._arrivals[number]
            self._next = numbers[-1] + 1
            return None
        self._next = base + len(packets)
        for number in list(self._arrivals):
            if number < self._next:
                del self._arrivals[number]
        report = TransportFeedback(self._sender, media_ssrc, base & 0xFFFF, reference & 0xFFFFFF, self._count, tuple(packets))
        self._count = (self._count + 1) & 255
        return report


@dataclass(frozen=True, slots=True)
class SentPacket:
    """What became of one packet: `received_at` is on the receiver's clock, in seconds, None where it did not come. `probe`: the
    cluster it was sent in, 0 for none (`vidconf.rtp.probing`)."""

    sequence: int
    size: int
    sent_at: float
    received_at: float | None
    probe: int = 0


class _Sent:
    __slots__ = ("at", "missing", "probe", "size", "stream")

    def __init__(self, size: int, at: float, probe: int, stream: int) -> None:
        self.size, self.at, self.probe, self.stream, self.missing = size, at, probe, stream, False


class TransportFeedbackReader:
    """Remembers what was sent under which transport-wide number and joins it with the reports.

    The first packets of a stream are no loss where they do not come: livekit-server throws away those that reach it before it knows
    whose they are (half a dozen of a keyframe each time that a layer begins), and that says nothing of the way.
    """

    __slots__ = ("_capacity", "_known", "_reference", "_sent")

    def __init__(self, capacity: int = 4096) -> None:
        self._sent: dict[int, _Sent] = {}
        self._capacity = capacity
        self._reference = Unwrapper(24)
        self._known: set[int] = {0}

    def sent(self, sequence: int, size: int, now: float, probe: int = 0, stream: int = 0) -> None:
        """A packet of `size` octets leaves under the number (16 bit). `stream`: its SSRC, 0 for one that is known from the first."""
        self._sent.pop(sequence & 0xFFFF, None)
        self._sent[sequence & 0xFFFF] = _Sent(size, now, probe, stream)
        if len(self._sent) > self._capacity:
            del self._sent[next(iter(self._sent))]

    def report(self, feedback: TransportFeedback) -> list[SentPacket]:
        """Packets the report speaks of and we know, in order. A packet that came is told once, one that did not come too; it is
        told again only when a later report says that it has come after all. Arrival times grow for ever: the reference, which
        wraps every twelve days, is unwrapped."""
        results = []
        at_us = self._reference.unwrap(feedback.reference_64ms & 0xFFFFFF) * 64_000
        for k, delta in enumerate(feedback.packets):
            number = (feedback.base + k) & 0xFFFF
            known = self._sent.get(number)
            if delta is not None:
                at_us += delta
                if known is not None:
                    self._known.add(known.stream)
                    del self._sent[number]
                    results.append(SentPacket(number, known.size, known.at, at_us / 1e6, known.probe))
            elif known is not None and not known.missing and known.stream in self._known:
                known.missing = True
                results.append(SentPacket(number, known.size, known.at, None, known.probe))
        return results

"""Which sequence numbers to ask again and when to give up; and what a sender keeps to answer.

Pure; one thread an object. After libwebrtc's nack requester: a retry each round trip, at most ten, a bounded list; never a
repeated flood, which LiveKit reads as congestion.
"""

from __future__ import annotations

from collections import OrderedDict

from vidconf.rtp.statistics import sequence_unwrapper

MAX_MISSING = 1000
MAX_TRIES = 10
MAX_GAP = 3000
"""A larger jump is a new stream (or an attack), not a loss."""


class _Missing:
    __slots__ = ("not_before", "tries")

    def __init__(self, not_before: float) -> None:
        self.tries, self.not_before = 0, not_before


class NackScheduler:
    """Call `received` for each packet, `due` every 20 ms or so. Numbers out are 16 bit."""

    __slots__ = ("_highest", "_missing", "_reorder_s", "_unwrap", "asked", "gave_up")

    def __init__(self, reorder_s: float = 0.0) -> None:
        self._unwrap = sequence_unwrapper()
        self._highest: int | None = None
        self._missing: OrderedDict[int, _Missing] = OrderedDict()
        self._reorder_s = reorder_s
        self.gave_up = 0
        """Numbers that will not be asked again: whoever waits for them needs a keyframe."""
        self.asked = 0

    def received(self, sequence: int, now: float) -> bool:
        """Note a packet. True when it fills a gap that was being asked for."""
        number = self._unwrap.unwrap(sequence)
        if self._highest is None:
            self._highest = number
            return False
        if number <= self._highest:
            return self._missing.pop(number, None) is not None
        gap = number - self._highest - 1
        if gap > MAX_GAP:
            self.gave_up += len(self._missing)
            self._missing.clear()
        elif gap:
            for k in range(self._highest + 1, number):
                self._missing[k] = _Missing(now + self._reorder_s)
        self._highest = number
        while len(self._missing) > MAX_MISSING:
            self._missing.popitem(last=False)
            self.gave_up += 1
        return False

    def due(self, now: float, rtt_s: float) -> list[int]:
        """What to ask for now. The next try for a number is a round trip away, at least 20 ms."""
        if not self._missing:
            return []
        numbers = []
        for number, entry in list(self._missing.items()):
            if entry.not_before > now:
                continue
            if entry.tries >= MAX_TRIES:
                del self._missing[number]
                self.gave_up += 1
                continue
            entry.tries += 1
            entry.not_before = now + max(0.02, rtt_s)
            numbers.append(number & 0xFFFF)
        self.asked += len(numbers)
        return numbers

    def forget_before(self, sequence_extended: int) -> None:
        """Nobody waits any longer for numbers below this one (unwrapped like `received` does)."""
        for number in list(self._missing):
            if number >= sequence_extended:
                break
            del self._missing[number]

    @property
    def missing(self) -> int:
        return len(self._missing)


class _Kept:
    __slots__ = ("again", "at", "packet")

    def __init__(self, packet: bytes, at: float) -> None:
        self.packet, self.at, self.again = packet, at, float("-inf")


class SendHistory:
    """What was sent, by sequence number, for answering NACK. Bounded in number and age."""

    __slots__ = ("_capacity", "_max_age_s", "_repeat_s", "_sent")

    def __init__(self, capacity: int = 1024, max_age_s: float = 2.0, repeat_s: float = 0.02) -> None:
        self._sent: OrderedDict[int, _Kept] = OrderedDict()
        self._capacity, self._max_age_s, self._repeat_s = capacity, max_age_s, repeat_s

    def put(self, sequence: int, packet: bytes, now: float) -> None:
        sent = self._sent
        sent.pop(sequence & 0xFFFF, None)
        sent[sequence & 0xFFFF] = _Kept(packet, now)
        if len(sent) > self._capacity:
            sent.popitem(last=False)

    def get(self, sequence: int, now: float) -> bytes | None:
        """The packet to send again; None when it is unknown, too old, or was sent again a moment ago."""
        kept = self._sent.get(sequence & 0xFFFF)
        if kept is None or now - kept.at > self._max_age_s or now - kept.again < self._repeat_s:
            return None
        kept.again = now
        return kept.packet

    def __len__(self) -> int:
        return len(self._sent)

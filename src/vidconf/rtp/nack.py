"""Which sequence numbers to ask again, when, and when to give up; and what a sender keeps to answer.

Pure; one thread an object. After libwebrtc's modules/video_coding/nack_requester.cc: a number is asked for as soon as its gap is
seen, again each round trip, at most ten times, from a bounded list; never a repeated flood, which LiveKit reads as congestion. Only
the third question comes after half of one: few numbers get so far, and for those a whole one would be seen as a freeze.
Three things are learned from how numbers come back: how long an answer takes, whether packets overtake each other here (then a
gap is given a little time), and whether the sender answers a first question at all: livekit-server (sequencer.go) ignores what
is asked within two round trips (at most 100 ms) of the original, so there the first question waits until one would be heard.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

from vidconf.rtp.statistics import sequence_unwrapper

MAX_MISSING = 1000
MAX_TRIES = 10
MAX_GAP = 3000
"""A larger jump is a new stream (or an attack), not a loss."""
LEAST_RETRY_S = 0.02
MARGIN_S = 0.005
"""An answer may be so much later than a round trip: the sender's and our own loop."""
MAX_REORDER_S = 0.05
MAX_FIRST_WAIT_S = 0.12
UNHEARD = 0.35
"""A smaller part of the questions asked at once is answered: they come too early."""
PROBE_EVERY = 16
"""When first questions wait, every so many gaps one is asked at once, to see whether that is still needed."""
NEVER = float("inf")
PADDING_CHOICE = 32
"""Of so many packets sent last one is repeated where octets are wanted."""


class _Missing:
    __slots__ = ("at_once", "first_asked", "last_asked", "not_before", "noticed", "tries")

    def __init__(self, noticed: float, not_before: float, at_once: bool) -> None:
        self.tries, self.noticed, self.not_before, self.at_once = 0, noticed, not_before, at_once
        self.first_asked = self.last_asked = NEVER


class NackScheduler:
    """Call `received` for each packet and `due` whenever `next_due` has come. Numbers in may be 16 bit or already unwrapped; numbers
    out are 16 bit. Times are monotonic seconds. `reorder_s`: what a gap is given from the start."""

    __slots__ = (
        "_answer_age_s", "_answer_s", "_answer_variance_s", "_gaps", "_heard", "_highest", "_least_reorder_s", "_missing", "_reorder_s",
        "_rtt_s", "_unwrap", "asked", "gave_up", "next_due", "number",
    )  # fmt: skip

    def __init__(self, reorder_s: float = 0.0) -> None:
        self._unwrap = sequence_unwrapper()
        self._highest: int | None = None
        self._missing: OrderedDict[int, _Missing] = OrderedDict()
        self._reorder_s = self._least_reorder_s = reorder_s
        self._rtt_s = 0.1
        self._answer_s: float | None = None
        """Smoothed time from a question asked once to its answer."""
        self._answer_variance_s = 0.0
        self._heard = 1.0
        """Which part of the questions asked at once is answered."""
        self._answer_age_s = 0.0
        """How long after its gap was seen the question was asked that is answered, where the first is not."""
        self._gaps = 0
        self.next_due = NEVER
        self.number = 0
        """The unwrapped number of the packet that `received` was told of last."""
        self.gave_up = 0
        """Numbers that will not be asked again: whoever waits for them needs a keyframe."""
        self.asked = 0

    def received(self, sequence: int, now: float) -> int:
        """Note a packet. How often it had been asked for when it fills a gap, else -1."""
        number = self.number = self._unwrap.unwrap(sequence)
        if self._highest is None:
            self._highest = number
            return -1
        if number <= self._highest:
            entry = self._missing.pop(number, None)
            if entry is None:
                return -1
            self._filled(entry, now)
            return entry.tries
        gap = number - self._highest - 1
        if gap > MAX_GAP:
            self.gave_up += len(self._missing)
            self._missing.clear()
        elif gap:
            self._note_gap(number, now)
        self._highest = number
        return -1

    def _note_gap(self, number: int, now: float) -> None:
        assert self._highest is not None
        self._gaps += 1
        at_once = self._heard > UNHEARD or self._gaps % PROBE_EVERY == 0
        not_before = now + (self._reorder_s if at_once else max(self._reorder_s, self._answer_age_s))
        for k in range(self._highest + 1, number):
            self._missing[k] = _Missing(now, not_before, at_once)
        self.next_due = min(self.next_due, not_before)
        while len(self._missing) > MAX_MISSING:
            self._missing.popitem(last=False)
            self.gave_up += 1

    def _filled(self, entry: _Missing, now: float) -> None:
        """Learn from a number that has come after all."""
        if entry.tries == 0 or now - entry.first_asked < 0.5 * self._rtt_s:
            # the original itself, overtaken by others
            self._reorder_s = max(self._reorder_s, min(MAX_REORDER_S, 1.25 * (now - entry.noticed)))
            return
        self._reorder_s = max(self._least_reorder_s, 0.95 * self._reorder_s)
        if entry.at_once:
            self._heard += ((entry.tries == 1) - self._heard) / 8
        if entry.tries == 1:
            answer_s = now - entry.last_asked
            if self._answer_s is None:
                self._answer_s, self._answer_variance_s = answer_s, answer_s / 4
            else:
                self._answer_variance_s += (abs(answer_s - self._answer_s) - self._answer_variance_s) / 4
                self._answer_s += (answer_s - self._answer_s) / 8
            return
        # asked more than once: it answers the last question that is old enough
        asked = entry.last_asked
        if now - asked < 0.5 * self._rtt_s:
            asked -= self._retry_s()
        age_s = min(MAX_FIRST_WAIT_S, max(0.0, asked - entry.noticed))
        if not self._answer_age_s:
            self._answer_age_s = age_s
        else:
            # towards the youngest that are answered: the others were lost on the way
            self._answer_age_s += (age_s - self._answer_age_s) / (4 if age_s < self._answer_age_s else 32)

    def _retry_s(self) -> float:
        answer_s = 0.0 if self._answer_s is None else self._answer_s + 2 * self._answer_variance_s
        return max(LEAST_RETRY_S, self._rtt_s + MARGIN_S, min(answer_s, 2 * self._rtt_s + MARGIN_S))

    def due(self, now: float, rtt_s: float, useful: Callable[[int], bool] | None = None) -> list[int]:
        """What to ask for now, when the way there and back takes `rtt_s`. The next try for a number is a round trip away. `useful`:
        whether an answer would still be; a number (16 bit) for which it would not is forgotten."""
        self._rtt_s = rtt_s
        if now < self.next_due:
            return []
        numbers, next_due, retry_s = [], NEVER, self._retry_s()
        third_s = max(LEAST_RETRY_S, retry_s / 2) if self._heard > UNHEARD else retry_s
        for number, entry in list(self._missing.items()):
            if entry.not_before <= now:
                if useful is not None and not useful(number & 0xFFFF):
                    del self._missing[number]
                    continue
                if entry.tries >= MAX_TRIES:
                    del self._missing[number]
                    self.gave_up += 1
                    continue
                entry.tries += 1
                if entry.tries == 1:
                    entry.first_asked = now
                entry.last_asked, entry.not_before = now, now + (third_s if entry.tries == 2 else retry_s)
                numbers.append(number & 0xFFFF)
            next_due = min(next_due, entry.not_before)
        self.next_due = next_due
        self.asked += len(numbers)
        return numbers

    def forget_before(self, sequence_extended: int) -> None:
        """Nobody waits any longer for numbers below this one (unwrapped like `received` does)."""
        missing = self._missing
        while missing and (number := next(iter(missing))) < sequence_extended:
            del missing[number]
        if not missing:
            self.next_due = NEVER

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

    def padding(self, now: float) -> bytes | None:
        """A packet of late that may as well be sent once more where only octets are wanted; None when there is none that is fresh.
        They take turns: what was sent again least recently of the last PADDING_CHOICE."""
        chosen: _Kept | None = None
        for kept in islice(reversed(self._sent.values()), PADDING_CHOICE):
            if now - kept.at > self._max_age_s:
                break
            if chosen is None or kept.again < chosen.again:
                chosen = kept
        if chosen is None:
            return None
        chosen.again = now
        return chosen.packet

    def __len__(self) -> int:
        return len(self._sent)

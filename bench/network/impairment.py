"""One direction of a bad network: delay in order, jitter, loss, a rate with a queue, stalls, each by a timetable. Pure: `now` is
an argument (monotonic seconds), no socket, no clock; `path.UdpPath` moves the packets. One thread.

Loss is a function of a stream's own packet numbers, not of arrival: a stream is an RTP SSRC (its header is readable under SRTP,
RFC 3711 §3.1), and whether its n-th new packet is lost depends on the seed, its payload type and n alone. Receivers that are
impaired from the same moment on therefore lose the same packets of the same source. Repeated packets are drawn apart, so that
one receiver's questions do not move another's losses.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

RTP_MIN = 12
HALF = 1 << 15
SAME_SOURCE = {63: 111}
"""RED (RFC 2198) carries Opus: whoever takes the one loses what takes the other loses. Payload types as every SFU of LiveKit's
protocol uses them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the way is like from some moment on. The default lets everything through at once."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Standard deviation of what is added to the delay, drawn from half a normal distribution."""
    reorder: bool = False
    """Let a packet with less jitter overtake; else the order holds whatever the jitter."""
    loss: float = 0.0
    """Share of packets lost in the long run, 0…1."""
    burst: float = 1.0
    """Mean length of a run of losses, packets. 1: each packet is drawn alone (Bernoulli); more: two states (Gilbert)."""
    bad_loss: float = 1.0
    """Share lost in the bad state of the two (Elliott)."""
    rate_bps: float = 0.0
    """0: no limit."""
    queue_bytes: int = 64_000
    """What may wait for the rate; what does not fit is lost (counted apart)."""
    held: bool = False
    """Nothing comes through; what arrives waits, and leaves all at once when this ends. A Wi-Fi that scans, a laptop's lid."""

    def __post_init__(self) -> None:
        if not (0 <= self.loss <= 1 and 0 < self.bad_loss <= 1 and self.burst >= 1 and self.loss <= self.bad_loss):
            raise ValueError(f"loss {self.loss} in bursts of {self.burst} at {self.bad_loss} cannot be had")
        if min(self.delay_ms, self.jitter_ms, self.rate_bps, self.queue_bytes) < 0:
            raise ValueError("delay, jitter, rate and queue are not negative")


Timetable = Sequence[tuple[float, Settings]]
"""(seconds from the start, what holds from then on), ascending."""


class LossPattern:
    """Whether packet `n` of one stream is lost: the same for the same seed, key and settings, however often it is asked."""

    def __init__(self, seed: int, key: str) -> None:
        self._random = random.Random(f"{seed}/{key}")
        self._bad = False
        self._next = 0
        self._answers: deque[bool] = deque(maxlen=4096)
        """The last ones, for packets that come out of order."""

    def lost(self, n: int, settings: Settings) -> bool:
        """`n` counts from 0; the numbers in between are drawn too. One that is long past is not lost."""
        while self._next <= n:
            self._answers.append(self._draw(settings))
            self._next += 1
        back = self._next - n
        return back <= len(self._answers) and self._answers[-back]

    def _draw(self, settings: Settings) -> bool:
        move, fall = self._random.random(), self._random.random()
        if settings.burst <= 1:
            self._bad = False
            return fall < settings.loss
        share = settings.loss / settings.bad_loss
        if share >= 1:
            self._bad = True
        elif self._bad:
            self._bad = move >= 1 / settings.burst
        else:
            self._bad = move < share / (1 - share) / settings.burst
        return self._bad and fall < settings.bad_loss


@dataclass(slots=True)
class Stream:
    """What is known of one SSRC since the timetable began. Numbers are extended sequence numbers."""

    ssrc: int
    payload_type: int
    key: str
    """What its losses are drawn by: payload type, and which one of that type it is."""
    packets: int = 0
    """That came to us, lost ones included."""
    octets: int = 0
    padding: int = 0
    """Packets with the padding bit: probes."""
    repeated: int = 0
    """Packets whose number had come before: repairs on the same SSRC."""
    overflowed: int = 0
    lost: set[int] = field(default_factory=set)
    """Numbers dropped the first time they came."""
    repaired: set[int] = field(default_factory=set)
    """Those of `lost` that came through later."""
    first: int = -1
    highest: int = -1
    seen: set[int] = field(default_factory=set)

    def extend(self, sequence: int) -> int:
        """The number without wrapping."""
        if self.highest < 0:
            return sequence + (1 << 16)     # room below for what was late at the start
        step = (sequence - self.highest) & 0xFFFF
        return self.highest + (step if step < HALF else step - (1 << 16))


class Direction:
    """`push` what arrives, `pop` what is due; `next_at` tells when that is. Nothing is impaired before `begin`."""

    def __init__(self, timetable: Timetable = ((0.0, Settings()),), *, seed: int = 1, before: Settings | None = None) -> None:
        if not timetable or list(timetable) != sorted(timetable, key=lambda entry: entry[0]):
            raise ValueError("a timetable has entries, in order")
        self._timetable = deque(timetable)
        self._seed = seed
        self.settings = before or Settings()
        self._begun: float | None = None
        self._jitter = random.Random(f"{seed}/jitter")
        self._patterns: dict[str, LossPattern] = {}
        self._of_type: dict[int, int] = defaultdict(int)
        self._leaving: list[tuple[float, int, bytes, object]] = []
        self._held: list[tuple[bytes, object]] = []
        self._number = 0
        self._last_leave = 0.0
        self._sent_out_at = 0.0
        """When the rate's queue is empty."""
        self.streams: dict[int, Stream] = {}
        self.passed = self.lost = self.overflowed = self.others = self.others_lost = 0
        self._other_number = 0

    # ---- the timetable
    def begin(self, now: float) -> None:
        """The timetable starts; counting and loss patterns begin again with it."""
        self._begun = now
        self.streams.clear()
        self._of_type.clear()
        self._patterns.clear()
        self.passed = self.lost = self.overflowed = self.others = self.others_lost = self._other_number = 0
        self._advance(now)

    def _advance(self, now: float) -> None:
        while self._begun is not None and self._timetable and now >= self._begun + self._timetable[0][0]:
            at, settings = self._timetable.popleft()
            was_held, self.settings = self.settings.held, settings
            if was_held and not settings.held:
                held, self._held = self._held, []
                for data, tag in held:
                    self._enqueue(data, tag, self._begun + at)

    # ---- packets
    def push(self, data: bytes, tag: object, now: float) -> None:
        """A packet arrives. `tag` comes back with it from `pop`."""
        self._advance(now)
        stream, lost = self._count(data)
        if lost:
            return
        if self.settings.held:
            self._held.append((data, tag))
        elif not self._enqueue(data, tag, now):
            self.overflowed += 1
            if stream is not None:
                stream.overflowed += 1

    def _count(self, data: bytes) -> tuple[Stream | None, bool]:
        """Its stream, where it has one; whether it is lost."""
        if len(data) < RTP_MIN or not 128 <= data[0] < 192 or 192 <= data[1] < 224:
            self.others += 1
            self._other_number += 1
            if self._pattern("other").lost(self._other_number, self.settings):
                self.others_lost += 1
                return None, True
            return None, False
        ssrc = int.from_bytes(data[8:12], "big")
        stream = self.streams.get(ssrc)
        if stream is None:
            payload_type = data[1] & 0x7F
            source = SAME_SOURCE.get(payload_type, payload_type)
            key = f"{source}/{self._of_type[source]}"
            self._of_type[source] += 1
            stream = self.streams[ssrc] = Stream(ssrc, payload_type, key)
        stream.packets += 1
        stream.octets += len(data)
        stream.padding += data[0] >> 5 & 1
        number = stream.extend(int.from_bytes(data[2:4], "big"))
        if number in stream.seen:
            stream.repeated += 1
            if self._pattern(f"{stream.key}/again").lost(stream.repeated, self.settings):
                self.lost += 1
                return stream, True
            if number in stream.lost:
                stream.repaired.add(number)
            return stream, False
        stream.seen.add(number)
        if stream.first < 0:
            stream.first = number
        stream.highest = max(stream.highest, number)
        if number >= stream.first and self._pattern(stream.key).lost(number - stream.first, self.settings):
            stream.lost.add(number)
            self.lost += 1
            return stream, True
        return stream, False

    def _pattern(self, key: str) -> LossPattern:
        found = self._patterns.get(key)
        if found is None:
            found = self._patterns[key] = LossPattern(self._seed, key)
        return found

    def _enqueue(self, data: bytes, tag: object, now: float) -> bool:
        settings = self.settings
        leaves = now
        if settings.rate_bps:
            begins = max(now, self._sent_out_at)
            if (begins - now) * settings.rate_bps / 8 + len(data) > settings.queue_bytes:
                return False
            leaves = self._sent_out_at = begins + len(data) * 8 / settings.rate_bps
        leaves += settings.delay_ms / 1000
        if settings.jitter_ms:
            leaves += abs(self._jitter.gauss(0.0, settings.jitter_ms)) / 1000
        if not settings.reorder:
            leaves = max(leaves, self._last_leave)
        self._last_leave = max(leaves, self._last_leave)
        self._number += 1
        heapq.heappush(self._leaving, (leaves, self._number, data, tag))
        return True

    def pop(self, now: float) -> list[tuple[bytes, object, float]]:
        """(packet, tag, when it was due) of all that are due, in the order in which they leave."""
        self._advance(now)
        due = []
        leaving = self._leaving
        while leaving and leaving[0][0] <= now:
            at, _, data, tag = heapq.heappop(leaving)
            due.append((data, tag, at))
        self.passed += len(due)
        return due

    def next_at(self) -> float | None:
        """When `pop` has something to do; None: not before the next `push`."""
        times = [self._leaving[0][0]] if self._leaving else []
        if self._held and self._timetable and self._begun is not None:
            times.append(self._begun + self._timetable[0][0])
        return min(times, default=None)

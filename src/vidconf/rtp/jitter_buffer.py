"""The audio jitter buffer: packets in as they come, one decision each 20 ms out, with a delay that follows the network.

Pure; one thread an object. The target delay is a high quantile of how late packets are against the fastest of late (after
NetEQ's idea), kept in a small histogram that forgets; above the target the buffer plays faster by leaving a packet out now
and then (`Play.skip`), below it it holds back by a concealed block, so that a burst's delay goes away again. Finer means
(acceleration on the pitch) belong to a later version behind the same face.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidconf.rtp.statistics import sequence_unwrapper, timestamp_unwrapper

BLOCK_S = 0.02
BUCKETS = 50
"""20 ms each: up to one second."""
FORGET = 0.988
QUANTILE = 0.95
MAX_PACKETS = 100
MIN_TARGET_S, MAX_TARGET_S = 0.04, 0.5
GAP_RESET_S = 2.0
ADJUST_BLOCKS = 15


@dataclass(frozen=True, slots=True)
class Play:
    """Decode and play this payload. `skip`: payloads to feed to the decoder first without playing them (catching up)."""

    payload: bytes
    skip: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Conceal:
    """A packet is missing or late: stretch what was played. `next_payload`: the packet after it, when here (in-band FEC)."""

    next_payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is being sent (muted, DTX, before the first packet)."""


class AudioJitterBuffer:
    """For 20 ms packets of a 48 kHz clock; other packet sizes are followed by the timestamps."""

    def __init__(self, clock_hz: int = 48_000) -> None:
        self._clock_hz = clock_hz
        self._unwrap_sequence, self._unwrap_timestamp = sequence_unwrapper(), timestamp_unwrapper()
        self._packets: dict[int, tuple[int, bytes]] = {}
        self._next: int | None = None
        self._playing = False
        self._fastest: float | None = None
        self._histogram = [0.0] * BUCKETS
        self._histogram[2] = 1.0
        self._last_arrival = 0.0
        self._gap_blocks = 0
        self._since_adjust, self._least_level_s = 0, 0.0
        self.target_s = 0.06
        self.played = self.concealed = self.late = self.skipped = 0

    @property
    def level_s(self) -> float:
        """Sound in the buffer, seconds."""
        return len(self._packets) * BLOCK_S

    def push(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """Take one packet. Duplicates and those too late to be played are counted and dropped."""
        number, stamp = self._unwrap_sequence.unwrap(sequence), self._unwrap_timestamp.unwrap(timestamp)
        if now - self._last_arrival > GAP_RESET_S:
            self._restart()
        self._last_arrival = now
        self._note_arrival(stamp, now)
        if self._next is not None and number < self._next:
            self.late += 1
            return
        if not payload or number in self._packets:
            return
        self._packets[number] = (stamp, payload)
        while len(self._packets) > MAX_PACKETS:
            oldest = min(self._packets)
            del self._packets[oldest]
            self._next = oldest + 1
            self.skipped += 1

    def pull(self, now: float) -> Play | Conceal | Silence:
        """What to play for the next 20 ms. Call it once a block."""
        if not self._playing:
            if not self._packets or self.level_s < self.target_s - BLOCK_S / 2:
                return Silence() if not self._packets or now - self._last_arrival < self.target_s * 2 else self._start()
            return self._start()
        assert self._next is not None
        if self._since_adjust >= ADJUST_BLOCKS:
            self._since_adjust, self._least_level_s = 0, self.level_s
        self._since_adjust += 1
        self._least_level_s = min(self._least_level_s, self.level_s)
        if self._next in self._packets:
            return self._take()
        if self._packets:
            return self._missing(now)
        self._gap_blocks += 1
        if self._gap_blocks * BLOCK_S > 0.1 + self.target_s:
            # the sender is silent or gone: start again with a full buffer when it comes back
            self._playing = False
            return Silence()
        self.concealed += 1
        return Conceal()

    def _start(self) -> Play | Conceal | Silence:
        self._playing, self._next = True, min(self._packets)
        self._since_adjust, self._least_level_s = 0, self.level_s
        return self._take()

    def _take(self) -> Play | Conceal:
        assert self._next is not None
        surplus = self.level_s - self.target_s
        skip: list[bytes] = []
        if surplus > 0.2:
            # far behind after a burst: jump most of the way at once
            for _ in range(int((surplus - 0.04) / BLOCK_S)):
                entry = self._packets.pop(self._next, None)
                self._next += 1
                if entry:
                    skip.append(entry[1])
        elif self._since_adjust >= ADJUST_BLOCKS and self._least_level_s - self.target_s > BLOCK_S / 2:
            # for a third of a second there was never less than this: the surplus is real, not the beat of two clocks
            entry = self._packets.pop(self._next, None)
            self._next += 1
            if entry:
                skip.append(entry[1])
        self.skipped += len(skip)
        entry = self._packets.pop(self._next, None)
        self._next += 1
        if entry is None:
            self.concealed += 1
            return Conceal()
        self._gap_blocks = 0
        self.played += 1
        return Play(entry[1], tuple(skip[-2:]))

    def _missing(self, now: float) -> Play | Conceal:
        assert self._next is not None
        oldest = min(self._packets)
        self._gap_blocks += 1
        if oldest - self._next > 25 or self._gap_blocks * BLOCK_S > 0.1:
            # a long hole (a pause in sending that kept numbers, or a lost second): go on with what is here
            self._next = oldest
            return self._take()
        if self.level_s < self.target_s and oldest - self._next == 1 and self._gap_blocks == 1 and now - self._last_arrival > BLOCK_S:
            self.concealed += 1
            return Conceal()
        following = self._packets.get(self._next + 1)
        self._next += 1
        self.concealed += 1
        return Conceal(following[1] if following else None)

    def _note_arrival(self, stamp: int, now: float) -> None:
        transit = now - stamp / self._clock_hz
        if self._fastest is None or transit < self._fastest:
            self._fastest = transit
        else:
            self._fastest += 0.00002        # 1 ms a second: the sender's clock may be slower than ours
        bucket = min(BUCKETS - 1, int((transit - self._fastest) / BLOCK_S))
        for k in range(BUCKETS):
            self._histogram[k] *= FORGET
        self._histogram[bucket] += 1 - FORGET
        total, reached = sum(self._histogram), 0.0
        for k in range(BUCKETS):
            reached += self._histogram[k]
            if reached >= QUANTILE * total:
                break
        self.target_s = max(MIN_TARGET_S, min(MAX_TARGET_S, (k + 2) * BLOCK_S))

    def _restart(self) -> None:
        self._packets.clear()
        self._next, self._playing, self._fastest, self._gap_blocks = None, False, None, 0

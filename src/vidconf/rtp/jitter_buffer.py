"""The audio jitter buffer: packets in as they come, one decision each 20 ms out, with a delay that follows the network.

Pure; one thread an object. The target delay is a high quantile of how late packets are against the fastest of the last
seconds (after NetEQ's idea), kept in a small histogram that forgets. Below what the network needs a late packet grows the
delay by what was concealed for it; above it the buffer leaves a packet out now and then (`Play.skip`), in a quiet moment if
there is one, so that a burst's delay goes away again. Finer means (acceleration on the pitch) belong to a later version
behind the same face.
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
"""A longer pause begins anew."""
ADJUST_BLOCKS = 15
"""A surplus that was there for as long is real, not the beat of two clocks."""
PATIENCE_BLOCKS = 40
"""So long a quiet packet is waited for before a loud one is left out, if the delay is too long by SMALL_S at most."""
SMALL_S = 0.04
FAR_BEHIND_S = 0.2
LATE_RUN = 25
WINDOW_S = 1.0
"""The fastest packet is looked for in the last one to two of these."""


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


_SILENCE, _CONCEAL = Silence(), Conceal()


class AudioJitterBuffer:
    """For packets of 20 ms (the only size that WebRTC senders use unasked) on a 48 kHz clock. Counters are in packets."""

    __slots__ = (
        "_blocks_waited", "_clock_hz", "_concealed_here", "_fastest", "_fastest_before", "_histogram", "_last_arrival", "_late_run",
        "_least_delay_s", "_least_level", "_mean_size", "_next", "_next_stamp", "_packets", "_playing", "_unwrap_sequence", "_unwrap_timestamp",
        "_weight", "_window_at", "concealed", "late", "played", "skipped", "target_s",
    )  # fmt: skip

    def __init__(self, clock_hz: int = 48_000) -> None:
        self._clock_hz = clock_hz
        self._unwrap_sequence, self._unwrap_timestamp = sequence_unwrapper(), timestamp_unwrapper()
        self._packets: dict[int, tuple[int, bytes]] = {}
        self._next: int | None = None
        self._next_stamp = 0
        self._playing = False
        self._concealed_here = 0
        """Blocks concealed in a row for want of any packet; whether that was loss, the next packet tells."""
        self._last_arrival = 0.0
        self._late_run = 0
        self._fastest = self._fastest_before = float("inf")
        self._window_at = 0.0
        self._histogram = [0.0] * BUCKETS
        self._histogram[1] = 1.0
        self._weight = 1 - FORGET
        self._blocks_waited, self._least_level = 0, 0
        self._mean_size = 0.0
        self._least_delay_s = MIN_TARGET_S
        self.target_s = 0.06
        self.played = self.concealed = self.late = self.skipped = 0

    @property
    def level_s(self) -> float:
        """Sound in the buffer, seconds."""
        return len(self._packets) * BLOCK_S

    @property
    def next_stamp(self) -> int:
        """The timestamp, unwrapped, of the sample that follows what was pulled last; what is concealed now passes for it."""
        return self._next_stamp + self._concealed_here * int(self._clock_hz * BLOCK_S)

    def set_least_delay(self, seconds: float) -> None:
        """The target is not to fall below so much (at most MAX_TARGET_S); 0 leaves it to the network."""
        self._least_delay_s = max(MIN_TARGET_S, min(MAX_TARGET_S, seconds))
        self.target_s = max(self.target_s, self._least_delay_s)

    def push(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """Take one packet. Duplicates and those too late to be played are counted and dropped."""
        number, stamp = self._unwrap_sequence.unwrap(sequence), self._unwrap_timestamp.unwrap(timestamp)
        if now - self._last_arrival > GAP_RESET_S:
            self._restart()
        self._last_arrival = now
        self._note_arrival(stamp, now)
        if self._next is not None and number < self._next:
            self.late += 1
            self._late_run += 1
            if self._late_run > LATE_RUN:
                # not late but numbered anew
                self._unwrap_sequence = sequence_unwrapper()
                self._restart()
            return
        self._late_run = 0
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
            if not self._packets:
                return _SILENCE
            enough = self.level_s >= self.target_s - BLOCK_S / 2
            if not enough and now - self._last_arrival < 2 * self.target_s:
                return _SILENCE
            first = min(self._packets)
            self._judge_pause(first)
            self._playing, self._next = True, first
            self._blocks_waited, self._least_level = 0, len(self._packets)
        assert self._next is not None
        self._blocks_waited += 1
        self._least_level = min(self._least_level, len(self._packets))
        if self._next in self._packets:
            self._judge_pause(self._next)
            return self._take()
        if self._packets:
            return self._missing()
        self._concealed_here += 1
        if self._concealed_here * BLOCK_S > 0.1 + self.target_s:
            # the sender is silent or gone: begin with a full buffer when it comes back
            self._playing = False
            return _SILENCE
        return _CONCEAL

    def _judge_pause(self, number: int) -> None:
        """A packet is here after blocks were concealed for want of any. If the sender let time go by without leaving a number
        out, it had said nothing (DTX, mute): what was concealed was no loss, and is not counted."""
        if self._concealed_here and self._next is not None:
            said_nothing = self._packets[number][0] - self._next_stamp > self._clock_hz * BLOCK_S / 2
            if number > self._next or not said_nothing:
                self.concealed += self._concealed_here
        self._concealed_here = 0

    def _take(self) -> Play | Conceal:
        assert self._next is not None
        skip = self._surplus()
        stamp, payload = self._packets.pop(self._next)
        self._next += 1
        self._next_stamp = stamp + int(self._clock_hz * BLOCK_S)
        self._mean_size += (len(payload) - self._mean_size) / 32
        self.played += 1
        return Play(payload, skip) if skip else Play(payload)

    def _surplus(self) -> tuple[bytes, ...]:
        """Takes out what the delay is too long by. `_next` is held afterwards as before."""
        assert self._next is not None
        surplus_s = self.level_s - self.target_s
        if surplus_s > FAR_BEHIND_S:
            # far behind after a burst: jump most of the way at once
            count = int((surplus_s - 0.04) / BLOCK_S)
        elif self._blocks_waited >= ADJUST_BLOCKS and self._least_level * BLOCK_S - self.target_s > BLOCK_S / 2:
            quiet = len(self._packets[self._next][1]) < 0.7 * self._mean_size
            if not quiet and surplus_s <= SMALL_S and self._blocks_waited < PATIENCE_BLOCKS:
                return ()
            count = 1
        else:
            if self._blocks_waited >= PATIENCE_BLOCKS:
                self._blocks_waited, self._least_level = 0, len(self._packets)
            return ()
        left_out = []
        for number in sorted(self._packets)[: min(count, len(self._packets) - 1)]:
            left_out.append(self._packets.pop(number)[1])
        self._next = min(self._packets)
        self.skipped += len(left_out)
        self._blocks_waited, self._least_level = 0, len(self._packets)
        return tuple(left_out[-2:])

    def _missing(self) -> Play | Conceal:
        assert self._next is not None
        oldest = min(self._packets)
        hole = oldest - self._next
        # What was concealed while nothing at all was here stood in for (some of) the hole. A long hole is a pause that kept
        # counting, or a lost moment: go on with what is here.
        stood_in, self._concealed_here = self._concealed_here, 0
        self.concealed += stood_in
        if hole <= stood_in or hole > 25:
            self._next = oldest
            return self._take()
        self._next += stood_in + 1
        self._next_stamp += (stood_in + 1) * int(self._clock_hz * BLOCK_S)
        self.concealed += 1
        following = self._packets.get(self._next)
        return Conceal(following[1]) if following else _CONCEAL

    def _note_arrival(self, stamp: int, now: float) -> None:
        transit = now - stamp / self._clock_hz
        fastest = min(self._fastest, self._fastest_before)
        if abs(transit - fastest) > 1.0 and fastest != float("inf"):
            # the sender's clock was set anew (a pause without counting on): lateness must not be measured against before
            self._fastest = self._fastest_before = fastest = transit
            self._window_at = now
        if now - self._window_at > WINDOW_S:
            self._fastest_before, self._fastest, self._window_at = self._fastest, transit, now
        self._fastest = min(self._fastest, transit)
        late_s = max(0.0, transit - min(self._fastest, self._fastest_before))
        histogram = self._histogram
        # Growing the newest weight forgets as well as shrinking fifty old ones.
        self._weight /= FORGET
        histogram[min(BUCKETS - 1, int(late_s / BLOCK_S))] += self._weight
        if self._weight > 1e9:
            self._histogram = histogram = [v / self._weight for v in histogram]
            self._weight = 1.0
        reached, wanted, k = 0.0, QUANTILE * sum(histogram), 0
        for k in range(BUCKETS):
            reached += histogram[k]
            if reached >= wanted:
                break
        self.target_s = max(self._least_delay_s, min(MAX_TARGET_S, (k + 2) * BLOCK_S))

    def _restart(self) -> None:
        self._packets.clear()
        self._next, self._playing, self._concealed_here, self._late_run = None, False, 0, 0
        self._fastest = self._fastest_before = float("inf")

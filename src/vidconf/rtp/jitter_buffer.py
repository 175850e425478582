"""The audio jitter buffer: packets in as they come; out, one decision after the other, what the next samples are made of.

Pure; one thread an object; `now` in monotonic seconds, lengths in samples of the RTP clock. Packets may last 2.5 to 120 ms and
change in size (`rtp/opus.py` reads it off them). After NetEQ's decision_logic.cc (libwebrtc): the sound is played as long after
its fastest possible arrival as `playout_delay` says; below that it is stretched, above squeezed, both by whoever decodes
(`Play.stretch`). What is missing comes from a copy (RED), else from the packet after it (in-band FEC), else it is concealed.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidconf.rtp import opus
from vidconf.rtp.playout_delay import ArrivalDelay, PlayoutDelay
from vidconf.rtp.statistics import sequence_unwrapper, timestamp_unwrapper

MAX_PACKETS = 200
LONGEST_STEP = 960
"""Concealed at once, at most: a packet that comes meanwhile is not to wait longer."""
NEAR = 120
"""Timestamps that differ by less (2.5 ms) are meant to be one."""
GAP_RESET_S = 2.0
"""A longer pause begins anew."""
HOLD_S = 0.1
"""So long, and as long as the target, a voice is continued when nothing comes; then it is silence."""
COMFORT_S = 1.5
"""How long the quiet between DTX packets goes on without one: they come every 0.4 s."""
MAX_HOLE_S = 0.5
LATE_RUN = 25
LONG = opus.CLOCK_HZ * 6 // 100
"""After so much that was made up the decoder's own way back is heard as a click."""

BAND_S = 0.02
"""So much more than the target is let be: a pitch period at most, and the beat of two clocks."""
QUIET_BAND_S, QUIET_LEFT_S = 0.008, 0.004
"""A smaller surplus, from the first on, goes where nobody speaks, however long that takes, but for the second: what would have to be
stretched again soon is not worth taking out."""
LOOKS, FIRST_LOOKS = 10, 3
"""The least delay of so many decisions counts, one block made late says nothing; of fewer where it is far too long."""
PATIENCE_S, SHORT_PATIENCE_S = 30.0, 1.5
"""So long a surplus of less than SMALL_S waits for a moment in which nobody speaks; and so long a larger one, or a lack."""
SMALL_S, HURRY_S = 0.05, 0.06
"""One larger than the second is squeezed out wherever it goes, to its end."""
LACK_S = 0.01
"""A larger lack is made good at once."""
SQUEEZED = 1440
"""30 ms, twice the longest pitch period: what must be at hand to take one out."""
FAR_BEHIND_S = 1.5
MEAN_OF = 20
"""Packets that the mean delay is taken over, less than half a second."""
ASK_MARGIN_S = 0.01


@dataclass(frozen=True, slots=True)
class Play:
    """Decode these, one after the other, and play them. `stretch`: samples that may be put in (> 0) or taken out (< 0), of what
    is decoded and not played yet; `patient`: only where nobody speaks; `hurry`: wherever it can be borne; `joined`: they do not go on where the sound left off."""

    payloads: tuple[bytes, ...]
    stretch: int = 0
    patient: bool = False
    hurry: bool = False
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Recover:
    """Decode the repair of what came before this payload, which itself is played later."""

    following: bytes
    samples: int


@dataclass(frozen=True, slots=True)
class Conceal:
    """Continue what was heard. `comfort`: nobody speaks, the quiet goes on."""

    samples: int
    comfort: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is being sent (muted, before the first packet)."""


_SILENCE = Silence()


@dataclass(slots=True)
class _Packet:
    stamp: int
    payload: bytes
    duration: int
    arrived: float
    copy: bool
    behind: bool
    """It came after one that follows it."""


class AudioJitterBuffer:
    """For Opus on a 48 kHz clock. Counters are in samples of sound, but `late`, `skipped` and `rubbish`, which are packets."""

    __slots__ = (
        "_arrivals", "_delay", "_filled", "_hurried", "_last_arrival", "_late_run", "_least", "_looks", "_loss", "_missing", "_newest", "_next",
        "_next_stamp", "_packets", "_playing", "_quiet", "_step", "_unequal_since", "_unwrap_sequence", "_unwrap_timestamp",
        "accelerated", "concealed", "copied", "expanded", "late", "mean_delay_s", "played", "recovered", "rubbish", "skipped",
    )  # fmt: skip

    def __init__(self) -> None:
        self._unwrap_sequence, self._unwrap_timestamp = sequence_unwrapper(), timestamp_unwrapper()
        self._arrivals, self._delay = ArrivalDelay(), PlayoutDelay()
        self._packets: dict[int, _Packet] = {}
        self._newest: tuple[int, int] | None = None
        """Number and timestamp of the packet furthest on."""
        self._missing: dict[int, None] = {}
        """Numbers that were jumped over, of late."""
        self._next: int | None = None
        self._next_stamp = 0
        self._filled = 0
        """Samples made up since the last packet; whether that was loss, the next one tells."""
        self._playing = self._quiet = False
        self._step = LONGEST_STEP
        self._last_arrival = 0.0
        self._late_run = 0
        self._loss = 0.0
        self._least, self._looks = float("inf"), 0
        self._unequal_since: float | None = None
        self._hurried = False
        """The delay was far too long, after a stall, and is not right yet."""
        self.mean_delay_s = 0.0
        """How long a sample was here, of late."""
        self.played = self.concealed = self.recovered = self.copied = 0
        self.accelerated = self.expanded = 0
        self.late = self.skipped = self.rubbish = 0

    @property
    def target_s(self) -> float:
        return self._delay.target_s

    @property
    def level_s(self) -> float:
        """Sound in the buffer, seconds."""
        return sum(packet.duration for packet in self._packets.values()) / opus.CLOCK_HZ

    @property
    def next_stamp(self) -> int:
        """The timestamp, unwrapped, of the sample that follows what was pulled last."""
        return self._next_stamp + self._filled

    def set_least_delay(self, seconds: float) -> None:
        """The target is not to fall below so much; 0 leaves it to the network."""
        self._delay.set_least(seconds)

    # ---- in
    def push(self, sequence: int, timestamp: int, payload: bytes, now: float, copy: bool = False) -> None:
        """Take one packet, or a copy of one that another packet carried. Never raises; duplicates, those too late to be played and
        what is no Opus packet are dropped."""
        number, stamp = self._unwrap_sequence.unwrap(sequence), self._unwrap_timestamp.unwrap(timestamp)
        if copy:
            self._push_copy(number, stamp, payload, now)
            return
        if now - self._last_arrival > GAP_RESET_S:
            self._restart()
        self._last_arrival = now
        behind = self._note_arrival(number, stamp, payload, now)
        if self._next is not None and number < self._next:
            self.late += 1
            self._late_run += 1
            if self._late_run > LATE_RUN:
                self.begin_anew()       # not late but numbered anew
            return
        self._late_run = 0
        self._keep(number, _Packet(stamp, payload, 0, now, copy=False, behind=behind))

    def _push_copy(self, number: int, stamp: int, payload: bytes, now: float) -> None:
        if number not in self._missing or (self._next is not None and number < self._next):
            return
        del self._missing[number]
        self._delay.out_of_order(self._arrivals.late_s(stamp / opus.CLOCK_HZ, now))
        self._keep(number, _Packet(stamp, payload, 0, now, copy=True, behind=True))

    def _keep(self, number: int, packet: _Packet) -> None:
        packet.duration = opus.duration(packet.payload)
        if not packet.duration:
            self.rubbish += bool(packet.payload)
            return
        if number in self._packets:
            return
        self._packets[number] = packet
        while len(self._packets) > MAX_PACKETS:
            oldest = min(self._packets)
            del self._packets[oldest]
            self.skipped += 1
            if self._playing:
                self._follow(min(self._packets))

    def _note_arrival(self, number: int, stamp: int, payload: bytes, now: float) -> bool:
        """What an arrival tells about the network. Whether the packet comes after one that follows it."""
        newest, self._newest = self._newest, (number, stamp)
        if newest is None or number - newest[0] > MAX_PACKETS:
            self._missing.clear()
            self._arrivals.arrived(stamp / opus.CLOCK_HZ, now)
            return False
        if number <= newest[0]:
            self._newest = newest
            if number in self._missing:
                del self._missing[number]
                self._delay.out_of_order(self._arrivals.late_s(stamp / opus.CLOCK_HZ, now))
            return True
        latest_s = self._arrivals.arrived(stamp / opus.CLOCK_HZ, now)
        if latest_s is not None:
            self._delay.late(latest_s)
        gap = number - newest[0] - 1
        self._loss += (gap / (gap + 1) - self._loss) * min(1.0, 0.01 * (gap + 1))
        if gap:
            for k in range(newest[0] + 1, number):
                self._missing[k] = None
            while len(self._missing) > MAX_PACKETS:
                del self._missing[next(iter(self._missing))]
            if opus.has_repair(payload):
                self._delay.out_of_order(self._arrivals.late_s((stamp - opus.duration(payload)) / opus.CLOCK_HZ, now))
        else:
            self._delay.in_order()
        return False

    # ---- out
    def pull(self, now: float, ahead: int = 0) -> Play | Recover | Conceal | Silence:
        """What to go on with. `ahead`: samples that are decoded and not played yet."""
        while True:
            if not self._playing and not self._begin(now):
                return _SILENCE
            if not self._packets:
                return self._nothing_here()
            assert self._next is not None
            number = min(self._packets)
            packet = self._packets[number]
            hole = packet.stamp - self._next_stamp
            decision: Recover | Conceal | Silence | None
            if number > self._next and hole >= NEAR:
                decision = self._lost(number, packet, hole)
            elif hole >= NEAR:
                decision = self._paused(packet, hole, now)
            elif self._came_too_late(number, packet, now):
                continue
            else:
                return self._take(number, packet, now, ahead)
            if decision is not None:
                return decision
            if self._playing:
                return self._take(number, packet, now, ahead)

    def begin_anew(self) -> None:
        """What comes now has nothing to do with what came: another SSRC, or a sender that was started again. Counters stay."""
        self._unwrap_sequence, self._unwrap_timestamp = sequence_unwrapper(), timestamp_unwrapper()
        self._restart()

    def stretched(self, samples: int) -> None:
        """So many samples were put in (> 0) or taken out (< 0) after a `Play` that allowed it."""
        if samples > 0:
            self.expanded += samples
        else:
            self.accelerated -= samples
        self._least, self._looks = float("inf"), 0

    def worth_asking(self, sequence: int, rtt_s: float, now: float) -> bool:
        """Whether a packet that is asked for now would still be played, or loss is so heavy that waiting longer pays: then its answer
        is wanted even where it has been concealed meanwhile, because `PlayoutDelay` learns from its coming late."""
        if self._newest is None:
            return False
        number, stamp = self._newest
        missing = number - ((number - sequence) & 0xFFFF)
        if missing not in self._missing:
            return False
        due = stamp - (number - missing) * self._step
        late_s = self._arrivals.late_s(due / opus.CLOCK_HZ, now) + rtt_s + ASK_MARGIN_S
        return late_s <= self._delay.affordable_s(self._loss)

    def _begin(self, now: float) -> bool:
        """Whether the oldest packet here is due."""
        if not self._packets:
            return False
        number = min(self._packets)
        if self._arrivals.late_s(self._packets[number].stamp / opus.CLOCK_HZ, now) < self._delay.target_s:
            return False
        self._judge_filling(number)
        self._follow(number)
        self._playing = True
        return True

    def _follow(self, number: int) -> None:
        """Go on at this packet, whatever lies before it."""
        self._next, self._next_stamp, self._filled = number, self._packets[number].stamp, 0
        self._look_anew()

    def _judge_filling(self, number: int) -> None:
        """A packet is here after samples were made up. If the sender let time go by without leaving a number out, it had said
        nothing (DTX, mute): then they stood in for nothing."""
        if self._filled and self._next is not None:
            said_nothing = number == self._next and self._packets[number].stamp - self._next_stamp >= NEAR
            if not said_nothing:
                self.concealed += self._filled

    def _nothing_here(self) -> Conceal | Silence:
        self._filled += self._step
        if self._filled > opus.CLOCK_HZ * (COMFORT_S if self._quiet else HOLD_S + self._delay.target_s):
            # the sender is silent or gone: begin with a full buffer when it comes back
            self._playing = False
            return _SILENCE
        return Conceal(self._step, comfort=self._quiet)

    def _paused(self, packet: _Packet, hole: int, now: float) -> Conceal | Silence | None:
        """The sender let time go by. None when the packet after it is due."""
        if self._arrivals.late_s(packet.stamp / opus.CLOCK_HZ, now) >= self._delay.target_s or hole > opus.CLOCK_HZ * GAP_RESET_S:
            return None
        return self._nothing_here()

    def _lost(self, number: int, packet: _Packet, hole: int) -> Recover | Conceal | None:
        """Packets before this one are not here. None when enough was made up for them, or they are too many (then it is begun anew)."""
        remaining = (hole - self._filled + NEAR // 2) // NEAR * NEAR
        if remaining <= 0:
            return None
        if remaining > opus.CLOCK_HZ * MAX_HOLE_S:
            self._playing = False
            return None
        repaired = packet.duration if opus.has_repair(packet.payload) else 0
        if remaining <= repaired:
            self.concealed += self._filled
            self.recovered += remaining
            self._next, self._next_stamp, self._filled = number, packet.stamp, 0
            return Recover(packet.payload, remaining)
        step = min(self._step, remaining - repaired)
        self._filled += step
        return Conceal(step)

    def _came_too_late(self, number: int, packet: _Packet, now: float) -> bool:
        """One that was repaired after something had been made up for it is played only where the delay has room: what follows it
        is here."""
        if not self._filled or not packet.behind or len(self._packets) < 2:
            return False
        if self._arrivals.late_s(packet.stamp / opus.CLOCK_HZ, now) <= self._delay.target_s + BAND_S:
            return False
        del self._packets[number]
        self.late += 1
        self.concealed += min(self._filled, packet.duration)
        self._filled = max(0, self._filled - packet.duration)
        self._next, self._next_stamp = number + 1, packet.stamp + packet.duration
        return True

    def _take(self, number: int, packet: _Packet, now: float, ahead: int) -> Play:
        joined = False
        if self._filled:
            self._judge_filling(number)
            joined = packet.stamp - self._next_stamp < self._filled - NEAR or self._filled >= LONG
            self._filled = 0
        late_s = self._arrivals.late_s((packet.stamp - ahead) / opus.CLOCK_HZ, now)
        surplus_s = late_s - self._delay.target_s
        if surplus_s > FAR_BEHIND_S and len(self._packets) > 1:
            number, packet = self._leave_out(surplus_s - BAND_S)
            joined = True
        if joined:
            return Play((self._use(number, packet, now, ahead),), joined=True)
        self._least = min(self._least, late_s)
        self._looks += 1
        if self._looks >= FIRST_LOOKS and self._least - self._delay.target_s > BAND_S + HURRY_S:
            self._hurried = True        # nor is there any patience for what is left of it
        if self._hurried and surplus_s > BAND_S + SMALL_S:
            return self._squeeze(number, packet, now, ahead, surplus_s, hurry=True)
        if self._looks < (FIRST_LOOKS if self._hurried else LOOKS):
            return Play((self._use(number, packet, now, ahead),))
        surplus_s = self._least - self._delay.target_s
        if self._unequal_since is None:
            self._unequal_since = now
        if surplus_s >= BAND_S:
            patience_s = PATIENCE_S if surplus_s < SMALL_S else SHORT_PATIENCE_S
            patient = not self._hurried and now - self._unequal_since < patience_s
            return self._squeeze(number, packet, now, ahead, surplus_s, patient=patient)
        if surplus_s < -0.001:
            patient = surplus_s > -LACK_S and now - self._unequal_since < SHORT_PATIENCE_S
            return Play((self._use(number, packet, now, ahead),), stretch=int(-surplus_s * opus.CLOCK_HZ) + NEAR, patient=patient)
        if surplus_s >= QUIET_BAND_S:
            self._unequal_since = None
            return self._squeeze(number, packet, now, ahead, surplus_s - QUIET_LEFT_S, patient=True)
        self._look_anew()
        return Play((self._use(number, packet, now, ahead),))

    def _look_anew(self) -> None:
        self._least, self._looks, self._unequal_since, self._hurried = float("inf"), 0, None, False

    def _squeeze(self, number: int, packet: _Packet, now: float, ahead: int, surplus_s: float, *, patient: bool = False, hurry: bool = False) -> Play:
        """Enough packets to take a pitch period out of, if the delay is not only long but the sound is here, too."""
        assert self._newest is not None
        if self._newest[1] + packet.duration - packet.stamp + ahead < opus.CLOCK_HZ * self._delay.target_s:
            return Play((self._use(number, packet, now, ahead),))
        payloads = [self._use(number, packet, now, ahead)]
        ahead += packet.duration
        while ahead < SQUEEZED and (after := self._packets.get(number + 1)) and abs(after.stamp - self._next_stamp) < NEAR:
            number += 1
            payloads.append(self._use(number, after, now, ahead))
            ahead += after.duration
        return Play(tuple(payloads), stretch=-int(surplus_s * opus.CLOCK_HZ), patient=patient, hurry=hurry)

    def _leave_out(self, surplus_s: float) -> tuple[int, _Packet]:
        """So far behind that squeezing would take too long: packets are left out. The one to go on with."""
        until = self._next_stamp + surplus_s * opus.CLOCK_HZ
        for number in sorted(self._packets)[:-1]:
            if self._packets[number].stamp >= until:
                break
            del self._packets[number]
            self.skipped += 1
        number = min(self._packets)
        self._follow(number)
        return number, self._packets[number]

    def _use(self, number: int, packet: _Packet, now: float, ahead: int) -> bytes:
        del self._packets[number]
        self._next, self._next_stamp = number + 1, packet.stamp + packet.duration
        self._step, self._quiet = min(packet.duration, LONGEST_STEP), opus.is_silence(packet.payload)
        held_s = now - packet.arrived + ahead / opus.CLOCK_HZ
        self.mean_delay_s += (held_s - self.mean_delay_s) / MEAN_OF if self.played else held_s
        self.played += packet.duration
        if packet.copy:
            self.copied += packet.duration
        return packet.payload

    def _restart(self) -> None:
        self._packets.clear()
        self._missing.clear()
        self._arrivals = ArrivalDelay()
        self._newest = self._next = None
        self._filled, self._playing, self._quiet, self._late_run = 0, False, False, 0
        self._look_anew()

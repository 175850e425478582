"""When what waits may leave: repairs, then pictures, then padding, at 2.5 times the target. Loop's thread only.

Sound does not come through here: it never waits. After libwebrtc's modules/pacing (pacing_controller.cc, bitrate_prober.cc): what
leaves is a debt that is paid off at the pace, and something may leave while the debt is small; a probe replaces the pace by its
own for the few packets that it takes, with padding where there are too few pictures.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from vidconf.engine.outgoing import OutgoingStream
from vidconf.rtp.probing import Probe

PACE = 2.5
TICK_S = 0.005
PROBE_TICK_S = 0.001
BURST_S = 0.015
"""So much of the pace leaves at once: nearly every picture but a keyframe."""
LEAST_BURST = 3_000
"""Octets: two packets, however slow the way."""
MAX_BACKLOG_S = 1.0
"""Pictures that would wait longer are let go, all of them, and the publication is asked to begin anew."""
MAX_REPAIRS = 1_000
REPAIRS, REPAIRS_BURST_S = 0.2, 0.25
"""Part of the target that repairs may take in the long run, and for how long of it at once. A queue that has run over loses so much that
asking for all of it again would keep the way full, and no new picture would leave for seconds (libwebrtc: RateLimiter, of the whole
target)."""
SOON_S = 0.5
"""After a `hold`. At other times repairs of what was before a keyframe are of use: without them fewer pictures were shown where one in
twenty packets is lost."""
PROBE_PATIENCE_S = 1.0
"""A probe that finds nothing to send for so long is given up."""
START_BPS = 1_000_000


class Pacer:
    """`push` pictures, `repair` what is asked for again, `probe`. `overflowed` is called when so much waits that it is let go.

    `padding` says which stream may be padded with, None for none: a muted one never.
    """

    def __init__(self, overflowed: Callable[[], None]) -> None:
        self._overflowed = overflowed
        self.padding: Callable[[], OutgoingStream | None] = lambda: None
        self._pictures: deque[tuple[OutgoingStream, bytearray]] = deque()
        self._repairs: deque[tuple[OutgoingStream, int]] = deque()
        self._asked: set[tuple[int, int]] = set()
        """(SSRC, number) of those that wait: asked for twice, they are sent once."""
        self._dropped: set[int] = set()
        """SSRCs that were let go and have not been pushed since: what is asked of them again is of no use any more."""
        self._repairable = START_BPS * REPAIRS_BURST_S / 8
        """Octets of repairs that may leave now."""
        self._probes: deque[Probe] = deque()
        self._waiting = 0
        """Octets of pictures that wait."""
        self._target_bps = START_BPS
        self._debt = 0.0
        self._debt_at = 0.0
        self._probe_packets = self._probe_octets = 0
        self._probe_next = 0.0
        self._probe_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.held_until = 0.0
        """Monotonic seconds; nothing leaves before. Other threads may read it: what they would make meanwhile would only wait."""
        self.overflows = 0
        self.closed = False

    @property
    def target_bps(self) -> int:
        """What all that is paced may send, bits a second."""
        return self._target_bps

    @target_bps.setter
    def target_bps(self, bits_per_second: int) -> None:
        self._settle(time.monotonic())
        self._target_bps = max(1, bits_per_second)

    @property
    def backlog_s(self) -> float:
        """How long what waits will take at the pace: whoever makes pictures leaves some out when this grows."""
        return 8 * self._waiting / (PACE * self._target_bps)

    def hold(self, seconds: float) -> None:
        """Nothing leaves for so long: what stands in a queue on the way goes first. Probes are given up, they were about another way."""
        if self.closed:
            return
        self.held_until = max(self.held_until, time.monotonic() + seconds)
        self._probes.clear()
        self._run()

    def push(self, stream: OutgoingStream, packets: Sequence[bytearray], *, keyframe: bool = False) -> None:
        """The packets of a picture; what may not leave yet waits. Soon after a `hold` what was before a keyframe is not repaired any
        more: hardly anything of it arrived, and who gets the keyframe has no use for it."""
        if self.closed:
            return
        if self.backlog_s > MAX_BACKLOG_S:
            self._pictures.clear()
            self._waiting = 0
            self.overflows += 1
            self._overflowed()
            return
        self._dropped.discard(stream.ssrc)
        if keyframe and packets and time.monotonic() < self.held_until + SOON_S:
            stream.begin_anew(packets[0])
            self._repairs = deque(item for item in self._repairs if item[0] is not stream)
            self._asked = {(s.ssrc, number) for s, number in self._repairs}
        self._pictures.extend((stream, packet) for packet in packets)
        self._waiting += sum(map(len, packets))
        self._run()

    def repair(self, stream: OutgoingStream, numbers: Sequence[int]) -> None:
        """Answer a NACK: before all pictures. More questions than MAX_REPAIRS are no receiver's: the newest of them are dropped."""
        if self.closed or stream.ssrc in self._dropped:
            return
        for number in numbers[: MAX_REPAIRS - len(self._repairs)]:
            if (stream.ssrc, number) not in self._asked:
                self._asked.add((stream.ssrc, number))
                self._repairs.append((stream, number))
        self._run()

    def probe(self, probe: Probe) -> None:
        """Send the next packets at the probe's own rate, padding where there are too few. Probes follow one another."""
        if self.closed:
            return
        if not self._probes:
            self._begin_probe(time.monotonic())
        self._probes.append(probe)
        self._run()

    def drop(self, stream: OutgoingStream) -> None:
        """Nothing of this stream leaves any more (muted, unpublished, a layer that does not fit), repairs neither, until it is pushed."""
        self._dropped.add(stream.ssrc)
        self._pictures = deque(item for item in self._pictures if item[0] is not stream)
        self._repairs = deque(item for item in self._repairs if item[0] is not stream)
        self._asked = {(s.ssrc, number) for s, number in self._repairs}
        self._waiting = sum(len(packet) for _, packet in self._pictures)

    def take_up(self, stream: OutgoingStream) -> None:
        """It is sent again after `drop`; for sound, which is never pushed: what is asked again of it is answered."""
        self._dropped.discard(stream.ssrc)

    def close(self) -> None:
        """Nothing leaves any more. Never raises."""
        self.closed = True
        for queue in (self._pictures, self._repairs, self._probes):
            queue.clear()
        self._asked.clear()
        self._waiting = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- the bucket
    def _settle(self, now: float) -> None:
        octets = max(0.0, now - self._debt_at) * self._target_bps / 8
        self._debt_at = now
        self._debt = max(0.0, self._debt - PACE * octets)
        self._repairable = min(self._repairable + REPAIRS * octets, REPAIRS_BURST_S * self._target_bps / 8)

    def _run(self) -> None:
        """Send what may be sent; come back when more may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while True:
            now = time.monotonic()
            self._settle(now)
            wait = self._wait_s(now)
            if wait <= 0:
                sent = self._send_next(now)
                self._debt += sent
                if self._probes:
                    self._probe_sent(sent, now)
                    continue
                if sent:
                    continue
                wait = TICK_S       # repairs beyond their part, or nothing
            if self._pictures or self._repairs or self._probes:
                self._timer = asyncio.get_running_loop().call_later(wait, self._run)
            return

    def _wait_s(self, now: float) -> float:
        """Until something may leave."""
        if now < self.held_until:
            return self.held_until - now
        if self._probes:
            return 0.0 if now >= self._probe_next else max(PROBE_TICK_S, self._probe_next - now)
        burst = max(LEAST_BURST, BURST_S * PACE * self._target_bps / 8)
        return 0.0 if self._debt < burst else max(TICK_S, 8 * (self._debt - burst) / (PACE * self._target_bps))

    def _send_next(self, now: float) -> int:
        """The first of what waits. Octets that left, 0: nothing was there."""
        probe = self._probes[0].cluster if self._probes else 0
        while self._repairs and self._repairable > 0:
            stream, number = self._repairs.popleft()
            self._asked.discard((stream.ssrc, number))
            if sent := stream.repair(number, now, probe=probe if stream.numbered else 0):
                self._repairable -= sent
                return sent
        if self._pictures:
            stream, packet = self._pictures.popleft()
            self._waiting -= len(packet)
            stream.transmit(packet, now, probe=probe if stream.numbered else 0)
            return len(packet)
        if probe and (padded := self.padding()) is not None and padded.numbered:
            return padded.pad(now, probe=probe)
        return 0

    # ---- probes
    def _begin_probe(self, now: float) -> None:
        self._probe_packets = self._probe_octets = 0
        self._probe_next = self._probe_since = now

    def _probe_sent(self, sent: int, now: float) -> None:
        """Count what left of the probe; the next one when it is whole or has waited in vain."""
        probe = self._probes[0]
        if not sent:
            if now - self._probe_since > PROBE_PATIENCE_S:
                self._probes.popleft()
                self._begin_probe(now)
            else:
                self._probe_next = now + TICK_S
            return
        self._probe_packets += 1
        self._probe_octets += sent
        self._probe_next = max(self._probe_next, now - TICK_S) + 8 * sent / probe.bps
        if self._probe_packets >= probe.least_packets and self._probe_octets >= probe.least_octets:
            self._probes.popleft()
            self._begin_probe(now)

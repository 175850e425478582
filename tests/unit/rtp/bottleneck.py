"""A way with a narrowest place, and a sender on it: time is counted, nothing waits. For the tests of what may be sent.

The sender makes thirty pictures a second of the size its target allows, no more than `encoder_bps`, paces them at 2.5 times the
target and pads its probes, as the engine does. The way is a FIFO queue of `queue_s` at `rate_bps`, a delay, and random loss.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vidconf.rtp.congestion import SendRate
from vidconf.rtp.feedback import SentPacket
from vidconf.rtp.probing import Probe

STEP_S = 0.001
PACKET = 1200
FEEDBACK_S = 0.05
FRAME_S = 1 / 30


@dataclass
class Seen:
    """What a run showed: times in seconds from its beginning."""

    targets: list[tuple[float, int]] = field(default_factory=list)
    queues: list[tuple[float, float]] = field(default_factory=list)
    arrived: list[tuple[float, int]] = field(default_factory=list)

    def arrived_bps(self, since: float, until: float) -> float:
        return 8 * sum(size for at, size in self.arrived if since <= at < until) / (until - since)

    def target_bps(self, since: float, until: float) -> float:
        values = [target for at, target in self.targets if since <= at < until]
        return sum(values) / len(values)

    def queue_s(self, share: float, since: float = 0.0, until: float = float("inf")) -> float:
        values = sorted(queue for at, queue in self.queues if since <= at < until)
        return values[int(share * (len(values) - 1))]

    def first(self, bps: float, since: float = 0.0) -> float:
        """When the target first is so high; infinity for never."""
        return next((at - since for at, target in self.targets if at >= since and target >= bps), float("inf"))


def run(
    rate: SendRate, seconds: float, rate_bps: Callable[[float], float], *, loss: float = 0.0, rtt_s: float = 0.05, queue_s: float = 0.3,
    encoder_bps: Callable[[float], float] = lambda at: 2_500_000, seed: int = 1, jitter_s: float = 0.0,
    used: float = 0.95,
) -> Seen:
    """Send for so long over a way whose narrowest place carries `rate_bps(at)`. `used`: the part of the target that pictures take."""
    seen, draw = Seen(), random.Random(seed)
    waiting = 0
    debt, free_at, frame_at, feedback_at = 0.0, 0.0, 0.0, 0.0
    number = 0
    on_way: deque[SentPacket] = deque()
    reports: deque[tuple[float, list[SentPacket]]] = deque()
    probes: deque[Probe] = deque()
    probe_sent = probe_octets = 0
    probe_next = 0.0

    def leave(now: float, size: int, cluster: int) -> None:
        nonlocal free_at, number
        carried = rate_bps(now)
        queue = max(0.0, free_at - now)
        seen.queues.append((now, queue))
        arrives: float | None = None
        if queue <= queue_s:
            free_at = max(free_at, now) + 8 * size / carried
            if draw.random() >= loss:
                arrives = free_at + rtt_s / 2 + jitter_s * draw.random()
                seen.arrived.append((arrives, size))
        rate.sent(size, now)
        on_way.append(SentPacket(number & 0xFFFF, size, now, arrives, cluster))
        number += 1

    steps = int(seconds / STEP_S)
    for step in range(steps):
        now = step * STEP_S
        target = rate.target_bps
        debt = max(0.0, debt - STEP_S * 2.5 * target / 8)
        if now >= frame_at:
            frame_at += FRAME_S
            waiting += int(min(used * target, encoder_bps(now)) * FRAME_S / 8)
            waiting = min(waiting, int(2.5 * target / 8))
        while probes:
            if now < probe_next:
                break
            probe = probes[0]
            size = min(PACKET, waiting) if waiting > 200 else PACKET
            leave(now, size, probe.cluster)
            waiting = max(0, waiting - size)
            debt += size
            probe_sent, probe_octets, probe_next = probe_sent + 1, probe_octets + size, max(probe_next, now - STEP_S) + 8 * size / probe.bps
            if probe_sent >= probe.least_packets and probe_octets >= probe.least_octets:
                probes.popleft()
                probe_sent = probe_octets = 0
        while not probes and waiting and debt < max(3000, 0.015 * 2.5 * target / 8):
            size = min(PACKET, waiting)
            leave(now, size, 0)
            waiting -= size
            debt += size
        if now >= feedback_at:
            feedback_at += FEEDBACK_S
            told = []
            heard = max((p.received_at for p in on_way if p.received_at is not None and p.received_at <= now), default=None)
            while on_way and heard is not None and (on_way[0].received_at is None or on_way[0].received_at <= now):
                if on_way[0].received_at is None and on_way[0].sent_at + rtt_s / 2 > heard:
                    break
                told.append(on_way.popleft())
            if told:
                reports.append((now + rtt_s / 2, told))
        while reports and reports[0][0] <= now:
            rate.on_report(reports.popleft()[1], now)
        if step % 25 == 0:
            found = rate.probes(now)
            if found and not probes:
                probe_next = now
            probes.extend(found)
            seen.targets.append((now, rate.target_bps))
    return seen

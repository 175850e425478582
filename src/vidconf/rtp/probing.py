"""How much more the way carries, asked by a few packets sent faster than the target: when to ask, how fast, what was answered.

Pure; one thread an object; times in monotonic seconds, rates in bits a second. After libwebrtc's probe_controller.cc and
probe_bitrate_estimator.cc (modules/congestion_controller/goog_cc). One thing differs: libwebrtc asks again after a cut only while
the application sends little; we also do while it would send more, for else a way that has recovered is refilled by 8 % a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidconf.rtp.feedback import SentPacket

LEAST_PACKETS = 5
PROBE_S, FIRST_PROBE_S = 0.02, 0.04
"""A probe is so long at its rate, and no shorter than LEAST_PACKETS; the first ones longer, since most hangs on them."""
FIRST, SECOND, FURTHER = 3.0, 6.0, 2.0
"""Times the target: the two at the start, and each after one that was answered well."""
ANSWERED_WELL = 0.7
ANSWER_S = 1.0
"""An answer that has not come by then does not come."""
IDLE_EVERY_S = 5.0
"""While the application sends little, the target is proven anew so often."""
START_S, START_EVERY_S = 5.0, 1.0
"""In the beginning a probe that failed may have failed by chance: it is repeated soon."""
RECOVER_EVERY_S, RECOVER_WITHIN_S = 2.0, 60.0
SLOWEST_EVERY_S = 15.0
"""How often more is asked for while it would be used: soon after a cut, and seldomer the longer nothing comes of it."""
DROP = 0.66
"""Below this part of what was carried within RECOVER_WITHIN_S the target has been cut."""
STEADY_S, START_STEADY_S = 1.0, 0.2
"""The queue must have been empty so long."""
SATURATED, USABLE = 0.9, 0.95
"""What arrives at less than this part of the pace it was sent at has filled the way; of that much may be used."""
PLAUSIBLE = 2.0
"""Arrivals so much denser than departures were held up and let go together: they say nothing."""
NEEDED = 0.8
"""Part of a cluster that must have arrived."""
MAX_CLUSTERS = 16


@dataclass(frozen=True, slots=True)
class Probe:
    """Packets to send at `bps` until both `least_packets` and `least_octets` have left, marked with `cluster`."""

    cluster: int
    bps: int
    least_packets: int
    least_octets: int


class _Cluster:
    __slots__ = (
        "count", "first_arrived", "first_sent", "last_arrived", "last_sent", "octets", "probe", "size_of_first_arrived", "size_of_last_sent",
    )  # fmt: skip

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.count = self.octets = self.size_of_last_sent = self.size_of_first_arrived = 0
        self.first_sent = self.first_arrived = float("inf")
        self.last_sent = self.last_arrived = float("-inf")

    def add(self, packet: SentPacket, arrived: float) -> None:
        self.count += 1
        self.octets += packet.size
        self.first_sent = min(self.first_sent, packet.sent_at)
        if packet.sent_at > self.last_sent:
            self.last_sent, self.size_of_last_sent = packet.sent_at, packet.size
        if arrived < self.first_arrived:
            self.first_arrived, self.size_of_first_arrived = arrived, packet.size
        self.last_arrived = max(self.last_arrived, arrived)

    def bps(self) -> float | None:
        """What the way carried; None while that cannot be said."""
        probe = self.probe
        sent_s, arrived_s = self.last_sent - self.first_sent, self.last_arrived - self.first_arrived
        if self.count < NEEDED * probe.least_packets or self.octets < NEEDED * probe.least_octets or not (0 < sent_s <= 1 and 0 < arrived_s <= 1):
            return None
        sent = 8 * (self.octets - self.size_of_last_sent) / sent_s
        arrived = 8 * (self.octets - self.size_of_first_arrived) / arrived_s
        if arrived > PLAUSIBLE * sent:
            return None
        return USABLE * arrived if arrived < SATURATED * sent else min(sent, arrived)


class ProbeResults:
    """`began` each probe, give all feedback to `on_report`: the highest rate that it proves, None for none."""

    __slots__ = ("_clusters",)

    def __init__(self) -> None:
        self._clusters: dict[int, _Cluster] = {}

    def began(self, probe: Probe) -> None:
        self._clusters[probe.cluster] = _Cluster(probe)
        if len(self._clusters) > MAX_CLUSTERS:
            del self._clusters[next(iter(self._clusters))]

    def on_report(self, results: Sequence[SentPacket]) -> float | None:
        best: float | None = None
        for packet in results:
            cluster = self._clusters.get(packet.probe) if packet.probe else None
            if cluster is None or packet.received_at is None:
                continue
            cluster.add(packet, packet.received_at)
            found = cluster.bps()
            if found is not None and (best is None or found > best):
                best = found
        return best


class ProbePlan:
    """When to probe. Ask `due` at least every 50 ms; tell `answered` what came of it and `estimated` every new target."""

    __slots__ = ("_asked", "_asked_at", "_began", "_best", "_cluster", "_every_s", "_wanted")

    def __init__(self) -> None:
        self._cluster = 0
        self._began: float | None = None
        self._asked = 0.0
        """The fastest rate that an answer is waited for, 0 for none."""
        self._asked_at = float("-inf")
        self._best: tuple[float, float] = (0.0, float("-inf"))
        """The highest target of late, and when it was left."""
        self._wanted = False
        self._every_s = RECOVER_EVERY_S

    def estimated(self, target_bps: float, now: float) -> None:
        """Every new target, so that it is known what the way has carried of late."""
        if target_bps >= self._best[0] or now - self._best[1] > RECOVER_WITHIN_S:
            self._best = (target_bps, now)

    def answered(self, bps: float, limit_bps: float, now: float) -> list[Probe]:
        """A probe's answer came; the further probes that it makes worthwhile. The next is asked for sooner where more was found."""
        if not self._asked or bps < ANSWERED_WELL * self._asked:
            return []
        self._every_s = RECOVER_EVERY_S
        asked, self._asked = self._asked, 0.0
        return self._ask([FURTHER * bps], limit_bps, now, PROBE_S) if bps < limit_bps and asked < USABLE * limit_bps else []

    def wanted(self) -> None:
        """Much more would be of use from now on: whether it is there is asked next, all of it at once."""
        self._asked, self._wanted = 0.0, True

    def due(self, target_bps: float, limit_bps: float, now: float, *, idle: bool, steady_s: float, held_back: bool) -> list[Probe]:
        """Probes to send now, usually none.

        `limit_bps`: more is of no use. `idle`: the application sends much less than the target. `steady_s`: since when the queue
        is empty. `held_back`: losses bound the target; then nothing is asked, for the answer would not be believed.
        """
        if self._began is None:
            self._began = now
            return self._ask([FIRST * target_bps, SECOND * target_bps], limit_bps, now, FIRST_PROBE_S)
        starting = now - self._began < START_S
        if self._asked and now - self._asked_at > ANSWER_S:
            self._asked = 0.0
            if not starting:
                self._every_s = min(1.5 * self._every_s, SLOWEST_EVERY_S)
        steady = steady_s >= (START_STEADY_S if starting else STEADY_S)
        if self._asked or held_back or not steady or target_bps >= USABLE * limit_bps:
            return []
        if self._wanted:
            self._wanted = False
            return self._ask([limit_bps], limit_bps, now, FIRST_PROBE_S)
        cut = target_bps < DROP * self._best[0] and now - self._best[1] < RECOVER_WITHIN_S
        every_s = START_EVERY_S if starting else min(self._every_s, IDLE_EVERY_S) if idle or cut else self._every_s
        if now - self._asked_at < every_s:
            return []
        return self._ask([(FIRST if starting else FURTHER) * target_bps], limit_bps, now, FIRST_PROBE_S if starting else PROBE_S)

    def _ask(self, rates: Sequence[float], limit_bps: float, now: float, for_s: float) -> list[Probe]:
        probes = []
        for rate in dict.fromkeys(min(rate, limit_bps) for rate in rates):
            self._cluster += 1
            probes.append(Probe(self._cluster, int(rate), LEAST_PACKETS, int(rate * for_s / 8)))
        self._asked, self._asked_at = max(p.bps for p in probes), now
        return probes

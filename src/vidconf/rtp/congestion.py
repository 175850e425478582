"""How much may be sent: delay, loss and probes joined into one target, from transport-wide feedback. Pure; one thread an object.

Times in monotonic seconds, rates in bits a second. The order of things is that of libwebrtc's goog_cc_network_control.cc: what
arrives, then the probes, then the delay, then the losses, then whether to probe again.
"""

from __future__ import annotations

from collections.abc import Sequence

from vidconf.rtp.acknowledged_rate import AcknowledgedRate, ApplicationLimited
from vidconf.rtp.delay_rate import DelayRate
from vidconf.rtp.feedback import SentPacket
from vidconf.rtp.loss_rate import LossRate
from vidconf.rtp.probing import Probe, ProbePlan, ProbeResults
from vidconf.rtp.receive_rate import Queue

PRESUMED_RTT_S = 0.2
SILENT_S, SILENT_EVERY_S, SILENT_CUT = 2.0, 0.5, 0.8
"""While something is sent and nothing comes back about it, the target shrinks: the way may be gone, or its queue endless."""


class SendRate:
    """`target_bps` is between `floor_bps` and `ceiling_bps` at all times. `sent` every packet that carries a transport-wide number,
    give `on_report` the feedback, ask `probes` at least every 50 ms while something is sent, `want` what is of use just now."""

    def __init__(self, start_bps: int, floor_bps: int, ceiling_bps: int) -> None:
        self._floor, self.ceiling_bps = floor_bps, ceiling_bps
        start = float(max(floor_bps, min(start_bps, ceiling_bps)))
        self._delay, self._loss = DelayRate(start, floor_bps), LossRate(floor_bps)
        self._acknowledged, self._application = AcknowledgedRate(), ApplicationLimited(start)
        self._plan, self._results = ProbePlan(), ProbeResults()
        self._rtt_s = PRESUMED_RTT_S
        self._heard_at: float | None = None
        self._sent_at = float("-inf")
        self._silent_at = float("-inf")
        self._answer: float | None = None
        self._useful_bps: float = ceiling_bps

    def want(self, bps: float) -> None:
        """More than this is of no use just now: it is not probed for, but what the way was found to carry is not forgotten. When more
        is wanted than is known to be there, that is asked at once (libwebrtc's probe on a change of what may be allocated)."""
        if bps > self._useful_bps and self.target_bps < bps:
            self._plan.wanted()
        self._useful_bps = bps

    @property
    def target_bps(self) -> int:
        """What may be sent, all told: first packets, repairs and headers of what is numbered."""
        return int(max(self._floor, min(self._delay.estimate_bps, self._loss.estimate_bps, self.ceiling_bps)))

    @property
    def heard(self) -> bool:
        """A report has come."""
        return self._heard_at is not None

    @property
    def queue(self) -> Queue:
        return self._delay.queue

    @property
    def standing_s(self) -> float:
        """How long what is sent waits on the way, as the last report showed."""
        return self._delay.standing_s

    @property
    def overuses(self) -> int:
        return self._delay.overuses

    @property
    def loss(self) -> float:
        """Share lost of late, 0…1."""
        return self._loss.average

    @property
    def idle(self) -> bool:
        """The application sends much less than it may."""
        return self._application.limited

    @property
    def arriving_bps(self) -> int | None:
        """What the far end acknowledges; None for the first half second."""
        return self._acknowledged.bps

    @property
    def rtt_s(self) -> float:
        """From sending to hearing of it, smoothed: the way there, back, and the wait for the next report."""
        return self._rtt_s

    def sent(self, size: int, now: float) -> None:
        """A numbered packet leaves."""
        self._sent_at = now
        self._application.sent(size, now)

    def on_report(self, results: Sequence[SentPacket], now: float) -> None:
        """Results of one transport-wide report, in the order they left."""
        if not results:
            return
        self._heard_at = now
        idle = self._application.look(now)
        newest: SentPacket | None = None
        for result in results:
            if result.received_at is not None:
                newest = result
                self._acknowledged.add(result.size, result.received_at, idle=idle)
        if newest is not None:
            self._rtt_s += (max(0.0, now - newest.sent_at) - self._rtt_s) / 8
        probed = self._results.on_report(results)
        arriving = self._acknowledged.bps
        self._delay.on_report(results, now)
        self._delay.update(arriving, self._rtt_s, self.ceiling_bps, now, recent_bps=self._acknowledged.recent_bps, idle=idle, probed_bps=probed)
        self._loss.on_report(results, self._delay.estimate_bps, arriving, self.ceiling_bps, idle=idle)
        if probed is not None and self._delay.queue is not Queue.FILLING:
            self._answer = probed
        self._moved(now)

    def probes(self, now: float) -> list[Probe]:
        """Probes to begin now, usually none. Also where silence is noticed."""
        self._notice_silence(now)
        if self._heard_at is None:
            return []
        idle = self._application.look(now)
        limit = min(self.ceiling_bps, self._useful_bps)
        probes: list[Probe] = []
        if self._answer is not None:
            probes = self._plan.answered(self._answer, limit, now)
            self._answer = None
        probes = probes or self._plan.due(
            self.target_bps, limit, now, idle=idle, steady_s=self._delay.steady_s(now), held_back=self._loss.bound and not self._loss.rising
        )
        for probe in probes:
            self._results.began(probe)
        return probes

    def _notice_silence(self, now: float) -> None:
        heard = self._heard_at
        if heard is None or now - heard < SILENT_S or now - self._sent_at > SILENT_S or now - self._silent_at < SILENT_EVERY_S:
            return
        self._silent_at = now
        self._delay.estimate_bps = max(self._floor, SILENT_CUT * self.target_bps)
        self._moved(now)

    def _moved(self, now: float) -> None:
        target = self.target_bps
        self._application.target(target)
        self._plan.estimated(target, now)

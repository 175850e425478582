"""What a sender did, from what was counted on its way and what was seen at the other end. Pure."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.network import frame_times

Counts = Sequence[tuple[float, dict[int, dict[str, int]]]]
"""(when, SSRC -> what had gone up by then)."""
VIDEO = 96
"""Payload type of VP8, as both senders have it."""
WINDOW_S = 0.5
SETTLED_S = 5.0
USED_AFTER_S = 4.0


@dataclass(frozen=True, slots=True)
class Sent:
    """`begin` is when the way became what the row is about; all times `time.monotonic`."""

    sender: str
    begin: float
    end: float
    before: Counts
    after: Counts
    targets: list[tuple[float, float]]
    """(when, what it believed it might send)."""
    seen: Sequence[tuple[float, float | None]]
    cpu_percent: float
    own_delay_ms: float

    def rates(self) -> list[tuple[float, float]]:
        """(when, bits a second of pictures in the WINDOW_S before): what is sent for the first time, headers included."""
        found = []
        for counts in (self.before, self.after):
            octets = [(at, _pictures(streams)) for at, streams in counts]
            times = [at for at, _ in octets]
            for k, (at, so_far) in enumerate(octets):
                since = bisect.bisect_left(times, at - WINDOW_S)
                if since < k and at - times[since] > 0.8 * WINDOW_S:
                    found.append((at, 8 * (so_far - octets[since][1]) / (at - times[since])))
        return found

    def sent_bps(self, since: float, until: float) -> float | None:
        """Pictures for the first time, between two moments after `begin`."""
        return self._bps(_pictures, since, until)

    def again_bps(self, since: float, until: float) -> float | None:
        """Everything else of video: repairs and padding."""
        return self._bps(lambda streams: sum(s["octets"] for s in streams.values()) - _pictures(streams), since, until)

    def came_bps(self, since: float, until: float) -> float | None:
        """All that reached the SFU of it, repairs too."""
        return self._bps(lambda streams: sum(map(_came, streams.values())), since, until)

    def _bps(self, counted: Callable[[dict[int, dict[str, int]]], float], since: float, until: float) -> float | None:
        inside = [(at, counted(streams)) for at, streams in self.after if self.begin + since <= at <= self.begin + until]
        return 8 * (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0]) if len(inside) > 1 else None

    def target_bps(self, since: float, until: float) -> float | None:
        values = [bps for at, bps in self.targets if self.begin + since <= at < self.begin + until]
        return sum(values) / len(values) if values else None

    @property
    def first(self) -> float:
        """When the first picture's packet went: where it was seen at once, just before `begin`."""
        return next((at for at, streams in self.before if _pictures(streams)), self.begin)

    def watched(self, since: float, until: float) -> dict[str, float | None]:
        """What the other end saw between two moments after `begin`."""
        found = frame_times.pictures(self.seen, self.begin + since, self.begin + until)
        return {
            "pictures a second": found["fps"], "freezes": float(found["freezes"]), "longest gap, s": self.longest_gap_s(since, until),
            "latency p50, ms": found["latency_p50_ms"], "latency p95, ms": found["latency_p95_ms"],
        }  # fmt: skip

    def longest_gap_s(self, since: float, until: float) -> float | None:
        inside = [at for at, _ in self.seen if self.begin + since <= at <= self.begin + until]
        return max((b - a for a, b in itertools.pairwise(inside)), default=None)


def _pictures(streams: dict[int, dict[str, int]]) -> float:
    """Octets of pictures, less what was sent once more under the same SSRC and what was padding."""
    return sum(s["octets"] * (1 - (s["repeated"] + s["padding"]) / s["packets"]) for s in streams.values() if s["payload_type"] == VIDEO and s["packets"])


def _came(stream: dict[str, int]) -> float:
    return stream["octets"] * (1 - (stream["lost"] + stream["overflowed"]) / stream["packets"]) if stream["packets"] else 0.0


def _mega(bps: float | None) -> float | None:
    return None if bps is None else bps / 1e6


def _machine(sent: Sent) -> dict[str, float | None]:
    return {"CPU %": sent.cpu_percent, "the way's own delay p99, ms": sent.own_delay_ms}


def of_free(sent: Sent) -> dict[str, float | None]:
    """Seconds from the first picture's packet."""
    first = sent.first
    figures: dict[str, float | None] = {}
    for megabits in (1.0, 2.0):
        at = next((at for at, bps in sent.targets if bps >= megabits * 1e6), None)
        figures[f"target {megabits:.0f} Mb/s after, s"] = None if at is None else max(0.0, at - first)
    at = next((at for at, bps in sent.rates() if bps >= 0.9 * 2e6), None)
    figures["pictures of 1.8 Mb/s after, s"] = None if at is None else max(0.0, at - first)
    return figures | {"sent at the end, Mb/s": _mega(sent.sent_bps(2, sent.end - sent.begin))} | _machine(sent)


def of_loss(sent: Sent) -> dict[str, float | None]:
    until = sent.end - sent.begin
    return {
        "target, Mb/s": _mega(sent.target_bps(SETTLED_S, until)), "pictures, Mb/s": _mega(sent.sent_bps(SETTLED_S, until)),
        "repairs and padding, Mb/s": _mega(sent.again_bps(SETTLED_S, until)), **sent.watched(SETTLED_S, until), **_machine(sent),
    }  # fmt: skip


def of_narrow(sent: Sent) -> dict[str, float | None]:
    until = sent.end - sent.begin
    return {
        "target, Mb/s": _mega(sent.target_bps(USED_AFTER_S, until)), "used, Mb/s": _mega(sent.came_bps(USED_AFTER_S, until)),
        **sent.watched(USED_AFTER_S, until), **_machine(sent),
    }  # fmt: skip


def of_cut(sent: Sent, narrows_s: float, widens_s: float) -> dict[str, float | None]:
    """Before, while it is narrow, and how long after it is wide again nine tenths of before are sent."""
    before = sent.sent_bps(SETTLED_S, narrows_s)
    back = None
    if before is not None:
        back = next((at - sent.begin - widens_s for at, bps in sent.rates() if at > sent.begin + widens_s and bps >= 0.9 * before), None)
    during = sent.watched(narrows_s, widens_s)
    return {
        "before, Mb/s": _mega(before), "while narrow, Mb/s": _mega(sent.came_bps(narrows_s + 3, widens_s)),
        "freezes from the cut on": sent.watched(narrows_s, sent.end - sent.begin)["freezes"],
        "longest gap, s": sent.longest_gap_s(narrows_s, sent.end - sent.begin),
        "latency p95 while narrow, ms": during["latency p95, ms"], "back to 90 % after, s": back, **_machine(sent),
    }  # fmt: skip

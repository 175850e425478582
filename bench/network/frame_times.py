"""Freezes and latency from when pictures came: one arithmetic for every receiver. Pure."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any


def freezes(times: Sequence[float], until: float | None = None) -> tuple[int, float]:
    """How many, and their seconds together: a gap > max(3 × mean, mean + 150 ms), the mean over the last 30 gaps (webrtc-stats,
    `freezeCount`). `times` in seconds, ascending; `until`: the end of the watch, so that a picture that never came back counts."""
    recent: deque[float] = deque(maxlen=30)
    count, seconds = 0, 0.0
    moments = [*times, until] if until is not None and times else list(times)
    for earlier, later in itertools.pairwise(moments):
        gap = later - earlier
        mean = sum(recent) / len(recent) if recent else min(gap, 0.2)
        if gap > max(3 * mean, mean + 0.15):
            count += 1
            seconds += gap
        recent.append(gap)
    return count, seconds


def quantile(values: Sequence[float], share: float) -> float | None:
    """None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def pictures(seen: Sequence[tuple[float, float | None]], begin: float, end: float) -> dict[str, Any]:
    """What a row tells of pictures: `seen` are (when, age in ms or None), the watch is from `begin` to `end`."""
    inside = [(at, age) for at, age in seen if begin <= at < end]
    before = [at for at, _ in seen if at < begin][-30:]
    count, seconds = freezes([*before, *(at for at, _ in inside)], end)
    ages = [age for _, age in inside if age is not None]
    return {
        "frames": len(inside), "fps": round(len(inside) / (end - begin), 2), "freezes": count, "freeze_s": round(seconds, 3),
        "latency_p50_ms": quantile(ages, 0.5), "latency_p95_ms": quantile(ages, 0.95),
    }  # fmt: skip

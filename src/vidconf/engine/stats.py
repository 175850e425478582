"""What the engine costs: CPU of one core, memory, children included. Loop's thread; a sample costs well under a millisecond."""

from __future__ import annotations

import contextlib
import time

import psutil

LOOK_S = 10.0


class ProcessUsage:
    """`sample` gives the CPU since the last one; `mean` since `restart`. New children are looked for now and then only: it means
    reading every process of the machine."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._children: list[psutil.Process] = []
        self._looked_at = float("-inf")
        self._last = (time.monotonic(), self._cpu_s())
        self._begun = self._last

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        total = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        for child in self._living():
            with contextlib.suppress(psutil.Error):
                spent = child.cpu_times()
                total += spent.user + spent.system
        return float(total)

    def _living(self) -> list[psutil.Process]:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            with contextlib.suppress(psutil.Error):
                self._children = self._process.children(recursive=True)
        return self._children

    def restart(self) -> None:
        self._looked_at = float("-inf")
        self._begun = (time.monotonic(), self._cpu_s())

    def sample(self) -> float:
        """Per cent of one core since the last sample."""
        now = (time.monotonic(), self._cpu_s())
        before, self._last = self._last, now
        return round(100 * max(0.0, now[1] - before[1]) / max(0.001, now[0] - before[0]), 1)

    def mean(self) -> float:
        """Per cent of one core since `restart`."""
        return round(100 * max(0.0, self._cpu_s() - self._begun[1]) / max(0.001, time.monotonic() - self._begun[0]), 1)

    def rss_mb(self) -> float:
        total = self._process.memory_info().rss
        for child in self._living():
            with contextlib.suppress(psutil.Error):
                total += child.memory_info().rss
        return round(float(total) / 1e6, 1)

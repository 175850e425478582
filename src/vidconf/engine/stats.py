"""What the engine costs: CPU of one core, memory, children included. Loop's thread; a sample costs well under a millisecond."""

from __future__ import annotations

import contextlib
import time

import psutil


class ProcessUsage:
    """`sample` gives the CPU since the last one; `mean` since `restart`."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last = (time.monotonic(), self._cpu_s())
        self._begun = self._last

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        total = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        with contextlib.suppress(psutil.Error):
            for child in self._process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    spent = child.cpu_times()
                    total += spent.user + spent.system
        return float(total)

    def restart(self) -> None:
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
        with contextlib.suppress(psutil.Error):
            for child in self._process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += child.memory_info().rss
        return round(float(total) / 1e6, 1)

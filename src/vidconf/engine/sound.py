"""Arithmetic on 16-bit samples: level, mixing with a limiter, fades. numpy where it is, plain Python where it is not.

Pure; any thread. The engine plays and sends without numpy, a little dearer.
"""

from __future__ import annotations

import array
import functools
import math
import operator
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

np: ModuleType | None
try:
    import numpy as np
except ImportError:     # an installation without it still plays
    np = None

FULL = 32767
FADE = 240
"""Samples in 5 ms."""
RECOVERY = 1 / 48_000
"""What the limiter gives back with each sample: from half to full in half a second."""

Part = tuple[bytes, float, float]
"""Samples, and their gain at the first and at the last of them."""


def level(pcm: bytes) -> float:
    """RMS, 0…1. Every fourth sample is enough for a gauge and for who is speaking."""
    if len(pcm) < 8:
        return 0.0
    if np is not None:
        part = np.frombuffer(pcm, np.int16)[::4].astype(np.float32)
        return float(math.sqrt(float(np.dot(part, part)) / len(part)) / FULL)
    samples = array.array("h", pcm)[::4]
    return math.sqrt(sum(v * v for v in samples) / len(samples)) / FULL


@functools.lru_cache(8)
def _steps(count: int) -> Any:
    """0…1, evenly."""
    assert np is not None
    return np.linspace(0, 1, count, dtype=np.float32)


def _ramp(first: float, last: float, count: int) -> Any:
    """As `numpy.linspace`, at a tenth of its cost."""
    assert np is not None
    return np.float32(first) + np.float32(last - first) * _steps(count)


class Mixer:
    """Sums blocks of one length; a peak above full scale turns all down at once and comes back within a second."""

    def __init__(self) -> None:
        self._gain = 1.0

    def mix(self, parts: Sequence[Part], size: int) -> bytes:
        """`size` bytes; a part that is shorter ends in silence, what it has more is left out."""
        parts = [p for p in parts if p[1] > 0 or p[2] > 0]
        if not parts:
            self._gain = min(1.0, self._gain + RECOVERY * (size // 2))
            return bytes(size)
        if len(parts) == 1 and parts[0][1] == parts[0][2] == self._gain == 1.0 and len(parts[0][0]) == size:
            return parts[0][0]
        return self._mix_numpy(parts, size) if np is not None else self._mix_plain(parts, size)

    def _limit(self, peak: float, count: int) -> tuple[float, float]:
        """Gain at the beginning and end of a block of `count` samples."""
        before = self._gain
        wanted = min(1.0, FULL / peak) if peak > 0 else 1.0
        self._gain = wanted if wanted < before else min(wanted, before + RECOVERY * count)
        return min(before, wanted), self._gain

    def _mix_numpy(self, parts: Sequence[Part], size: int) -> bytes:
        assert np is not None
        # nearly always all are whole and at rest: then it is one product of a row of gains and a table of samples
        plain = [p for p in parts if p[1] == p[2] and len(p[0]) == size]
        if plain:
            table = np.frombuffer(b"".join([p[0] for p in plain]), np.int16).reshape(len(plain), -1).astype(np.float32)
            total = np.array([p[1] for p in plain], np.float32) @ table
        else:
            total = np.zeros(size // 2, np.float32)
        if len(plain) < len(parts):
            for pcm, first, last in (p for p in parts if p[1] != p[2] or len(p[0]) != size):
                samples = np.frombuffer(pcm, np.int16)[: size // 2]
                gain = np.float32(first) if first == last else _ramp(first, last, len(samples))
                total[: len(samples)] += samples * gain
        start, end = self._limit(max(float(total.max()), -float(total.min())), len(total))
        if start != 1.0 or end != 1.0:
            total *= _ramp(start, end, len(total))
        mixed: bytes = total.astype(np.int16).tobytes()    # nothing is above FULL any more
        return mixed

    def _mix_plain(self, parts: Sequence[Part], size: int) -> bytes:
        count = size // 2
        total: list[float] = [0] * count
        for pcm, first, last in parts:
            samples: Iterable[float] = array.array("h", pcm[: 2 * min(count, len(pcm) // 2)].ljust(size, b"\0"))
            if first != last:
                length = max(1, min(count, len(pcm) // 2) - 1)
                samples = (v * (first + (last - first) * k / length) for k, v in enumerate(samples))
            elif first != 1.0:
                samples = map(first.__mul__, samples)
            total = list(map(operator.add, total, samples))
        start, end = self._limit(max(max(total), -min(total)), count)
        if start != 1.0 or end != 1.0:
            step = (end - start) / max(1, count - 1)
            total = [v * (start + step * k) for k, v in enumerate(total)]
        return array.array("h", map(int, total)).tobytes()     # nothing is above FULL any more


def crossfade(old: bytes, new: bytes, samples: int = FADE) -> bytes:
    """`new`, whose first `samples` grow out of `old`'s: where something was left out or put in, no click."""
    count = min(samples, len(old) // 2, len(new) // 2)
    if np is not None and count > FADE // 2:
        first, second = np.frombuffer(old, np.int16, count).astype(np.float32), np.frombuffer(new, np.int16, count)
        passed: bytes = (first + (second - first) * (np.arange(count, dtype=np.float32) / count)).astype(np.int16).tobytes()
        return passed + new[2 * count :]
    a, b = array.array("h", old[: 2 * count]), array.array("h", new[: 2 * count])
    mixed = array.array("h", (int(x + (y - x) * k / count) for k, (x, y) in enumerate(zip(a, b, strict=True))))
    return mixed.tobytes() + new[2 * count :]


def fade_in(pcm: bytes) -> bytes:
    """The first 5 ms out of silence."""
    return crossfade(bytes(2 * FADE), pcm)


def fade_out(pcm: bytes) -> bytes:
    """All of it into silence, evenly."""
    samples = array.array("h", pcm[: len(pcm) // 2 * 2])
    count = max(1, len(samples))
    return array.array("h", (int(v * (1 - (k + 1) / count)) for k, v in enumerate(samples))).tobytes()

"""Who speaks, from the audio-level header extension (RFC 6464); nothing is decoded. Pure; one thread an object.

LiveKit's rule (pkg/sfu/audio): a window of 400 ms counts as speech when at least 40 % of it was at −35 dBov or louder; levels
are smoothed, and only changes are told.
"""

from __future__ import annotations

from collections.abc import Iterable

WINDOW_S = 0.4
PACKET_S = 0.02
LOUD_SHARE = 0.4
SMOOTH = 0.5
STEPS = 8
"""Levels are told in eighths, so that a steady voice is not told again and again."""


class Speakers:
    """One room's. `heard` once a window gives what to say: (sid, level 0…1, active)."""

    def __init__(self) -> None:
        self._levels: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def heard(self, windows: Iterable[tuple[str, int, int, int]]) -> list[tuple[str, float, bool]]:
        """`windows`: (participant sid, packets heard, of these loud, sum of the loud ones' −dBov). Returns the changes."""
        now: dict[str, float] = {}
        for sid, _, loud, level_sum in windows:
            level = 0.0
            if loud * PACKET_S >= LOUD_SHARE * WINDOW_S:
                level = 10 ** (-(level_sum / loud) / 20)
            now[sid] = max(now.get(sid, 0.0), level)
        changes: list[tuple[str, float, bool]] = []
        for sid in {**self._levels, **now}:
            level, before = now.get(sid, 0.0), self._levels.get(sid, 0.0)
            smooth = before + (level - before) * SMOOTH
            if smooth < 0.005 or (not level and smooth < 0.02):
                smooth = 0.0
                self._levels.pop(sid, None)
            else:
                self._levels[sid] = smooth
            step = -(-round(smooth * STEPS * 1000) // 1000) / STEPS if smooth else 0.0
            if step != self._told.get(sid, 0.0):
                changes.append((sid, min(1.0, step), step > 0))
                if step:
                    self._told[sid] = step
                else:
                    self._told.pop(sid, None)
        changes.sort(key=lambda c: -c[1])
        return changes

    def active(self) -> list[tuple[str, float]]:
        """Who speaks now, loudest first: for one who joins."""
        return sorted(self._told.items(), key=lambda c: -c[1])

    def forget(self, sid: str) -> None:
        self._levels.pop(sid, None)
        self._told.pop(sid, None)

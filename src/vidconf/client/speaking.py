"""Who counts as speaking, in which order, and whom the stage shows: hysteresis over what the SFU reports. Pure; `now` is an
argument (monotonic seconds).

A cough is no speech, and a breath between two words is no end of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

START_LEVEL = 0.01
START_S = 0.15
"""Heard for so long before counted as speaking."""
HOLD_S = 1.0
"""Still speaking so long after last heard."""
SMOOTH = 0.4
"""Share of a new level in the smoothed one."""
LOUDER = 1.4
"""Two change places only when the lower one is louder by this factor."""
MAIN_HOLD_S = 2.0
"""Whom the stage shows large stays at least so long."""
MAIN_SILENT_S = 0.8
"""…unless silent for so long, when somebody else speaks."""


@dataclass(slots=True)
class _Voice:
    since: float
    heard: float
    level: float


@dataclass(slots=True)
class SpeakerOrder:
    """Feed it each report by `report`, and the time by `at` when no report comes; both answer who speaks, loudest first."""

    main: str | None = None
    """Whom the speaker view shows: the last who held the floor of sound for a while. Stays when all are silent."""
    _main_since: float = 0.0
    _voices: dict[str, _Voice] = field(default_factory=dict)
    _order: tuple[str, ...] = ()

    def report(self, levels: Iterable[tuple[str, float]], now: float) -> tuple[tuple[str, float], ...]:
        """`levels`: (participant, 0…1) of all who are heard now; who is missing is silent."""
        for participant, level in levels:
            if level < START_LEVEL:
                continue
            voice = self._voices.get(participant)
            if voice is None or now - voice.heard > HOLD_S:
                self._voices[participant] = _Voice(now, now, level)
            else:
                voice.heard = now
                voice.level += SMOOTH * (level - voice.level)
        return self.at(now)

    def at(self, now: float) -> tuple[tuple[str, float], ...]:
        """Who speaks at `now`."""
        for participant, voice in list(self._voices.items()):
            if now - voice.heard > HOLD_S:
                del self._voices[participant]
        speaking = [p for p, voice in self._voices.items() if voice.heard - voice.since >= START_S]
        self._order = self._sorted(speaking)
        self._choose_main(now)
        return tuple((p, round(self._voices[p].level, 2)) for p in self._order)

    def forget(self, participant: str) -> None:
        """It left."""
        self._voices.pop(participant, None)
        self._order = tuple(p for p in self._order if p != participant)
        if self.main == participant:
            self.main = None

    @property
    def next_change_s(self) -> float:
        """How long until `at` may answer differently without a report, seconds."""
        return HOLD_S / 4 if self._voices else 3600.0

    def _sorted(self, speaking: list[str]) -> tuple[str, ...]:
        """As before, but for those clearly louder than who stands before them."""
        level = {p: self._voices[p].level for p in speaking}
        order = [p for p in self._order if p in level]
        order += sorted((p for p in speaking if p not in order), key=lambda p: -level[p])
        moved = True
        while moved:
            moved = False
            for n in range(len(order) - 1):
                if level[order[n + 1]] > LOUDER * level[order[n]]:
                    order[n], order[n + 1] = order[n + 1], order[n]
                    moved = True
        return tuple(order)

    def _choose_main(self, now: float) -> None:
        if not self._order or self.main == self._order[0]:
            return
        held = self._voices.get(self.main or "")
        silent = held is None or now - held.heard >= MAIN_SILENT_S
        if self.main is None or silent or now - self._main_since >= MAIN_HOLD_S:
            self.main, self._main_since = self._order[0], now

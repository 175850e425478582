"""What the engine has been told of the tiles: which tracks are shown, how large. It hears of changes only. The window's thread.

What appears or goes is told at once, for it costs or saves decoding; a new size only when it has come to rest (`settle`), for a
window being drawn larger would otherwise have the engine make a new scaler for every pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from vidconf.engine.api import PixelFormat


class Watched(NamedTuple):
    """Device pixels. `ahead`: not shown yet, but on the next page."""

    width: int
    height: int
    fill: bool
    format: PixelFormat = "bgrx"
    ahead: bool = False


Tell = Callable[[str, int, int, bool, bool, PixelFormat], object]
"""`actions.watch`: track, width, height, visible, fill, format."""


class Watches:
    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: dict[str, Watched] = {}
        self._next: dict[str, Watched] = {}

    def show(self, wanted: Mapping[str, Watched], living: Collection[str]) -> bool:
        """Exactly these are shown. `living`: tracks that are there at all; of others nothing is said. True: `settle` is due."""
        for track in [held for held in self._told if held not in wanted]:
            told = self._told.pop(track)
            self._next.pop(track, None)
            if track in living or track.startswith("local:"):
                self._tell(track, 0, 0, False, told.fill, told.format)
        for track, now in wanted.items():
            told_before = self._told.get(track)
            if told_before is None or told_before[2:] != now[2:]:  # what is new, or is shown in another way, not only in another size
                self._say(track, now)
            elif told_before != now:
                self._next[track] = now
            else:
                self._next.pop(track, None)
        return bool(self._next)

    def settle(self) -> None:
        """Sizes have come to rest."""
        for track, now in list(self._next.items()):
            self._say(track, now)

    def _say(self, track: str, now: Watched) -> None:
        self._next.pop(track, None)
        self._told[track] = now
        self._tell(track, now.width, now.height, True, now.fill, now.format)

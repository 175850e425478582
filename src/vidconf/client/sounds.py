"""Which of the program's own sounds a change of the state calls for, and playing them where the loudspeaker is: in the engine.

`called_for` is pure. One `Sounds` a client, on the loop's thread; all of them off by one setting. Joins make no sound: in a
meeting of a province each they would never end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vidconf.client.settings import Settings
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.meeting.models import Meeting
from vidconf.meeting.rights import is_moderator

AGAIN_S = {"knock": 8.0}
"""A group of knocks is one sound."""
ANYHOW_S = 0.7
"""The same sound never follows itself closer."""
_INSIDE = ("lobby", "meeting")
_DONE_TO_ME = frozenset({"muted_by", "camera_stopped_by", "share_stopped_by"})


def called_for(old: ClientState, new: ClientState) -> tuple[api.SoundName, ...]:
    """The sounds for what happened between two states, most important first."""
    found: list[api.SoundName] = []
    if new.phase in _INSIDE and old.phase == new.phase and old.reconnecting != new.reconnecting:
        found.append("lost" if new.reconnecting else "back")
    if (new.unmute_asked and not old.unmute_asked) or (_has_floor(new) and not _has_floor(old)):
        found.append("called")
    if new.noticed != old.noticed and any(n.id > old.noticed and n.family == "notice" and n.code in _DONE_TO_ME for n in new.notices):
        found.append("muted")
    if new.meeting is not old.meeting and _knocks(old, new):
        found.append("knock")
    return tuple(found)


def _has_floor(state: ClientState) -> bool:
    return state.meeting is not None and state.meeting.floor is not None and state.meeting.floor.participant == state.me


def _knocks(old: ClientState, new: ClientState) -> bool:
    """Somebody new waits, and one is who can let them in."""
    own = new.own
    if new.phase != "meeting" or new.meeting is None or own is None or not is_moderator(own):
        return False
    return not _waiting(new.meeting) <= _waiting(old.meeting if old.phase == "meeting" else None)


def _waiting(meeting: Meeting | None) -> set[str]:
    return {p.id for p in meeting.knocking()} if meeting is not None else set()


class Sounds:
    """Follows the store."""

    def __init__(self, store: Store, settings: Settings, engine: api.Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._engine, self._clock = settings, engine, clock
        self._played: dict[str, float] = {}
        self.close = store.subscribe(self._on_state)

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        sounds = called_for(old, new)
        if not sounds or not self._settings.on("sounds"):
            return
        now = self._clock()
        for sound in sounds:
            last = self._played.get(sound)
            if last is None or now - last >= AGAIN_S.get(sound, ANYHOW_S):
                self._played[sound] = now
                self._engine.send(api.PlaySound(sound))
                return

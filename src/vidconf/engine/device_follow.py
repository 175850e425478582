"""Keeps one's own sources and the loudspeaker on the device that was chosen: another while it is away, itself again when it is back.

Loop's thread only; it stands between commands and session. Three rules. The choice is the user's alone: what is used instead never
becomes the choice. A mute is never touched: a device is switched under its publication, whose intent stays what it is. And a device
that is in use elsewhere, or refused, is not replaced, but tried again until it opens.
"""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, cast

from vidconf.engine import api
from vidconf.engine.api import find_device
from vidconf.engine.device_listings import Kind, default_of, is_device, may_be_unlisted, of_kind

log = logging.getLogger("vidconf.devices")

SOURCES: tuple[Kind, ...] = ("microphone", "camera")
GONE = ("device_lost", "not_found", "no_device", "unreadable")
"""Errors after which another device is used, when one was chosen by name."""
TRIED_AGAIN = ("device_in_use", "no_permission", "device_lost", "not_found", "no_device")
SPEAKER_ERRORS = ("no_speaker", "speaker_lost")
AGAIN_S = (2.0, 2.0, 3.0, 5.0, 5.0, 10.0)
SPEAKER_AGAIN_S = (5.0, 10.0, 20.0, 60.0)
BROKEN_S = (10.0, 30.0, 60.0, 300.0)
"""A chosen device that is in the list and did not work is tried again so long after."""
SPEAKER_OPENS_S = 3.0
"""A loudspeaker of which nothing bad was heard for so long has opened."""


class Stage(Protocol):
    """What is switched. `attempt(kind, device, done)`: see off the loop whether it opens, then `done(True or False)` on the loop."""

    def switch_device(self, source: Kind, device: str) -> None: ...

    def select_speaker(self, device: str) -> None: ...

    def is_muted(self, source: Kind) -> bool: ...

    def attempt(self, kind: Kind, device: str, done: Callable[[bool], None]) -> None: ...

    def look(self) -> None: ...

    def emit(self, event: api.EngineEvent) -> None: ...


@dataclass(slots=True)
class _Held:
    """One of the three, while it is wanted."""

    chosen: str
    used: str
    error: str = ""
    again_at: float = 0.0
    tries: int = 0
    trying: bool = False
    broken_until: float = 0.0
    breaks: int = 0
    told: bool = False
    """The user knows that another stands in."""


class DeviceFollower:
    """`speaker`: what the playout begins with. `clock` in monotonic seconds. `tick` every second or so."""

    def __init__(self, stage: Stage, speaker: str = "none", clock: Callable[[], float] = time.monotonic) -> None:
        self._stage, self._clock = stage, clock
        self.devices: api.Devices | None = None
        self._held: dict[Kind, _Held] = {}
        self._speaker_since = math.inf
        if is_device(speaker):
            self._held["speaker"] = _Held(speaker, speaker)

    # ---- commands
    def open(self, command: api.OpenSource) -> api.OpenSource:
        """A source is opened or switched by the user: the command with the device to use now."""
        if command.source not in SOURCES:
            return command
        kind = command.source
        held = self._held.get(kind)
        if not is_device(command.device):
            self._held.pop(kind, None)
            return command
        if held is None or held.chosen != command.device or held.error:
            held = self._held[kind] = _Held(command.device, command.device)
        held.used = self._usable(kind, held)
        self._tell_if_away(kind, held)
        return replace(command, device=held.used)

    def close(self, source: str) -> None:
        """It is not wanted any more."""
        if source in SOURCES:
            self._held.pop(source, None)

    def close_all(self) -> None:
        """The meeting was left; the loudspeaker stays chosen."""
        for kind in SOURCES:
            self._held.pop(kind, None)

    def select(self, device: str) -> str:
        """A loudspeaker was chosen: the one to use now."""
        if not is_device(device):
            self._held.pop("speaker", None)
            self._stage.emit(api.SpeakerChanged(device))
            return device
        held = self._held["speaker"] = _Held(device, device)
        held.used = self._usable("speaker", held)
        self._speaker_since = self._clock()
        self._tell_if_away("speaker", held)
        self._stage.emit(api.SpeakerChanged(held.used))
        return held.used

    # ---- what happens
    def listed(self, devices: api.Devices) -> None:
        """There are these devices now."""
        before, self.devices = self.devices, devices
        now = self._clock()
        for kind, held in list(self._held.items()):
            if find_device(of_kind(devices, kind), held.chosen) is None and not may_be_unlisted(held.chosen):
                held.broken_until = 0.0         # when it is back, it is another plugging
            wanted = self._usable(kind, held)
            if held.error and (devices != before or wanted != held.used):
                held.tries, held.again_at = 0, now
            elif wanted != held.used:
                self._use(kind, held, wanted)
            elif before is not None and _moved(kind, held.used, before, devices):
                log.info("the %s is another now, or was away for a moment", kind)
                self._switch(kind, held, held.used)
        self.tick()

    def said(self, event: api.EngineEvent) -> api.EngineEvent | None:
        """An event of the session on its way out: as it should be told, or None when it need not be."""
        match event:
            case api.SourceChanged(source=source) if source in SOURCES and source in self._held:
                kind = cast(Kind, source)
                return self._source_said(kind, self._held[kind], event)
            case api.Failed(code=code) if code in SPEAKER_ERRORS and "speaker" in self._held:
                return self._speaker_failed(self._held["speaker"], event)
        return event

    def tick(self) -> None:
        """Try again what is due."""
        now = self._clock()
        for kind, held in list(self._held.items()):
            if kind == "speaker" and now - self._speaker_since >= SPEAKER_OPENS_S:
                self._speaker_opened(held)
            if held.error and now >= held.again_at:
                self._try(kind, held, self._usable(kind, held), now)
            elif not held.error and 0 < held.broken_until <= now:
                self._try(kind, held, self._chosen(kind, held), now)

    def _try(self, kind: Kind, held: _Held, device: str, now: float) -> None:
        """Open it, or see first whether it opens: a source that is told to be on and then off again would be told to the whole meeting."""
        if kind == "speaker":
            held.again_at, held.broken_until = now + _step(SPEAKER_AGAIN_S, held.tries), 0.0
            held.tries += 1
            held.used, self._speaker_since = device, now
            self._stage.select_speaker(device)
        elif not held.trying and not (kind == "camera" and self._stage.is_muted(kind)):     # a muted camera is closed, and stays so
            held.trying = True
            self._stage.attempt(kind, device, partial(self._attempted, kind, held, device))

    def _attempted(self, kind: Kind, held: _Held, device: str, opens: bool) -> None:
        held.trying = False
        waited = bool(held.error) or held.broken_until
        if self._held.get(kind) is not held or not waited or (kind == "camera" and self._stage.is_muted(kind)):
            return
        held.tries += 1
        held.again_at = self._clock() + _step(AGAIN_S, held.tries)
        if opens:
            held.broken_until = 0.0
            self._stage.look()
            self._use(kind, held, device)
        elif held.broken_until:
            self._break(held)

    # ---- sources
    def _source_said(self, kind: Kind, held: _Held, event: api.SourceChanged) -> api.EngineEvent | None:
        if not event.error:
            held.error = ""
            return event
        chosen_works_not = held.used == self._chosen(kind, held) != "default"
        if event.error in GONE and chosen_works_not and event.error != held.error:
            self._stage.look()
            self._break(held)
            if (stand_in := self._stand_in(kind, held)) != held.used:
                self._use(kind, held, stand_in)
                return None
        if event.error not in TRIED_AGAIN:
            return event
        if held.error != event.error:
            self._stage.look()
        held.error, held.again_at = event.error, self._clock() + _step(AGAIN_S, held.tries)
        return replace(event, waits=True)

    def _use(self, kind: Kind, held: _Held, device: str) -> None:
        self._tell_if_away(kind, held, device)
        self._switch(kind, held, device)

    def _switch(self, kind: Kind, held: _Held, device: str) -> None:
        held.used, held.error = device, ""
        if kind == "speaker":
            self._speaker_since = self._clock()
            self._stage.select_speaker(device)
            self._stage.emit(api.SpeakerChanged(device))
        else:
            self._stage.switch_device(kind, device)

    def _break(self, held: _Held) -> None:
        held.broken_until = self._clock() + _step(BROKEN_S, held.breaks)
        held.breaks += 1

    # ---- the loudspeaker
    def _speaker_opened(self, held: _Held) -> None:
        """Only then is it told: one that is tried in vain now and then is not told to be back and gone again."""
        self._speaker_since = math.inf
        self._tell_if_away("speaker", held)
        if held.error:
            held.error, held.tries = "", 0
            self._stage.emit(api.SpeakerChanged(held.used))

    def _speaker_failed(self, held: _Held, event: api.Failed) -> api.EngineEvent | None:
        self._speaker_since = math.inf
        if held.used == self._chosen("speaker", held) != "default":
            self._stage.look()
            self._break(held)
            if (stand_in := self._stand_in("speaker", held)) != held.used:
                self._use("speaker", held, stand_in)
                return None
        in_use = event.detail.startswith(f"[Errno {errno.EBUSY}]")      # as the system's words begin
        code = "speaker_in_use" if in_use else event.code
        known, held.error = held.error == code, code
        if held.again_at <= self._clock():
            held.again_at = self._clock() + _step(SPEAKER_AGAIN_S, held.tries)
        if known:
            return None
        self._stage.emit(api.SpeakerChanged(held.used, code))
        return replace(event, code=code)

    # ---- which one
    def _chosen(self, kind: Kind, held: _Held) -> str:
        """The chosen device by its present id."""
        found = find_device(of_kind(self.devices, kind), held.chosen) if self.devices is not None else None
        return held.chosen if found is None or held.chosen == "default" else found.id

    def _usable(self, kind: Kind, held: _Held) -> str:
        """The chosen device where it is there, and works; else what stands in for it."""
        if held.chosen == "default" or self.devices is None:
            return held.chosen
        if held.broken_until:
            return self._stand_in(kind, held)
        if find_device(of_kind(self.devices, kind), held.chosen) is None and not may_be_unlisted(held.chosen):
            return self._stand_in(kind, held)
        return self._chosen(kind, held)

    def _stand_in(self, kind: Kind, held: _Held) -> str:
        """The system's default; another one where that is the very device which does not work."""
        if self.devices is None:
            return "default"
        chosen = self._chosen(kind, held)
        if default_of(self.devices, kind) != chosen:
            return "default"
        return next((one.id for one in of_kind(self.devices, kind) if one.id != chosen), chosen)

    def _tell_if_away(self, kind: Kind, held: _Held, device: str = "") -> None:
        """Once when another device takes its place, once when it is back."""
        used = device or held.used
        away = used != self._chosen(kind, held)
        if away and self.devices is not None and not of_kind(self.devices, kind):
            return      # nothing stands in: the error that comes says so
        if away != held.told:
            held.told = away
            stand_in = used if used != "default" else default_of(self.devices or api.Devices(), kind)
            self._stage.emit(api.DeviceSwitched(kind, "lost", held.chosen, stand_in) if away else api.DeviceSwitched(kind, "back", held.chosen))


def _moved(kind: Kind, used: str, before: api.Devices, now: api.Devices) -> bool:
    """Whether what is used (for `default`: what that stands for) is another plugging now: a sound server moves its streams elsewhere when a
    device is away, however short, and does not bring them back. What is only unknown for a moment has not moved."""
    old, new = (find_device(of_kind(one, kind), default_of(one, kind) if used == "default" else used) for one in (before, now))
    return new is not None and (old is None or old.id != new.id or (new.id.startswith("pulse:") and old.node != new.node))


def _step(steps: tuple[float, ...], tries: int) -> float:
    return steps[min(tries, len(steps) - 1)]

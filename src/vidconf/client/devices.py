"""What is remembered and told of devices: the names of those chosen, also while they are away, and which stands in for which.

The loop's thread. Ids never reach a user: a headset that is not plugged in today is called what it was called when it was chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from vidconf.client import changes as c
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.engine import api

Kind = Literal["microphone", "camera", "speaker"]
KINDS: tuple[Kind, ...] = ("microphone", "camera", "speaker")


def listed(devices: api.Devices | None, kind: Kind) -> tuple[api.Device, ...]:
    if devices is None:
        return ()
    return {"microphone": devices.microphones, "camera": devices.cameras, "speaker": devices.speakers}[kind]


def chosen(state: ClientState, kind: Kind) -> str:
    """The id of what was chosen, as the list has it: settings of older versions and policies name devices otherwise."""
    held = str(getattr(state.chosen, kind))
    found = api.find_device(listed(state.devices, kind), held)
    return found.id if found is not None else held


def name_of(state: ClientState, kind: Kind, device: str) -> str:
    """What people call it, "" where nobody knows."""
    found = api.find_device(listed(state.devices, kind), device)
    return found.name if found is not None else state.device_names.get(device, "")


class DeviceMemory:
    """Keeps the names of the three chosen devices in the settings, from when they were last seen."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        store.subscribe(self._state_changed)

    def _state_changed(self, old: ClientState, new: ClientState) -> None:
        if old.devices is new.devices and old.chosen == new.chosen:
            return
        names: dict[str, str] = {}
        for kind in KINDS:
            device = getattr(new.chosen, kind)
            name = name_of(new, kind, device)
            if name and name != device:
                names[device] = name
        if names != dict(new.device_names):
            self._store.dispatch(c.Set({"device_names": names}))
            self._settings.remember("device_names", names)


def switched(state: ClientState, event: api.DeviceSwitched, tell: Callable[[Literal["info", "warn"], str, dict[str, Any]], None]) -> None:
    """Tell the user that another device stands in, or that the chosen one is used again. Of a camera that is closed there is nothing to
    tell."""
    kind, device = event.kind, name_of(state, event.kind, event.device)
    if kind == "camera" and state.sources["camera"].wanted != "on":
        return
    if event.why == "back":
        tell(
            "info", "microphone_back" if kind == "microphone" else "camera_back" if kind == "camera" else "speaker_back", {"device": device}
        )
        return
    stand_in = name_of(state, kind, event.stand_in) if event.stand_in else ""
    told = {"device": device, "stand_in": stand_in}
    tell("warn", "microphone_away" if kind == "microphone" else "camera_away" if kind == "camera" else "speaker_away", told)

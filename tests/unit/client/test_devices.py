"""What is remembered of devices: names while they are away, and ids of older versions and of policies found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidconf.client.changes import EngineSaid, Set
from vidconf.client.devices import DeviceMemory, chosen, name_of
from vidconf.client.settings import Settings
from vidconf.client.state import ChosenDevices, ClientState
from vidconf.client.store import Store
from vidconf.engine.api import Device, Devices

WEBCAM = Device("v4l2:usb-046d_C920-index0", "HD Pro Webcam C920", "/dev/video2")
HEADSET = Device("pulse:headset", "Tai nghe", "7")
ALL = Devices((WEBCAM,), (HEADSET,), (Device("pulse:hall", "Loa phòng họp", "1"),))


@pytest.mark.parametrize("held", [WEBCAM.id, "/dev/video2", "HD Pro Webcam C920"], ids=["id", "of an older version", "of a policy"])
def test_a_choice_is_found_however_it_was_kept(held: str) -> None:
    state = ClientState(chosen=ChosenDevices(camera=held), devices=ALL)
    assert chosen(state, "camera") == WEBCAM.id
    assert name_of(state, "camera", held) == WEBCAM.name


def test_what_is_away_keeps_its_name_over_restarts_and_what_is_not_chosen_any_more_is_forgotten(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.json")
    store = Store(ClientState(chosen=ChosenDevices("pulse:headset", WEBCAM.id, "none")))
    DeviceMemory(store, settings)
    store.dispatch(EngineSaid(ALL))
    assert settings.mapping("device_names") == {"pulse:headset": "Tai nghe", WEBCAM.id: WEBCAM.name}
    assert settings.save()
    again = Settings(tmp_path / "settings.json")
    later = Store(ClientState(chosen=store.state.chosen, device_names=again.mapping("device_names")))
    DeviceMemory(later, again)
    later.dispatch(EngineSaid(Devices()))
    assert chosen(later.state, "microphone") == "pulse:headset"
    assert name_of(later.state, "microphone", "pulse:headset") == "Tai nghe"
    later.dispatch(Set({"chosen": ChosenDevices("default", WEBCAM.id, "none")}))
    assert again.mapping("device_names") == {WEBCAM.id: WEBCAM.name}
    assert name_of(later.state, "microphone", "pulse:headset") == ""

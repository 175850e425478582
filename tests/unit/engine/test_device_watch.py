"""The engine on a real sound server whose devices are pulled out and plugged in: noticed, followed, and as muted as before."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from e2e.sound_server import SoundServer, own_sound_server

from vidconf.engine import api, device_watch, devices, pulse
from vidconf.engine.api import Devices, DeviceSwitched, OpenSource, SelectSpeaker, SourceChanged, SpeakerChanged
from vidconf.engine.device_watch import DeviceWatch
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options

SETUP = """load-module module-null-source source_name=built_in description="Micrô tích hợp" rate=48000 max_latency_msec=20
load-module module-null-sink sink_name=hall sink_properties="device.description='Loa phòng họp'" rate=48000
set-default-source built_in
set-default-sink hall"""
HEADSET = "pulse:headset"


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundServer]:
    with own_sound_server(tmp_path, SETUP, monkeypatch) as server:
        yield server


class Watched:
    """An engine, and what it told so far."""

    def __init__(self, speaker: str = "none") -> None:
        self.engine = LocalEngine(Options(speaker=speaker))
        self.told: list[api.EngineEvent] = []

    async def start(self) -> None:
        await self.engine.start()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.engine.events():
            self.told.append(event)

    async def close(self) -> None:
        await self.engine.close()
        await self._reading

    def of(self, kind: type) -> list[api.EngineEvent]:
        return [event for event in self.told if isinstance(event, kind)]

    async def until(self, true: Callable[[], object], timeout_s: float = 10) -> None:
        ends = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > ends:
                raise AssertionError([event for event in self.told if not isinstance(event, api.LocalLevel | api.Stats)])
            await asyncio.sleep(0.02)

    def newest(self) -> Devices:
        found = self.of(Devices)
        return found[-1] if found else Devices()  # type: ignore[return-value]

    def heard(self) -> int:
        """How often the microphone told its level."""
        return len(self.of(api.LocalLevel))

    async def hears(self, sound: SoundServer, source: str) -> None:
        """Until it records `source` and no other, and blocks come."""
        await self.until(lambda: sound.recording_from() == [source])
        before = self.heard()
        await self.until(lambda: self.heard() > before + 2 and sound.recording_from() == [source])


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    await made.start()
    yield made
    await made.close()


async def test_a_muted_headset_is_pulled_out_and_plugged_in_and_is_never_live(sound: SoundServer, watched: Watched) -> None:
    number = sound.microphone("headset", "Tai nghe của trưởng ban")
    watched.engine.send(api.ListDevices())
    await watched.until(lambda: [d.name for d in watched.newest().microphones] == ["Micrô tích hợp", "Tai nghe của trưởng ban"])
    assert watched.newest().default_microphone == "pulse:built_in"
    watched.engine.send(OpenSource("microphone", HEADSET, muted=True))
    await watched.hears(sound, "headset")
    publication = watched.engine.session.publications["microphone"]
    for _ in range(2):
        sound.unplug(number)
        await watched.hears(sound, "built_in")
        assert publication.muted
        number = sound.microphone("headset", "Tai nghe của trưởng ban")
        await watched.hears(sound, "headset")
        assert publication.muted
    assert {event.state for event in watched.of(SourceChanged)} == {"muted"}, "neither live nor off between"  # type: ignore[attr-defined]
    lost, back = DeviceSwitched("microphone", "lost", HEADSET, "pulse:built_in"), DeviceSwitched("microphone", "back", HEADSET)
    told = watched.of(DeviceSwitched)
    assert told in ([], [lost, back], [lost, back] * 2), "as often as it was away for longer than a moment"


async def test_the_systems_default_is_followed(sound: SoundServer, watched: Watched) -> None:
    sound.microphone("headset", "Tai nghe của trưởng ban")
    watched.engine.send(OpenSource("microphone"))
    await watched.hears(sound, "built_in")
    sound.pactl("set-default-source", "headset")
    await watched.until(lambda: watched.newest().default_microphone == HEADSET)
    await watched.hears(sound, "headset")
    assert not watched.of(DeviceSwitched)


async def test_without_a_microphone_the_computers_own_sound_is_not_sent_instead(sound: SoundServer, watched: Watched) -> None:
    """The server's default is then what its loudspeaker plays."""
    sound.pactl("unload-module", "module-null-source")
    watched.engine.send(OpenSource("microphone"))
    await watched.until(lambda: watched.of(SourceChanged) and watched.of(SourceChanged)[-1].error == "no_device")  # type: ignore[attr-defined]
    assert watched.of(SourceChanged)[-1].waits  # type: ignore[attr-defined]
    assert sound.recording_from() == []
    sound.microphone("built_in", "Micrô tích hợp")
    await watched.hears(sound, "built_in")
    assert watched.of(SourceChanged)[-1] == SourceChanged("microphone", "on", "default")


async def test_a_loudspeaker_is_pulled_out_and_plugged_in(sound: SoundServer) -> None:
    watched = Watched(speaker="default")
    await watched.start()
    try:
        number = sound.loudspeaker("usb", "Loa USB")
        watched.engine.send(api.ListDevices())
        await watched.until(lambda: [d.name for d in watched.newest().speakers] == ["Loa phòng họp", "Loa USB"])
        watched.engine.send(SelectSpeaker("pulse:usb"))
        watched.engine.session.playout.start()
        await watched.until(lambda: sound.playing_on() == ["usb"])
        sound.unplug(number)
        await watched.until(lambda: sound.playing_on() == ["hall"] and DeviceSwitched("speaker", "lost", "pulse:usb", "pulse:hall") in watched.told)
        sound.loudspeaker("usb", "Loa USB")
        await watched.until(lambda: sound.playing_on() == ["usb"])
        assert watched.of(SpeakerChanged)[-1] == SpeakerChanged("pulse:usb")
        assert not watched.of(api.Failed)
    finally:
        await watched.close()


async def test_a_sound_server_that_ends_and_starts_again(sound: SoundServer) -> None:
    watched = Watched(speaker="default")
    await watched.start()
    try:
        watched.engine.session.playout.start()
        watched.engine.send(OpenSource("microphone", "pulse:built_in", muted=True))
        await watched.hears(sound, "built_in")
        await watched.until(lambda: sound.playing_on() == ["hall"])
        sound.stop()
        await watched.until(lambda: watched.of(SourceChanged)[-1].waits and watched.of(SpeakerChanged), 15)  # type: ignore[attr-defined]
        await watched.until(lambda: watched.newest() == Devices())
        sound.start()
        await watched.hears(sound, "built_in")
        await watched.until(lambda: sound.playing_on() == ["hall"] and watched.of(SpeakerChanged)[-1] == SpeakerChanged("default"), 15)
        assert watched.engine.session.publications["microphone"].muted
        assert "on" not in [event.state for event in watched.of(SourceChanged)]  # type: ignore[attr-defined]
    finally:
        await watched.close()


# ---- the watch alone ----


class Listings:
    """A machine whose list is set by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.devices = Devices()
        self.marks = 0
        self.made = 0
        self.told: list[tuple[Devices, bool]] = []
        monkeypatch.setattr(devices, "listed", self._listed)
        monkeypatch.setattr(devices, "signature", lambda: (self.marks,))
        monkeypatch.setattr(pulse, "reachable", lambda: False)
        monkeypatch.setattr(device_watch, "LOOKS_S", 0.05)
        monkeypatch.setattr(device_watch, "RESTS_S", 0.02)
        self.watch = DeviceWatch(lambda found, asked: self.told.append((found, asked)))

    def _listed(self) -> Devices:
        self.made += 1
        return self.devices


def until(true: Callable[[], object], timeout_s: float = 5) -> bool:
    ends = time.monotonic() + timeout_s
    while not true() and time.monotonic() < ends:
        time.sleep(0.01)
    return bool(true())


def test_it_lists_only_when_something_may_have_changed_and_tells_only_what_did(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Listings(monkeypatch)
    assert machine.made == 0, "before it is asked it does nothing"
    machine.watch.look()
    assert until(lambda: machine.told == [(Devices(), True)])
    time.sleep(0.3)
    assert machine.made == 1
    machine.marks += 1
    assert until(lambda: machine.made == 2)
    assert len(machine.told) == 1, "the same as before"
    machine.devices = Devices((api.Device("v4l2:a", "A"),))
    machine.marks += 1
    assert until(lambda: machine.told[1:] == [(machine.devices, False)])
    machine.watch.look()
    assert until(lambda: machine.told[2:] == [(machine.devices, True)])
    machine.watch.stop()
    machine.watch.join(5)
    machine.watch.look()
    assert machine.watch._thread is not None
    assert not machine.watch._thread.is_alive()
    assert len(machine.told) == 3


def test_it_goes_on_after_a_sound_server_that_speaks_nonsense_and_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lines of any length and kind; then nothing."""
    machine = Listings(monkeypatch)
    program = tmp_path / "pactl"
    program.write_text("#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' x\nprintf \"\\n\\377\\376 Event\\nEvent 'new' on source #9\\n\"\n")
    program.chmod(0o755)
    monkeypatch.setattr(pulse, "reachable", lambda: True)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    machine.watch.start()
    assert until(lambda: machine.made >= 2), "told of the source, or of the end"
    machine.watch.stop()
    machine.watch.join(5)
    assert machine.watch._told is None

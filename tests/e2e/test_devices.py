"""Devices pulled out and plugged in while bots are in a meeting: real programs, a real SFU, a real sound server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.botproc import BotProcess
from e2e.livekitproc import token
from e2e.sfuproc import Relay
from e2e.sound_server import SoundServer, own_sound_server

SETUP = """load-module module-null-source source_name=built_in rate=48000 max_latency_msec=20
load-module module-null-sink sink_name=hall rate=48000
set-default-source built_in
set-default-sink hall"""


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundServer]:
    with own_sound_server(tmp_path, SETUP, monkeypatch) as server:
        yield server


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    made.start()
    yield made
    made.stop()


async def used(sound: SoundServer, sources: list[str], sinks: list[str], timeout_s: float = 15) -> None:
    """Until these are recorded from and played on."""
    ends = time.monotonic() + timeout_s
    while (now := (await asyncio.to_thread(sound.recording_from), await asyncio.to_thread(sound.playing_on))) != (sources, sinks):
        assert time.monotonic() < ends, now
        await asyncio.sleep(0.1)


async def test_a_headset_and_a_loudspeaker_that_come_and_go_in_a_meeting(relay: Relay, sound: SoundServer) -> None:
    """Who speaks goes on speaking through another microphone and then the headset again, who is muted is never heard, who listens
    hears on."""
    headset, usb = sound.microphone("headset", "Tai nghe"), sound.loudspeaker("usb", "Loa USB")

    def bot(name: str, *words: str) -> BotProcess:
        return BotProcess("--livekit-url", relay.url, "--token", token("room", name), "--camera", "none", *words)

    listener = bot("listener", "--microphone", "none", "--speaker", "pulse:usb")
    speaker, muted = bot("speaker", "--microphone", "pulse:headset"), bot("muted", "--microphone", "pulse:headset", "--muted")
    bots = (listener, speaker, muted)
    try:
        await used(sound, ["headset"] * 2, ["usb"], 40)  # three programs start
        sound.unplug(headset)
        sound.unplug(usb)
        await used(sound, ["built_in"] * 2, ["hall"])
        await asyncio.sleep(1.5)  # longer than it takes to be noticed
        sound.microphone("headset", "Tai nghe")
        sound.loudspeaker("usb", "Loa USB")
        await used(sound, ["headset"] * 2, ["usb"])
        await asyncio.sleep(1.0)
    finally:
        for one in bots:
            await one.stop()
    heard, spoken, silent = [await one.report() for one in bots]
    assert "microphone" not in silent["sent"] or silent["sent"]["microphone"]["packets"] == 0
    assert spoken["sent"]["microphone"]["packets"] > 80
    tracks = {track["participant"]: track for track in heard["tracks"]}
    assert tracks["speaker"]["packets"] > 80
    assert tracks["speaker"]["lost"] == 0
    assert "muted" not in tracks or tracks["muted"]["packets"] == 0
    assert [report["reconnects"] for report in (heard, spoken, silent)] == [0, 0, 0]

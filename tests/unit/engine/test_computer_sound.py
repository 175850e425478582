"""The computer's sound for a share: on a real sound server, what others play is heard, and what we play is not."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.sound_server import SoundServer, own_sound_server
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.hearing import until
from unit.engine.media import tone

from vidconf.engine.computer_sound import MAX_STREAMS, ComputerSound, foreign_streams, why_not
from vidconf.engine.playout import Playout
from vidconf.engine.sound import level


@pytest.fixture
def pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundServer]:
    """One loudspeaker, the default."""
    if shutil.which("parec") is None:
        pytest.skip("needs what records from PulseAudio: apt install pulseaudio-utils")
    with own_sound_server(tmp_path, "load-module module-null-sink sink_name=hall\nset-default-sink hall", monkeypatch) as server:
        yield server


def test_other_programs_are_heard_and_we_are_not(pulse: SoundServer, tmp_path: Path) -> None:
    assert why_not() == ""
    with wave.open(str(tmp_path / "film.wav"), "wb") as film:
        film.setparams((1, 2, 48_000, 0, "NONE", ""))
        film.writeframes(tone(2.5))
    blocks: list[tuple[float, bytes]] = []
    errors: list[str] = []
    sound = ComputerSound(lambda pcm, at: blocks.append((at, pcm)), lambda code, detail: errors.append(code))
    sound.start()
    voices = Playout("pulse:hall", lambda code, detail: errors.append(code))
    voices.start()
    try:
        voices.play_once(tone(1.5, hz=900))
        assert until(lambda: "ALSA" in subprocess.run(["pactl", "list", "sink-inputs"], capture_output=True, text=True, check=True).stdout)
        assert until(lambda: len(blocks) > 75)
        assert max(level(pcm) for _, pcm in blocks) == 0, "our own voices, which the loudspeaker plays"
        player = subprocess.Popen(["paplay", str(tmp_path / "film.wav")])
        try:
            assert until(lambda: sum(level(pcm) > 0.2 for _, pcm in blocks) > 90), errors
        finally:
            player.wait(10)
        assert until(lambda: not sound._streams), "the player has ended"
        count = len(blocks)
        assert until(lambda: len(blocks) > count + 10), "silence goes on"
        steps = [b - a for (a, _), (b, _) in itertools.pairwise(blocks[5:])]
        assert 0.019 < sum(steps) / len(steps) < 0.022
        assert all(len(pcm) == 1920 for _, pcm in blocks)
    finally:
        voices.close()
        sound.stop()
        sound.join(5)
    assert not errors
    assert not sound.is_alive()
    assert not [one for one in threading.enumerate() if one.name == "computer sound"]


def test_a_server_that_ends_ends_the_sound(pulse: SoundServer) -> None:
    errors: list[str] = []
    blocks: list[bytes] = []
    sound = ComputerSound(lambda pcm, at: blocks.append(pcm), lambda code, detail: errors.append(code))
    sound.start()
    assert until(lambda: len(blocks) > 3)
    pulse.process.terminate()
    assert until(lambda: errors == ["device_lost"]), errors
    sound.join(5)
    assert not sound.is_alive()


def test_without_a_server_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert why_not() == "no_sound_server"
    errors: list[str] = []
    sound = ComputerSound(lambda pcm, at: None, lambda code, detail: errors.append(code))
    sound.start()
    sound.join(5)
    assert errors == ["no_sound_server"]
    monkeypatch.setattr(sys, "platform", "win32")
    assert why_not() == "unsupported"


LISTING = """Sink Input #7
\tDriver: protocol-native.c
\tProperties:
\t\tapplication.name = "Sink Input #99"
\t\tapplication.process.id = "500"

Sink Input #8
\tProperties:
\t\tapplication.process.id = "42"

Sink Input #9
\tDriver: module-loopback.c
\tProperties:
\t\tmedia.name = "Loopback"
"""


def test_only_what_is_another_programs_for_certain_is_taken() -> None:
    assert foreign_streams(LISTING, 42) == [7]
    assert foreign_streams(LISTING, 500) == [8]
    assert foreign_streams("", 42) == []
    many = "".join(f'Sink Input #{n}\n\t\tapplication.process.id = "1"\n' for n in range(100))
    assert foreign_streams(many, 42) == list(range(MAX_STREAMS))


@given(st.text(alphabet='Sink Input #0123456789\n\t"=application.process.id '))
def test_whatever_it_says_nothing_of_ours_is_taken(listing: str) -> None:
    assert all(0 <= number < 10**9 for number in foreign_streams(listing, 42))

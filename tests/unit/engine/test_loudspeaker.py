"""Loudspeakers that hang, break, come back and are not there; on Linux real ones of a sound server, and the process's end under them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.sound_server import SoundServer, own_sound_server
from unit.engine.hearing import Heard, encoded, feed, read, running, until
from unit.engine.media import tone

from vidconf.engine import alsa, devices, loudspeaker
from vidconf.engine.alsa import in_turn
from vidconf.engine.capture import MicrophoneCapture
from vidconf.engine.loudspeaker import Loudspeaker
from vidconf.engine.sound import level

linux = pytest.mark.skipif(sys.platform != "linux", reason="ALSA")


class Card:
    """Stands in for a sound card that must hang or break on demand."""

    def __init__(self) -> None:
        self.written = 0
        self.hang, self.hangs, self.broken = threading.Event(), threading.Event(), False
        self.closed = threading.Event()

    def wait(self) -> None:
        pass

    def write(self, pcm: bytes) -> None:
        while self.hang.is_set():
            self.hangs.set()
            time.sleep(0.01)
        if self.broken:
            raise OSError("unplugged")
        time.sleep(len(pcm) / 96_000)
        self.written += 1

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card()
    monkeypatch.setattr(loudspeaker, "open_output", lambda device, latency_s: card)
    monkeypatch.setattr(loudspeaker, "DEAD_AFTER_S", 0.8)
    return card


def test_a_card_that_hangs_does_not_hold_up_a_recording_and_is_given_up(card: Card, tmp_path: Path) -> None:
    heard = Heard("default")
    assert until(lambda: card.written > 5)
    card.hang.set()
    started = time.monotonic()
    heard.playout.record(str(tmp_path / "a.wav"))
    assert until(lambda: len(read(tmp_path / "a.wav")) / 96_000 > 0.5)
    assert time.monotonic() - started == pytest.approx(len(read(tmp_path / "a.wav")) / 96_000, abs=0.2), "in real time"
    heard.playout.record(None)
    assert until(lambda: heard.errors == ["speaker_lost"])
    card.hang.clear()
    heard.end()
    assert card.closed.is_set()


def test_a_playout_is_closed_while_its_card_hangs(card: Card) -> None:
    heard = Heard("default")
    assert until(lambda: card.written > 5)
    card.hang.set()
    assert until(card.hangs.is_set)
    heard.end("playout")
    assert running("loudspeaker", since=heard.before)
    card.hang.clear()
    heard.end()
    assert card.closed.is_set()


def test_a_card_that_is_unplugged_is_told_and_may_come_back(card: Card) -> None:
    heard = Heard("default")
    assert until(lambda: card.written > 5)
    card.broken = True
    assert until(lambda: heard.errors == ["speaker_lost"])
    card.broken = False
    before = card.written
    heard.playout.select("default")
    assert until(lambda: card.written > before + 5)
    heard.end()


def test_a_card_that_pauses_for_a_moment_is_kept(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loudspeaker, "DEAD_AFTER_S", 10.0)
    heard = Heard("default")
    assert until(lambda: card.written > 5)
    card.hang.set()
    time.sleep(0.3)
    card.hang.clear()
    before = card.written
    assert until(lambda: card.written > before + 10)
    heard.end()
    assert heard.errors == []


def test_a_card_that_runs_dry_is_given_more_ahead(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice it plays nothing for 30 ms, and all later ones later: no thread was late, and no sound server says so."""
    opened: list[float] = []
    due = time.monotonic()

    def write(pcm: bytes) -> None:
        nonlocal due
        card.written += 1
        due += len(pcm) / 96_000 + (0.03 if card.written in (120, 240) else 0.0)
        time.sleep(max(0.0, due - time.monotonic()))

    def open_card(device: str, latency_s: float) -> Card:
        nonlocal due
        opened.append(latency_s)
        due = time.monotonic()
        return card

    monkeypatch.setattr(card, "write", write)
    monkeypatch.setattr(loudspeaker, "open_output", open_card)
    heard = Heard("default")
    assert until(lambda: len(opened) > 1)
    assert opened[:2] == list(loudspeaker.LATENCIES_S[:2])
    assert card.written > 240, "once is let be"
    assert card.closed.is_set(), "the first opening was given back before the second"
    before = card.written
    assert until(lambda: card.written > before + 5), "it plays on"
    heard.end()
    assert heard.errors == []


def test_a_loudspeaker_that_is_closed_before_it_opened_ends(card: Card) -> None:
    speaker = Loudspeaker("default")
    speaker.close()
    speaker.join(10)
    assert not speaker._thread.is_alive()


def test_a_card_that_hangs_while_it_opens_is_given_up_and_given_back_when_it_wakes(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    wakes = threading.Event()

    def slow(device: str, latency_s: float) -> Card:
        wakes.wait(30)
        return card

    monkeypatch.setattr(loudspeaker, "open_output", slow)
    heard = Heard("default")
    assert until(lambda: heard.errors == ["no_speaker"])
    wakes.set()
    assert until(card.closed.is_set)
    heard.end()
    assert card.written == 0


@pytest.mark.parametrize("hangs", [False, True])
def test_the_end_of_the_process_gives_the_cards_back(card: Card, monkeypatch: pytest.MonkeyPatch, hangs: bool) -> None:
    monkeypatch.setattr(loudspeaker, "LAST_WORDS_S", 0.3 if hangs else 10.0)
    speaker = Loudspeaker("default")
    speaker.write(bytes(1920))
    assert until(lambda: card.written > 0)
    if hangs:
        card.hang.set()
        speaker.write(bytes(1920))
        assert card.hangs.wait(10)
    loudspeaker._give_back()
    assert card.closed.is_set() is not hangs
    card.hang.clear()
    speaker.join(10)
    assert card.closed.is_set()


def test_who_hangs_while_it_opens_holds_the_next_one_up_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alsa, "TURN_S", 0.2)
    holds, wakes, order = threading.Event(), threading.Event(), []

    def hang() -> None:
        with in_turn():
            holds.set()
            wakes.wait(30)
            order.append("hung")

    thread = threading.Thread(target=hang)
    thread.start()
    assert holds.wait(10)
    for _ in range(2):
        with in_turn():
            order.append("next")
    wakes.set()
    thread.join(10)
    assert order == ["next", "next", "hung"]
    monkeypatch.setattr(alsa, "TURN_S", 10.0)
    with in_turn():
        assert alsa._turn.locked(), "it is given back by who had it, and by nobody else"
    assert not alsa._turn.locked()


@linux
def test_a_device_that_takes_everything_at_once_does_not_hurry_the_playout(tmp_path: Path) -> None:
    heard = Heard("alsa:null")
    started = time.monotonic()
    heard.playout.record(str(tmp_path / "a.wav"))
    assert until(lambda: len(read(tmp_path / "a.wav")) / 96_000 > 2.0)
    assert time.monotonic() - started > 2.0 / loudspeaker.FASTEST - loudspeaker.MAX_AHEAD_S - 0.1
    heard.end()
    assert heard.errors == []


@linux
@pytest.mark.parametrize("device", ["alsa:no such card", "pulse:nobody", "7", "", "\0", "\ud800", "alsa:hw:99,99", "x" * 5000])
def test_a_device_that_is_not_there_is_told_whatever_its_name(device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/none")
    heard = Heard(device)
    assert until(lambda: heard.errors == ["no_speaker"])
    heard.end()


@linux
def test_without_any_sound_system_nothing_is_listed_and_nothing_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/none")
    assert isinstance(devices.listed(), devices.Devices)
    errors: list[str] = []
    microphone = MicrophoneCapture("pulse:nobody", lambda pcm, at: None, lambda code, detail: errors.append(code))
    microphone.start()
    microphone.join(10)
    assert errors == ["not_found"]


PULSE = """load-module module-null-sink sink_name=first
load-module module-null-sink sink_name=second rate=48000
load-module module-remap-source source_name=mic.usb master=second.monitor source_properties=device.description=Microphone
set-default-sink first
set-default-source mic.usb"""


@pytest.fixture
def pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundServer]:
    """Two sinks, and a microphone that hears what the second one plays."""
    with own_sound_server(tmp_path, PULSE, monkeypatch) as server:
        yield server


def test_real_devices_are_listed_played_and_heard_and_their_end_is_told(pulse: SoundServer) -> None:
    listed = devices.listed()
    assert [d.id for d in listed.microphones] == ["pulse:mic.usb"]
    assert [d.id for d in listed.speakers] == ["pulse:first", "pulse:second"]
    blocks: list[bytes] = []
    errors: list[str] = []
    microphone = MicrophoneCapture("pulse:mic.usb", lambda pcm, at: blocks.append(pcm), lambda code, detail: errors.append(code))
    microphone.start()
    heard = Heard("pulse:second")
    stream = heard.playout.add("a", lambda: None)
    feed([stream], encoded(tone(4.0, amplitude=0.5)))
    assert not heard.errors
    assert not errors
    assert max(level(pcm) for pcm in blocks[-60:]) > 0.25, "what the loudspeaker played came in at the microphone"
    pulse.process.terminate()
    assert until(lambda: heard.errors == ["speaker_lost"] and errors == ["device_lost"], 20), (heard.errors, errors)
    heard.end("playout")      # a thread inside ALSA may hang there for ever; it is a daemon


def test_opening_devices_leaves_the_environment_alone(pulse: SoundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """C code of another thread that opens a device reads it at the same time: changing it crashes the process."""
    devices.listed()
    changes: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "putenv", lambda *change: changes.append(change))
    monkeypatch.setattr(os, "unsetenv", lambda *change: changes.append(change))
    blocks: list[bytes] = []
    microphone = MicrophoneCapture("pulse:mic.usb", lambda pcm, at: blocks.append(pcm), lambda code, detail: None)
    microphone.start()
    speakers = [Loudspeaker(device) for device in ("pulse:second", "pulse:first", "default")]
    assert until(lambda: all(speaker.opened for speaker in speakers))
    assert until(lambda: len(blocks) > 2)
    for speaker in speakers:
        speaker.close()
    microphone.stop()
    for thread in (*(speaker._thread for speaker in speakers), microphone):
        thread.join(10)
        assert not thread.is_alive()
    assert changes == []


def test_a_sound_server_that_hangs_is_given_up_and_others_still_open(
    pulse: SoundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loudspeaker, "DEAD_AFTER_S", 0.8)
    monkeypatch.setattr(alsa, "TURN_S", 0.3)
    playing = Loudspeaker("pulse:first")
    assert until(lambda: playing.opened)
    pulse.process.send_signal(signal.SIGSTOP)
    opening = Loudspeaker("pulse:second")
    for speaker in (playing, opening):
        with pytest.raises(OSError, match="no sound"):
            play_for(speaker, 30)
    other = Loudspeaker("alsa:null")
    assert until(lambda: other.opened), "who hangs while it opens does not stop the others"
    other.close()
    other.join(10)
    pulse.process.send_signal(signal.SIGCONT)
    for speaker in (playing, opening):
        speaker.join(60)
        assert not speaker._thread.is_alive(), "who wakes gives back what it has"


def play_for(speaker: Loudspeaker, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        speaker.write(bytes(1920))


ENDS = """
import threading, time
from vidconf.engine.capture import MicrophoneCapture
from vidconf.engine.loudspeaker import Loudspeaker
blocks = []
microphone = MicrophoneCapture("pulse:mic.usb", lambda pcm, at: blocks.append(pcm), lambda code, detail: print(code))
microphone.start()
speaker = Loudspeaker("pulse:second")
def play():
    while True:
        speaker.write(bytes(1920))
threading.Thread(target=play, daemon=True).start()
end = time.monotonic() + 20
while not (speaker.opened and len(blocks) > 5) and time.monotonic() < end:
    time.sleep(0.01)
print("heard" if speaker.opened and blocks else "nothing")
"""


def test_a_process_ends_in_peace_while_it_plays_and_listens(pulse: SoundServer) -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, timeout=60, text=True)
        assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr

"""PortAudio's one guard: what hangs in it stops nobody for long, and nothing is started anew or ended under a stream."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from unit.engine.hearing import until

from vidconf.engine import portaudio_output
from vidconf.engine.api import Device
from vidconf.engine.portaudio_output import PortAudioOutput, outputs

ONE_LISTED = ((Device("portaudio:speakers", "speakers", "1"),), "portaudio:speakers")


class PortAudio:
    """Stands in for the library: what it was told, in order, and devices that come, hang and do not start."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        self.told: list[str] = []
        self.known, self.plugged = ["speakers"], ["speakers"]
        self.hangs: dict[str, threading.Event] = {}
        self.refuses = ""
        self.room = 0

    def _pass(self, what: str) -> None:
        self.told.append(what)
        if what in self.hangs:
            self.hangs[what].wait(30)
        if what == self.refuses:
            raise self.PortAudioError(f"{what}: refused")

    def RawOutputStream(self, device: str | int | None, **_: Any) -> Stream:
        self._pass(f"open {device}")
        if isinstance(device, str) and device not in self.known:
            raise ValueError(f"no {device}")
        return Stream(self)

    def query_devices(self) -> list[dict[str, Any]]:
        self._pass("list")
        return [{"name": "microphone", "max_output_channels": 0}, *({"name": name, "max_output_channels": 2} for name in self.known)]

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "Core Audio"}]

    class default:
        device = (0, 1)

    def _terminate(self) -> None:
        self.told.append("terminate")

    def _initialize(self) -> None:
        self.told.append("initialize")
        self.known = list(self.plugged)

    def _exit_handler(self) -> None:
        self.told.append("end")


class Stream:
    def __init__(self, library: PortAudio) -> None:
        self._library = library

    def start(self) -> None:
        self._library._pass("start")

    @property
    def write_available(self) -> int:
        self._library._pass("write")
        self._library.room += 240
        return self._library.room

    def write(self, pcm: bytes) -> None:
        self._library._pass("write")

    def close(self, ignore_errors: bool) -> None:
        self._library._pass("close")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortAudio]:
    library = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    monkeypatch.setattr(portaudio_output, "TURN_S", 0.1)
    assert portaudio_output._alive == 0
    yield library
    for event in library.hangs.values():
        event.set()
    assert until(lambda: not portaudio_output._guard.locked())
    portaudio_output._alive = 0


@pytest.fixture
def aside() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Calls on a thread of its own that hang."""
    threads: list[threading.Thread] = []

    def call(what: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=what)
        thread.start()
        threads.append(thread)
        return thread

    yield call
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_loudspeaker_is_opened_written_and_closed(library: PortAudio) -> None:
    for device in ("default", "1", "speakers"):
        output = PortAudioOutput(device, 0.06)
        output.write(bytes(1920))
        output.close()
    assert library.told == [step for device in ("None", "1", "speakers") for step in (f"open {device}", "start", "write", "close")]
    assert outputs() == ONE_LISTED
    library.told.clear()
    PortAudioOutput("portaudio:speakers", 0.06).close()
    assert library.told == ["list", "open 1", "start", "close"], "an id is the number that its name has now"
    with pytest.raises(OSError, match="no such loudspeaker"):
        PortAudioOutput("portaudio:gone", 0.06)


def test_what_was_plugged_in_is_listed_unless_a_stream_is_open(library: PortAudio) -> None:
    library.plugged = ["speakers", "headset"]
    output = PortAudioOutput("speakers", 0.06)
    assert outputs() == ONE_LISTED
    output.close()
    assert [device.name for device in outputs()[0]] == ["speakers", "headset"]


def test_portaudio_is_started_anew_for_a_device_it_does_not_know(library: PortAudio) -> None:
    library.plugged = ["speakers", "headset"]
    PortAudioOutput("headset", 0.06).close()
    assert library.told == ["open headset", "terminate", "initialize", "open headset", "start", "close"]


def test_but_never_while_a_stream_is_open(library: PortAudio) -> None:
    library.plugged = ["speakers", "headset"]
    output = PortAudioOutput("speakers", 0.06)
    with pytest.raises(OSError, match="no headset"):
        PortAudioOutput("headset", 0.06)
    output.close()
    assert "terminate" not in library.told
    PortAudioOutput("headset", 0.06).close()
    assert library.told.count("terminate") == 1


def test_a_stream_that_does_not_start_is_closed(library: PortAudio) -> None:
    library.refuses = "start"
    with pytest.raises(OSError, match="refused"):
        PortAudioOutput("speakers", 0.06)
    assert library.told.count("close") == library.told.count("start") == 2, "before and after it was started anew"
    assert portaudio_output._alive == 0


def test_a_card_that_is_gone_is_told_as_such(library: PortAudio) -> None:
    output = PortAudioOutput("speakers", 0.06)
    library.refuses = "write"
    with pytest.raises(OSError, match="refused"):
        output.write(bytes(1920))
    output.close()


@pytest.mark.parametrize("where", ["open speakers", "start", "list", "close"])
def test_who_hangs_in_it_stops_nobody_for_long_and_nothing_is_started_anew(
    library: PortAudio, aside: Callable[[Callable[[], object]], threading.Thread], where: str
) -> None:
    library.hangs[where] = threading.Event()
    hung: list[PortAudioOutput] = []
    if where == "close":
        hung.append(PortAudioOutput("speakers", 0.06))
        thread = aside(hung[0].close)
    else:
        thread = aside(outputs if where == "list" else lambda: hung.append(PortAudioOutput("speakers", 0.06)))
    assert until(lambda: where in library.told)
    before = list(library.told)
    for attempt in (lambda: PortAudioOutput("headset", 0.06), outputs):
        with pytest.raises(OSError, match="does not answer"):
            attempt()
    portaudio_output.end()
    assert library.told == before
    library.hangs[where].set()
    thread.join(10)
    if where in ("open speakers", "start"):
        hung[0].close()
    assert outputs() == ONE_LISTED
    assert portaudio_output._alive == 0


def test_a_stream_that_cannot_be_closed_counts_as_open(
    library: PortAudio, aside: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    library.plugged = ["speakers", "headset"]
    output = PortAudioOutput("speakers", 0.06)
    library.hangs["list"] = threading.Event()
    thread = aside(outputs)
    assert until(lambda: "list" in library.told)
    output.close()
    library.hangs["list"].set()
    thread.join(10)
    with pytest.raises(OSError, match="no headset"):
        PortAudioOutput("headset", 0.06)
    portaudio_output.end()
    assert not {"close", "terminate", "end"} & set(library.told)


def test_at_the_processs_end_it_is_ended_by_us_alone_and_under_no_stream(library: PortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: list[object] = []
    monkeypatch.setattr(atexit, "unregister", handlers.append)
    output = PortAudioOutput("speakers", 0.06)
    assert handlers == [library._exit_handler]
    portaudio_output.end()
    assert "end" not in library.told
    output.close()
    portaudio_output.end()
    assert library.told[-1] == "end"


def test_without_portaudio_there_is_an_error_and_nothing_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(OSError):
        PortAudioOutput("default", 0.06)
    with pytest.raises(OSError):
        outputs()
    portaudio_output.end()


def test_it_waits_for_room_and_a_card_that_is_gone_says_so(library: PortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    output = PortAudioOutput("speakers", 0.05)
    output.wait()
    assert library.room == 480, "as soon as a block has room"
    monkeypatch.setattr(portaudio_output, "STUCK_AFTER_S", 0.01)
    library.room = -1_000_000
    with pytest.raises(OSError, match="no sound"):
        output.wait()
    output.close()

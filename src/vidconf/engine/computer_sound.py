"""The sound that this computer plays, without what we play ourselves: it goes with a shared screen. Linux with PulseAudio, or PipeWire
in its place; elsewhere there is none. One thread, and one small process for each program that plays.

The monitor of a loudspeaker would bring the others' voices back to them, for they come out of it too. So each program's own stream is
recorded (`parec --monitor-stream`), but for those of this process and those that do not say whose they are (a loopback of the sound
server, which may carry us), and mixed here. Nothing of the desktop's sound is moved or changed for it.
"""

from __future__ import annotations

import logging
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from vidconf.engine import pulse
from vidconf.engine.capture import BLOCK_BYTES, BLOCK_S, RATE_HZ, MicrophoneCapture, OnError
from vidconf.engine.sound import Mixer
from vidconf.engine.sources import SourceError

log = logging.getLogger("vidconf.capture")

COMPUTER = "computer"
"""The device string of it."""
MAX_STREAMS = 16
LIST_TIMEOUT_S = 2.0
LEAST_LIST_S = 0.3
"""Between two looks at what plays, however often it changes."""
FIRST_BLOCKS = 2
"""A stream is heard from so much of it on; one that ran dry begins anew."""
MAX_BLOCKS = 10
"""More than that, and it comes faster than it is played: the oldest goes."""
MAX_LATE_S = 0.5


def why_not() -> str:
    """Why the computer's sound cannot be had: a code of `api.Screens.sound`, "" when it can. Costs no process."""
    if sys.platform != "linux":
        return "unsupported"
    return "" if pulse.runs() and shutil.which("pactl") and shutil.which("parec") else "no_sound_server"


def foreign_streams(listing: str, own_pid: int) -> list[int]:
    """Of what `pactl list sink-inputs` says in English: the numbers of the streams that are another program's for certain."""
    found = []
    for part in re.split(r"^Sink Input #", listing, flags=re.MULTILINE)[1:]:
        number = re.match(r"\d{1,9}", part)
        pid = re.search(r'^\s+application\.process\.id = "(\d{1,10})"', part, flags=re.MULTILINE)
        if number is not None and pid is not None and int(pid[1]) != own_pid:
            found.append(int(number[0]))
    return found[:MAX_STREAMS]


class _Stream:
    """What one program plays, on its way to the mixer."""

    def __init__(self, number: int) -> None:
        command = ["parec", "--raw", "--format=s16le", f"--rate={RATE_HZ}", "--channels=1", "--latency-msec=20", f"--monitor-stream={number}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        self.pipe = self.process.stdout
        os.set_blocking(self.pipe.fileno(), False)
        self._waiting = bytearray()
        self._flowing = False

    def take(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > MAX_BLOCKS * BLOCK_BYTES:
            del self._waiting[: (len(self._waiting) - FIRST_BLOCKS * BLOCK_BYTES) // 2 * 2]

    def block(self) -> bytes:
        """The next 20 ms; less, or nothing, where it has none."""
        if len(self._waiting) >= FIRST_BLOCKS * BLOCK_BYTES:
            self._flowing = True
        if not self._flowing:
            return b""
        block = bytes(self._waiting[:BLOCK_BYTES])
        del self._waiting[:BLOCK_BYTES]
        self._flowing = len(block) == BLOCK_BYTES
        return block

    def end(self) -> None:
        _end(self.process)


class ComputerSound(MicrophoneCapture):
    """As `MicrophoneCapture`: 20 ms blocks all the time, silent ones while nothing plays. Errors: those of `why_not`, `device_lost`."""

    def __init__(self, on_block: Callable[[bytes, float], None], on_error: OnError) -> None:
        super().__init__(COMPUTER, on_block, on_error)
        self.name = "computer sound"
        self._streams: dict[int, _Stream] = {}
        self._selector = selectors.DefaultSelector()
        self._mixer = Mixer()

    def _capture(self) -> None:
        self._dead_at = float("inf")
        if code := why_not():
            raise SourceError(code, "the computer's sound cannot be recorded here")
        news = pulse.subscribe()
        if news is None or news.stdout is None:
            raise SourceError("no_sound_server", "its changes are not told")
        try:
            self._selector.register(news.stdout, selectors.EVENT_READ)
            self._mix()
        finally:
            _end(news)
            for stream in self._streams.values():
                stream.end()
            self._selector.close()

    def _mix(self) -> None:
        changed, listed_at, due = True, 0.0, time.monotonic() + BLOCK_S
        while not self._stopping.is_set():
            now = time.monotonic()
            if changed and now - listed_at >= LEAST_LIST_S:
                changed, listed_at = False, now
                self._follow(_playing())
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                data = os.read(key.fd, 65_536)
                if key.data is None:
                    if not data:
                        raise SourceError("device_lost", "the sound server is gone")
                    changed = changed or any(b"sink-input" in line and b"'change'" not in line for line in data.splitlines())
                elif data:
                    self._streams[key.data].take(data)
                else:
                    self._drop(key.data)
            now = time.monotonic()
            if now - due > MAX_LATE_S:
                due = now       # the machine slept
            while due <= now and not self._stopping.is_set():
                parts = [(block, 1.0, 1.0) for stream in self._streams.values() if (block := stream.block())]
                self._on_block(self._mixer.mix(parts, BLOCK_BYTES), due - BLOCK_S)
                due += BLOCK_S

    def _follow(self, playing: list[int]) -> None:
        for number in [n for n in self._streams if n not in playing]:
            self._drop(number)
        for number in playing:
            if number not in self._streams:
                try:
                    stream = self._streams[number] = _Stream(number)
                except OSError as error:
                    log.warning("a program's sound cannot be recorded: %s", error)
                    continue
                self._selector.register(stream.pipe, selectors.EVENT_READ, number)

    def _drop(self, number: int) -> None:
        stream = self._streams.pop(number)
        self._selector.unregister(stream.pipe)
        stream.end()


def _playing() -> list[int]:
    """The streams to record now; none where the server does not answer, which its end will tell."""
    try:
        done = subprocess.run(
            ["pactl", "list", "sink-inputs"], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIST_TIMEOUT_S, check=True,
            env={**os.environ, "LC_ALL": "C", "LANGUAGE": ""},
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.info("what plays cannot be listed: %s", type(error).__name__)
        return []
    return foreign_streams(done.stdout.decode("utf-8", "replace"), os.getpid())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Our own child; it has nothing to save."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()

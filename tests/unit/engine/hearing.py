"""Playing and hearing, for the tests of the playout and of the loudspeakers below it."""

from __future__ import annotations

import threading
import time
import wave
from collections.abc import Callable, Container
from pathlib import Path

from vidconf.engine.audio_stream import AudioStream
from vidconf.engine.codecs.opus import BLOCK, BLOCK_BYTES, OpusEncoder
from vidconf.engine.playout import Playout


def until(true: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.005)
    return False


def encoded(pcm: bytes) -> list[bytes]:
    encoder = OpusEncoder()
    return [encoder.encode(pcm[at : at + BLOCK_BYTES].ljust(BLOCK_BYTES, b"\0")) for at in range(0, len(pcm), BLOCK_BYTES)]


def running(*names: str, since: Container[threading.Thread] = ()) -> list[str]:
    """Threads called so that have not ended, but those of `since`: one that another test left inside ALSA may be there for ever."""
    return [thread.name for thread in threading.enumerate() if thread.name in names and thread not in since]


class Heard:
    """A playout, what it tells, its end."""

    def __init__(self, device: str) -> None:
        self.errors: list[str] = []
        self.before = set(threading.enumerate())
        self.playout = Playout(device, lambda code, detail: self.errors.append(code))
        self.playout.start()

    def end(self, *threads: str) -> None:
        threads = threads or ("playout", "loudspeaker")
        started = time.monotonic()
        self.playout.close()
        assert time.monotonic() - started < 0.5, "closing waits for nothing"
        self.playout.join(5)
        assert until(lambda: not running(*threads, since=self.before))


def feed(streams: list[AudioStream], packets: list[bytes], every_s: float = 0.02) -> None:
    """In real time."""
    start = time.monotonic()
    for k, payload in enumerate(packets):
        for stream in streams:
            stream.push(k, k * BLOCK, payload, time.monotonic())
        time.sleep(max(0.0, start + (k + 1) * every_s - time.monotonic()))


def read(path: Path) -> bytes:
    with wave.open(str(path)) as wav:
        assert wav.getparams()[:3] == (1, 2, 48_000)
        return wav.readframes(wav.getnframes())

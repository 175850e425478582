"""One loudspeaker through PortAudio, and PortAudio's list of them: Windows and macOS. Any thread; each call may block for a while.

PortAudio is one for the process and bears no two calls at once that open, close or list. All go through one guard. A device that
hangs in there keeps it: others wait for a moment and are then refused, and PortAudio is neither started anew nor ended under it.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from vidconf.engine.api import Device, find_device
from vidconf.engine.codecs.opus import RATE_HZ
from vidconf.engine.device_listings import portaudio_outputs

log = logging.getLogger("vidconf.playout")

POLL_S = 0.003
BLOCK = RATE_HZ // 100
"""Samples there must be room for before more is wanted."""
STUCK_AFTER_S = 6.0
TURN_S = 3.0
"""What one waits for another that opens, closes or lists."""

_guard = threading.Lock()
_alive = 0
"""Streams that are open, or could not be closed."""


class PortAudioOutput:
    """48 kHz mono, 16 bit, `latency_s` of it ahead of what is heard. `device`: an id of `outputs`, a number, a name, or `default`.
    Raises OSError."""

    def __init__(self, device: str, latency_s: float) -> None:
        global _alive
        with _guarded() as sounddevice:
            try:
                self._stream = self._open(sounddevice, device, latency_s)
            except Exception:       # PortAudio's own, an unknown name
                if _alive:
                    raise
                # PortAudio knows the devices there were when it was started.
                sounddevice._terminate()
                sounddevice._initialize()
                self._stream = self._open(sounddevice, device, latency_s)
            _alive += 1

    @staticmethod
    def _open(sounddevice: Any, device: str, latency_s: float) -> Any:
        chosen = None if device == "default" else _number(sounddevice, device)
        stream = sounddevice.RawOutputStream(
            samplerate=RATE_HZ, blocksize=BLOCK, channels=1, dtype="int16", device=chosen, latency=latency_s
        )
        try:
            stream.start()
        except Exception:
            stream.close(ignore_errors=True)
            raise
        return stream

    def wait(self) -> None:
        """Returns when a block can be written at once. Raises OSError when the card is gone, or takes nothing any more."""
        try:
            ends = time.monotonic() + STUCK_AFTER_S
            while self._stream.write_available < BLOCK:
                if time.monotonic() > ends:
                    raise OSError(errno.ETIMEDOUT, "it takes no sound")
                time.sleep(POLL_S)
        except OSError:
            raise
        except Exception as error:      # PortAudio's own
            raise OSError(f"PortAudio: {error}") from error

    def write(self, pcm: bytes) -> None:
        """Returns when all of it is taken. Raises OSError when the card is gone."""
        try:
            self._stream.write(pcm)
        except Exception as error:      # PortAudio's own, whose type is there only where PortAudio is
            raise OSError(f"PortAudio: {error}") from error

    def close(self) -> None:
        """What was not heard yet is dropped. A stream for which the guard is not to be had stays open."""
        global _alive
        try:
            with _guarded():
                self._stream.close(ignore_errors=True)
                _alive -= 1
        except OSError as error:
            log.warning("a loudspeaker stays open: %s", error)


def outputs() -> tuple[tuple[Device, ...], str]:
    """The loudspeakers, and the default one's id ("" where there is none). PortAudio knows those there were when it was started: it is
    started anew, but not under an open stream. Raises OSError."""
    with _guarded() as sounddevice:
        if not _alive:
            sounddevice._terminate()
            sounddevice._initialize()
        entries, interfaces = list(sounddevice.query_devices()), list(sounddevice.query_hostapis())
        devices = portaudio_outputs(entries, interfaces)
        standard = sounddevice.default.device[1]
        name = str(entries[standard]["name"]) if 0 <= standard < len(entries) else ""
        # an older way to the same loudspeaker has the first letters of its name
        return devices, next((device.id for device in devices if name and device.id.removeprefix("portaudio:").startswith(name)), "")


def _number(sounddevice: Any, device: str) -> int | str:
    """PortAudio's own number of an id; names and old numbers as they are."""
    if device.startswith("portaudio:"):
        found = find_device(portaudio_outputs(list(sounddevice.query_devices()), list(sounddevice.query_hostapis())), device)
        if found is None:
            raise OSError(errno.ENOENT, "no such loudspeaker")
        return int(found.node)
    return int(device) if device.isdecimal() else device


@contextlib.contextmanager
def _guarded() -> Iterator[Any]:
    """The library, for one at a time; what it raises becomes OSError."""
    if not _guard.acquire(timeout=TURN_S):
        raise OSError("PortAudio is busy with a device that does not answer")
    try:
        yield _library()
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"PortAudio: {error}") from error
    finally:
        _guard.release()


def _library() -> Any:
    """Raises OSError where PortAudio is not."""
    import sounddevice

    # It would end PortAudio with the process, under streams that another thread still writes or closes.
    atexit.unregister(sounddevice._exit_handler)
    return sounddevice


def end() -> None:
    """At the process's end: let PortAudio give back what it holds, unless a stream may still be in use."""
    sounddevice = sys.modules.get("sounddevice")
    if sounddevice is not None and _guard.acquire(timeout=TURN_S):
        try:
            if not _alive:
                sounddevice._exit_handler()
        finally:
            _guard.release()

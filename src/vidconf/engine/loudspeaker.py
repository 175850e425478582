"""Where the mix goes, block by block: a sound card through PortAudio, or nobody. Whoever writes is paced by it.

`write` on the playout's thread; a sound card has a thread of its own, so that one which hangs stops neither the mixing nor a
recording of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import Any

from vidconf.engine.alsa import prepare_alsa
from vidconf.engine.codecs.opus import BLOCK, RATE_HZ

log = logging.getLogger("vidconf.playout")

BLOCK_S = BLOCK / RATE_HZ
MAX_LATE_S = 0.3
LATENCY_S = 0.06
"""Sound the card is given ahead: what a busy machine may be late by without being heard."""
QUEUE = 2
PATIENCE_S = 0.1
"""A card that takes nothing for so long is left behind: blocks for it are dropped in real time …"""
DEAD_AFTER_S = 6.0
"""… and after so long it is given up."""

_portaudio = threading.Lock()
_open_streams = 0


class NoLoudspeaker:
    """Nobody listens: an absolute clock paces."""

    def __init__(self) -> None:
        self._due = time.monotonic()

    def write(self, pcm: bytes) -> None:
        """Returns when the next block is due."""
        self._due += BLOCK_S
        wait = self._due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        elif wait < -MAX_LATE_S:
            self._due = time.monotonic()

    def close(self) -> None:
        """Nothing to give back."""


class Loudspeaker:
    """One of `Devices.speakers`, by id, or `default`. It opens on its thread; what is wrong with it comes out of `write`."""

    def __init__(self, device: str) -> None:
        self.dropped = 0
        self.opened = False
        self._device = device
        self._blocks: list[bytes] = []
        self._changed = threading.Condition()
        self._taken_at = time.monotonic()
        self._behind = False
        self._error: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="loudspeaker", daemon=True)
        self._thread.start()

    def write(self, pcm: bytes) -> None:
        """Returns when the card has room, or has had time enough. Raises OSError when it cannot be used (any more)."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._blocks) < QUEUE or self._error, BLOCK_S if self._behind else PATIENCE_S):
                self._behind = True
                self._blocks.pop(0)
                self.dropped += 1
                if time.monotonic() - self._taken_at > DEAD_AFTER_S:
                    self._error = "it takes no sound"
            else:
                self._behind = False
            if self._error:
                raise OSError(self._error)
            self._blocks.append(pcm)
            self._changed.notify_all()

    def close(self) -> None:
        """The thread gives the card back; nobody waits for it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        prepare_alsa()
        try:
            import sounddevice

            stream = _open(sounddevice, self._device)
            self.opened = True
        except Exception as error:      # PortAudio's own, the loader's (no PortAudio on this machine), an unknown name
            self._fail(f"PortAudio: {error}")
            return
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._blocks or self._closed or self._error)
                    if self._closed or self._error:
                        return
                    pcm = self._blocks.pop(0)
                    self._taken_at = time.monotonic()
                    self._changed.notify_all()
                stream.write(pcm)
        except sounddevice.PortAudioError as error:
            self._fail(str(error))
        finally:
            _close(sounddevice, stream)

    def _fail(self, what: str) -> None:
        with self._changed:
            self._error = what
            self._changed.notify_all()


def _open(sounddevice: Any, device: str) -> Any:
    global _open_streams
    with _portaudio:
        try:
            stream = _open_now(sounddevice, device)
        except Exception:
            # PortAudio knows the devices there were when it was started; it can be started anew while nobody uses it.
            if _open_streams:
                raise
            sounddevice._terminate()
            sounddevice._initialize()
            stream = _open_now(sounddevice, device)
        _open_streams += 1
    return stream


def _close(sounddevice: Any, stream: Any) -> None:
    global _open_streams
    with contextlib.suppress(sounddevice.PortAudioError):
        stream.close(ignore_errors=True)
    with _portaudio:
        _open_streams -= 1


def _open_now(sounddevice: Any, device: str) -> Any:
    sink = device.removeprefix("pulse:") if device.startswith("pulse:") else None
    chosen: Any = device
    if sink is not None:
        chosen = "pulse"
    elif device == "default":
        chosen = None
    elif device.isdecimal():
        chosen = int(device)
    # PortAudio knows PulseAudio as one device; which of its sinks is meant is read from the environment on opening.
    before = os.environ.get("PULSE_SINK")
    if sink is not None:
        os.environ["PULSE_SINK"] = sink
    try:
        stream = sounddevice.RawOutputStream(
            samplerate=RATE_HZ, blocksize=BLOCK, channels=1, dtype="int16", device=chosen, latency=LATENCY_S
        )
        stream.start()
    finally:
        if sink is not None:
            os.environ.pop("PULSE_SINK")
            if before is not None:
                os.environ["PULSE_SINK"] = before
    return stream

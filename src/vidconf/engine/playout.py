"""What is heard: one stream a remote sound, mixed every 20 ms, to a loudspeaker, to a file, or to nobody.

`Playout` is made and told on the loop's thread; mixing, decoding and writing run on its own thread, which a sound card (or
an absolute clock) paces. Streams lock for microseconds.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import wave
from collections.abc import Callable
from typing import Any

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.opus import BLOCK_BYTES, RATE_HZ, OpusDecoder
from vidconf.engine.sound import Mixer, crossfade, fade_in, level
from vidconf.rtp.jitter_buffer import AudioJitterBuffer, Conceal, Play, Silence

log = logging.getLogger("vidconf.playout")

BLOCK_S = 0.02
SOUND_LEVEL = 0.003
"""RMS above which the first sound counts as heard."""


class AudioStream:
    """One remote sound: jitter buffer and decoder. `push` on the loop's thread, `block` on the playout's."""

    def __init__(self, name: str, on_first_sound: Callable[[], None]) -> None:
        self.name, self.gain = name, 1.0
        self.level = 0.0
        self.errors = 0
        self.first_sound_at: float | None = None
        self.first_block_at: float | None = None
        self._on_first_sound = on_first_sound
        self._lock = threading.Lock()
        self._buffer = AudioJitterBuffer()
        self._decoder = OpusDecoder()
        self._rest = b""
        self._silent = True

    def push(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        with self._lock:
            self._buffer.push(sequence, timestamp, payload, now)

    def statistics(self) -> dict[str, float]:
        """`jitter_buffer_ms`, `concealed_percent` for `bot --json`."""
        with self._lock:
            buffer = self._buffer
            total = buffer.played + buffer.concealed
            return {
                "jitter_buffer_ms": round(1000 * buffer.level_s),
                "concealed_percent": round(100 * buffer.concealed / total, 2) if total else 0.0,
            }

    def block(self, now: float) -> bytes | None:
        """20 ms, or None for silence."""
        if len(self._rest) >= BLOCK_BYTES:
            pcm, self._rest = self._rest[:BLOCK_BYTES], self._rest[BLOCK_BYTES:]
            return pcm
        with self._lock:
            decision = self._buffer.pull(now)
        try:
            pcm = self._decode(decision)
        except CodecError:
            self.errors += 1
            pcm = None
        if pcm is None:
            self.level, self._silent = 0.0, True
            return None
        pcm = self._rest + pcm
        self._rest = pcm[BLOCK_BYTES:]
        pcm = pcm[:BLOCK_BYTES]
        if self._silent:
            pcm, self._silent = fade_in(pcm), False
        self.level = level(pcm)
        if self.first_block_at is None:
            self.first_block_at = time.monotonic()
        if self.first_sound_at is None and self.level > SOUND_LEVEL:
            self.first_sound_at = time.monotonic()
            self._on_first_sound()
        return pcm

    def _decode(self, decision: Play | Conceal | Silence) -> bytes | None:
        match decision:
            case Play(payload, skip):
                left_out = b""
                for skipped in skip:
                    left_out = left_out or self._decoder.decode(skipped)
                pcm = self._decoder.decode(payload)
                return crossfade(left_out, pcm) if left_out else pcm
            case Conceal(following):
                return self._decoder.conceal(following)
        return None


class _Null:
    """Nobody listens: an absolute clock paces."""

    def __init__(self) -> None:
        self._due = time.monotonic()

    def write(self, pcm: bytes) -> None:
        self._due += BLOCK_S
        wait = self._due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        elif wait < -0.5:
            self._due = time.monotonic()

    def close(self) -> None:
        """Nothing to give back."""


class _Device:
    """A loudspeaker through PortAudio; its clock paces. Raises OSError."""

    def __init__(self, device: str) -> None:
        try:
            import sounddevice
        except OSError as error:        # no PortAudio on this machine
            raise OSError(f"PortAudio: {error}") from error
        self._errors: tuple[type[BaseException], ...] = (sounddevice.PortAudioError, ValueError)
        try:
            chosen: Any = None if device == "default" else int(device) if device.isdecimal() else device
            self._stream = sounddevice.RawOutputStream(
                samplerate=RATE_HZ, blocksize=BLOCK_BYTES // 2, channels=1, dtype="int16", device=chosen, latency="low"
            )
            self._stream.start()
        except self._errors as error:
            raise OSError(str(error)) from error

    def write(self, pcm: bytes) -> None:
        try:
            self._stream.write(pcm)
        except self._errors as error:
            raise OSError(str(error)) from error

    def close(self) -> None:
        with contextlib.suppress(*self._errors):
            self._stream.close(ignore_errors=True)


class Playout:
    """Mixes all streams. `device`: an id, a name, `default` or `none`. `on_error(code, detail)` when a device is lost: it goes
    on without one."""

    def __init__(self, device: str, on_error: Callable[[str, str], None]) -> None:
        self._device, self._on_error = device, on_error
        self._streams: dict[str, AudioStream] = {}
        self._lock = threading.Lock()
        self._mixer = Mixer()
        self._gain = 1.0
        self._wav: wave.Wave_write | None = None
        self._changed = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="playout", daemon=True)
            self._thread.start()

    def add(self, name: str, on_first_sound: Callable[[], None]) -> AudioStream:
        stream = AudioStream(name, on_first_sound)
        with self._lock:
            self._streams[name] = stream
        return stream

    def remove(self, name: str) -> None:
        with self._lock:
            self._streams.pop(name, None)

    def set_gain(self, name: str | None, gain: float) -> None:
        gain = max(0.0, min(2.0, gain))
        with self._lock:
            if name is None:
                self._gain = gain
            elif name in self._streams:
                self._streams[name].gain = gain

    def select(self, device: str) -> None:
        self._device = device
        self._changed.set()

    def record(self, path: str | None) -> None:
        """Write what is played from now on to a WAV. The header is right after each block, so a crash loses nothing.
        Raises OSError."""
        wav: wave.Wave_write | None = None
        if path is not None:
            wav = wave.open(path, "wb")     # noqa: SIM115 - closed by the next record() or by close()
            wav.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        with self._lock:
            old, self._wav = self._wav, wav
        if old:
            old.close()

    def close(self) -> None:
        """Ends the thread; does not wait for more than the block it writes."""
        self._ended = True
        self.record(None)

    def _open(self) -> _Null | _Device:
        if self._device != "none":
            try:
                return _Device(self._device)
            except OSError as error:
                log.warning("no loudspeaker: %s", error)
                self._on_error("no_speaker", str(error))
        return _Null()

    def _run(self) -> None:
        sink = self._open()
        try:
            while not self._ended:
                if self._changed.is_set():
                    self._changed.clear()
                    sink.close()
                    sink = self._open()
                pcm = self._block()
                try:
                    sink.write(pcm)
                except OSError as error:
                    self._on_error("speaker_lost", str(error))
                    sink.close()
                    sink = _Null()
        finally:
            sink.close()

    def _block(self) -> bytes:
        now = time.monotonic()
        with self._lock:
            streams = list(self._streams.values())
        blocks = []
        for stream in streams:
            pcm = stream.block(now)
            if pcm is not None:
                blocks.append((pcm, stream.gain * self._gain))
        pcm = self._mixer.mix(blocks, BLOCK_BYTES)
        with self._lock:
            if self._wav:
                try:
                    self._wav.writeframes(pcm)
                except OSError as error:
                    self._wav = None
                    self._on_error("recording_failed", str(error))
        return pcm

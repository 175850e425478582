"""What is heard: one stream a remote sound, mixed every 10 ms, to a loudspeaker, to a file, or to nobody.

`Playout` is made and told on the loop's thread; mixing, decoding and writing run on its own thread, which a sound card (or
an absolute clock) paces. Streams lock for microseconds.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from vidconf.engine.audio_stream import AudioStream
from vidconf.engine.far_end import FarEnd
from vidconf.engine.loudspeaker import BLOCK, BLOCK_S, Loudspeaker, NoLoudspeaker
from vidconf.engine.recording import SoundFile
from vidconf.engine.sound import Mixer, Part

log = logging.getLogger("vidconf.playout")

BLOCK_BYTES = 2 * BLOCK
SLIPPED_BLOCKS = 50
"""A recording that is so far behind the clock (the machine slept, the card hung) is filled up with silence."""

MAX_FILLED_BLOCKS = 60_000
MAX_ONCE = 4
REST_BLOCKS = 50
CARD_S = 2.0


class Playout:
    """Mixes all streams. `device`: an id, `default` or `none`. `on_error(code, detail)` on the playout's thread when there is no
    loudspeaker (`no_speaker`) or it is lost (`speaker_lost`): it goes on without one; `recording_failed`: no more is written."""

    def __init__(self, device: str, on_error: Callable[[str, str], None]) -> None:
        self._device, self._on_error = device, on_error
        self._streams: dict[str, AudioStream] = {}
        self._leaving: list[AudioStream] = []
        self._once: list[bytes] = []
        self._lock = threading.Lock()
        self._mixer = Mixer()
        self.far = FarEnd()
        """What the loudspeaker was given, for the echo canceller."""
        self._gain = 1.0
        self._wav: SoundFile | None = None
        self._wav_lock = threading.Lock()
        self._wav_since, self._wav_blocks = 0.0, 0
        self._latency_s = 0.0
        self._changed = threading.Event()
        self._ended = self._resting = False
        self._idle_blocks = 0
        self._thread: threading.Thread | None = None
        self._resigned: threading.Thread | None = None
        """The one before, which may not have ended quite."""

    def start(self) -> None:
        """Play from now on."""
        with self._lock:
            self._resting = False
            if self._thread is None and not self._ended:
                self._thread = threading.Thread(target=self._run, args=(self._resigned,), name="playout", daemon=True)
                self._thread.start()

    def rest(self) -> None:
        """Nothing more will come for a while: when all that is there has been played, the loudspeaker is let go and the thread ends.
        `start` begins again."""
        self._resting = True

    def add(self, name: str, on_first_sound: Callable[[], None]) -> AudioStream:
        """A new remote sound; one of the same name is replaced. `on_first_sound` on the playout's thread, once."""
        stream = AudioStream(name, on_first_sound, BLOCK)
        with self._lock:
            old = self._streams.pop(name, None)
            if old:
                self._leaving.append(old)
            self._streams[name] = stream
        return stream

    def remove(self, name: str) -> None:
        with self._lock:
            old = self._streams.pop(name, None)
            if old and self._thread is not None:
                self._leaving.append(old)

    def set_gain(self, name: str | None, gain: float) -> None:
        """0…2 for one stream, or for all together (None)."""
        gain = max(0.0, min(2.0, gain))
        with self._lock:
            if name is None:
                self._gain = gain
            elif name in self._streams:
                self._streams[name].gain = gain

    def play_once(self, pcm: bytes) -> None:
        """Mix 48 kHz mono samples in, from the next block on. More than a few at once are left out."""
        with self._lock:
            if len(self._once) < MAX_ONCE:
                self._once.append(pcm)

    def levels(self) -> dict[str, float]:
        """RMS 0…1 of each stream just now."""
        with self._lock:
            return {name: stream.level for name, stream in self._streams.items()}

    def select(self, device: str) -> None:
        """Another loudspeaker, or the same once more after it was lost."""
        self._device = device
        self._changed.set()

    def record(self, path: str | None) -> None:
        """Write what is played from now on to a WAV. The header is right after each block, so a crash loses nothing.
        Raises OSError."""
        wav = None if path is None else SoundFile(path)
        with self._wav_lock:
            old, self._wav = self._wav, wav
            self._wav_since, self._wav_blocks = time.monotonic(), 0
        if old:
            old.close()

    def close(self) -> None:
        """Ends the thread; does not wait for more than the block it writes."""
        self._ended = True
        self.record(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread after `close`. Off the loop."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _open(self) -> NoLoudspeaker | Loudspeaker:
        return NoLoudspeaker() if self._device == "none" else Loudspeaker(self._device, self.far)

    def _rests(self) -> bool:
        """Whether the thread ends now: it was told to rest, and for a while there has been nothing to play, for what is in the
        card's buffer must still be heard."""
        if not self._resting or self._wav is not None:
            return False
        with self._lock:
            busy = self._streams or self._leaving or self._once
            self._idle_blocks = 0 if busy else self._idle_blocks + 1
            if self._idle_blocks < REST_BLOCKS or not self._resting:
                return False
            self._idle_blocks, self._resigned, self._thread = 0, self._thread, None
            return True

    def _run(self, before: threading.Thread | None) -> None:
        if before is not None:
            before.join(CARD_S)     # it lets go of the card first
        sink = self._open()
        try:
            while not (self._ended or self._rests()):
                if self._changed.is_set():
                    self._changed.clear()
                    sink.close()
                    sink = self._open()
                sink.wait()
                self._latency_s = sink.latency_s
                pcm = self._block()
                try:
                    sink.write(pcm)
                except OSError as error:
                    heard = isinstance(sink, Loudspeaker) and sink.opened
                    log.warning("the loudspeaker is gone" if heard else "no loudspeaker")
                    self._on_error("speaker_lost" if heard else "no_speaker", str(error))
                    sink.close()
                    sink = NoLoudspeaker()
        finally:
            sink.close()

    def _block(self) -> bytes:
        now = time.monotonic()
        with self._lock:
            streams, leaving, gain = list(self._streams.values()), self._leaving, self._gain
            self._leaving, ending = [], list[AudioStream]()
            parts: list[Part] = [(pcm[:BLOCK_BYTES], 1.0, 1.0) for pcm in self._once]
            self._once = [pcm[BLOCK_BYTES:] for pcm in self._once if len(pcm) > BLOCK_BYTES]
        for stream, going in (*((s, False) for s in streams), *((s, True) for s in leaving)):
            pcm = stream.last_block() if going else stream.block(now, self._latency_s)
            wanted = stream.gain * gain
            if pcm is not None:
                parts.append((pcm, stream.applied_gain, wanted))
                ending += [stream] if going else []
            stream.applied_gain = wanted
        with self._lock:
            self._leaving += ending
        pcm = self._mixer.mix(parts, BLOCK_BYTES)
        self._record_block(pcm, now)
        return pcm

    def _record_block(self, pcm: bytes, now: float) -> None:
        with self._wav_lock:
            if self._wav is None:
                return
            missed = int((now - self._wav_since) / BLOCK_S) - self._wav_blocks
            try:
                if missed > SLIPPED_BLOCKS:
                    self._wav.write(bytes(min(missed, MAX_FILLED_BLOCKS) * BLOCK_BYTES))
                    self._wav_blocks += missed
                self._wav.write(pcm)
                self._wav_blocks += 1
            except OSError as error:
                broken, self._wav = self._wav, None
                with contextlib.suppress(OSError):
                    broken.close()
                self._on_error("recording_failed", str(error))

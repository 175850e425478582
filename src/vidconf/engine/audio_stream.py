"""One remote sound, from its packets to the samples that are mixed: jitter buffer and decoder.

`push` and the rest on the loop's thread, `block` and `last_block` on the playout's; locks are held for microseconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.opus import BLOCK_BYTES, OpusDecoder
from vidconf.engine.sound import crossfade, fade_in, fade_out, level
from vidconf.rtp.jitter_buffer import AudioJitterBuffer, Conceal, Play, Silence

SOUND_LEVEL = 0.003
"""RMS above which the first sound counts as heard."""
MAX_PULLS = 8
"""Packets for one block: the shortest has 2.5 ms."""


class AudioStream:
    """One remote sound: jitter buffer and decoder. `push` on the loop's thread, `block` on the playout's."""

    def __init__(self, name: str, on_first_sound: Callable[[], None]) -> None:
        self.name, self.gain = name, 1.0
        self.applied_gain = 1.0
        self.level = 0.0
        """RMS of the last block, 0…1."""
        self.errors = 0
        self.first_sound_at: float | None = None
        """When something audible was first played, monotonic."""
        self.first_block_at: float | None = None
        """When anything was."""
        self._on_first_sound = on_first_sound
        self._lock = threading.Lock()
        self._buffer = AudioJitterBuffer()
        self._decoder = OpusDecoder()
        self._rest = b""
        self._silent = True
        self._point: tuple[int, float] | None = None

    def push(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        with self._lock:
            self._buffer.push(sequence, timestamp, payload, now)

    def set_least_delay(self, seconds: float) -> None:
        """Hold the sound back by at least so much (a late picture is waited for); 0 leaves it to the network."""
        with self._lock:
            self._buffer.set_least_delay(seconds)

    def playout_point(self) -> tuple[int, float] | None:
        """The RTP timestamp (32 bit) of a sample, and when it leaves the loudspeaker (monotonic, the card's latency included as far
        as it is known). Of the newest block; None while nothing is being played."""
        return self._point

    def statistics(self) -> dict[str, float]:
        """`jitter_buffer_ms`, `concealed_percent` for `bot --json`."""
        with self._lock:
            buffer = self._buffer
            total = buffer.played + buffer.concealed
            return {
                "jitter_buffer_ms": round(1000 * buffer.level_s),
                "concealed_percent": round(100 * buffer.concealed / total, 2) if total else 0.0,
            }

    def block(self, now: float, latency_s: float = 0.0) -> bytes | None:
        """20 ms, or None for silence. `latency_s`: how much later they are heard."""
        for _ in range(MAX_PULLS):
            if len(self._rest) >= BLOCK_BYTES:
                break
            with self._lock:
                decision = self._buffer.pull(now)
            if isinstance(decision, Silence):
                return self.last_block()
            self._rest += self._decode(decision)
        self._point = ((self._buffer.next_stamp - len(self._rest) // 2) & 0xFFFFFFFF, now + latency_s)
        pcm, self._rest = self._rest[:BLOCK_BYTES], self._rest[BLOCK_BYTES:]
        if self._silent:
            pcm, self._silent = fade_in(pcm), False
        self.level = level(pcm)
        if self.first_block_at is None:
            self.first_block_at = time.monotonic()
        if self.first_sound_at is None and self.level > SOUND_LEVEL:
            self.first_sound_at = time.monotonic()
            self._on_first_sound()
        return pcm

    def last_block(self) -> bytes | None:
        """What was heard goes on for 20 ms and ends in silence; None when it has."""
        self.level, self._point = 0.0, None
        if self._silent:
            return None
        pcm = (self._rest + self._decoder.conceal())[:BLOCK_BYTES]
        self._rest, self._silent = b"", True
        return fade_out(pcm)

    def _decode(self, decision: Play | Conceal) -> bytes:
        try:
            if isinstance(decision, Conceal):
                return self._decoder.conceal(decision.next_payload)
            left_out = b""
            for skipped in decision.skip:
                left_out = left_out or self._decoder.decode(skipped)
            pcm = self._decoder.decode(decision.payload)
            return crossfade(left_out, pcm) if left_out else pcm
        except CodecError:
            self.errors += 1
            return self._decoder.conceal()

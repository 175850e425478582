"""One remote sound, from its packets to the samples that are mixed: jitter buffer, decoder, stretching.

`push` and the rest on the loop's thread, `block` and `last_block` on the playout's; locks are held for microseconds. What is
decoded waits here until a block is full; the buffer decides what comes next, this does it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vidconf.engine import time_stretch
from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.opus import BLOCK, RATE_HZ, OpusDecoder
from vidconf.engine.sound import crossfade, fade_in, fade_out, level
from vidconf.rtp.jitter_buffer import AudioJitterBuffer, Conceal, Play, Recover, Silence

SOUND_LEVEL = 0.003
"""RMS above which the first sound counts as heard."""
QUIET, FORGOTTEN_S = 0.06, 4.0
"""Nobody speaks below this part of the loudest of the last seconds; and the time constant with which that is forgotten."""
PAUSE = RATE_HZ * 3 // 10
"""Quiet for so many samples it is between sentences, not before a consonant."""
MAX_PULLS = 24
"""Decisions for one block of 20 ms at most: the shortest packet has 2.5 ms, some are left out or squeezed."""
PAST_BYTES = 2 * 1440
"""30 ms of what was played: two of the longest pitch periods."""
ENDING_BYTES = 2 * 960
"""20 ms in which what was heard ends: half of it would click."""


class AudioStream:
    """One remote sound. Its answers are the newest block's. `samples` in each."""

    def __init__(self, name: str, on_first_sound: Callable[[], None], samples: int = BLOCK) -> None:
        self.name, self.gain = name, 1.0
        self._bytes, self._forgets = 2 * samples, 1 - samples / (FORGOTTEN_S * RATE_HZ)
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
        self._rest = self._past = self._ending = b""
        self._loudest, self._quiet_samples = 0.0, 0
        self._silent = True
        self._point: tuple[int, float] | None = None

    # ---- the loop's thread
    def push(self, sequence: int, timestamp: int, payload: bytes, now: float, copy: bool = False) -> None:
        """An Opus packet, or (`copy`) what another packet carried of it."""
        with self._lock:
            self._buffer.push(sequence, timestamp, payload, now, copy)

    def begin(self) -> None:
        """The same sound comes on another connection: numbers and timestamps begin anew."""
        with self._lock:
            self._buffer.begin_anew()

    def worth_asking(self, sequence: int, rtt_s: float, now: float) -> bool:
        """Whether it makes sense to ask for a missing packet (16 bit): its answer would come in time to be played."""
        with self._lock:
            return self._buffer.worth_asking(sequence, rtt_s, now)

    def set_least_delay(self, seconds: float) -> None:
        """Hold the sound back by at least so much (a late picture is waited for); 0 leaves it to the network."""
        with self._lock:
            self._buffer.set_least_delay(seconds)

    def playout_point(self) -> tuple[int, float] | None:
        """The RTP timestamp (32 bit) of a sample, and when it leaves the loudspeaker (monotonic, the card's latency included as far
        as it is known). Of the newest block; None while nothing is being played."""
        return self._point

    def statistics(self) -> dict[str, float]:
        """`jitter_buffer_ms` (how long a sample was held, mean of the last half second or so) and `concealed_percent` for `bot --json`;
        `fec`, `red`, `accelerated`, `expanded`: milliseconds of sound that came from repairs, from copies, that were squeezed out
        and stretched in."""
        with self._lock:
            buffer = self._buffer
            total = buffer.played + buffer.concealed + buffer.recovered
            return {
                "jitter_buffer_ms": round(1000 * buffer.mean_delay_s),
                "concealed_percent": round(100 * buffer.concealed / total, 2) if total else 0.0,
                "fec": buffer.recovered * 1000 // RATE_HZ, "red": buffer.copied * 1000 // RATE_HZ,
                "accelerated": buffer.accelerated * 1000 // RATE_HZ, "expanded": buffer.expanded * 1000 // RATE_HZ,
            }  # fmt: skip

    # ---- the playout's thread
    def block(self, now: float, latency_s: float = 0.0) -> bytes | None:
        """The next samples, or None for silence. `latency_s`: how much later they are heard."""
        for _ in range(MAX_PULLS):
            if len(self._rest) >= self._bytes:
                break
            with self._lock:
                decision = self._buffer.pull(now, len(self._rest) // 2)
            if isinstance(decision, Silence):
                return self.last_block()
            self._go_on(decision)
        ahead = len(self._rest) // 2
        pcm, self._rest = self._rest[: self._bytes].ljust(self._bytes, b"\0"), self._rest[self._bytes :]
        self._point = ((self._buffer.next_stamp - ahead) & 0xFFFFFFFF, now + latency_s)
        self._past = (self._past[len(pcm) - PAST_BYTES :] if len(pcm) < PAST_BYTES else b"") + pcm
        if self._silent:
            pcm = crossfade(self._ending, pcm) if self._ending else fade_in(pcm)
            self._ending, self._silent = b"", False
        self.level = level(pcm)
        self._loudest = max(self.level, self._forgets * self._loudest)
        self._quiet_samples = self._quiet_samples + len(pcm) // 2 if self.level < self._quiet() else 0
        if self.first_block_at is None:
            self.first_block_at = time.monotonic()
        if self.first_sound_at is None and self.level > SOUND_LEVEL:
            self.first_sound_at = time.monotonic()
            self._on_first_sound()
        return pcm

    def last_block(self) -> bytes | None:
        """What was heard goes on for 20 ms and ends in silence, block by block; None when it has."""
        self.level, self._point = 0.0, None
        if not self._silent:
            self._ending = fade_out((self._rest + self._decoder.conceal())[:ENDING_BYTES])
            self._rest = self._past = b""
            self._silent = True
        if not self._ending:
            return None
        pcm, self._ending = self._ending[: self._bytes], self._ending[self._bytes :]
        return pcm.ljust(self._bytes, b"\0")

    def _go_on(self, decision: Play | Recover | Conceal) -> None:
        """Decode or make up what was decided, to the end of what is here."""
        if isinstance(decision, Conceal):
            self._rest += self._decoder.conceal(decision.samples)
            return
        if isinstance(decision, Recover):
            self._rest += self._decoder.recover(decision.following, decision.samples)
            return
        fresh = b""
        for payload in decision.payloads:
            try:
                fresh += self._decoder.decode(payload)
            except CodecError:
                self.errors += 1
                fresh += self._decoder.conceal()
        if decision.joined:
            fresh = time_stretch.join((self._past + self._rest)[-PAST_BYTES:], fresh)
        self._rest += fresh
        if decision.stretch:
            self._stretch(decision, len(fresh))

    def _quiet(self) -> float:
        return max(SOUND_LEVEL, QUIET * self._loudest)

    def _stretch(self, decision: Play, fresh: int) -> None:
        """Take a pitch period out of what is not played yet, or put one in before what is new."""
        quiet = level(self._rest) < self._quiet()
        if decision.patient and not (quiet and self._quiet_samples >= PAUSE):
            return
        before = len(self._rest)
        if decision.stretch < 0:
            self._rest = time_stretch.shorten(self._rest, -decision.stretch, anywhere=quiet, hurry=decision.hurry)
        else:
            kept = before - fresh
            past = (self._past + self._rest[:kept])[-PAST_BYTES:]
            self._rest = self._rest[:kept] + time_stretch.lengthen(past, self._rest[kept:], anywhere=quiet)
        changed = (len(self._rest) - before) // 2
        if changed:
            with self._lock:
                self._buffer.stretched(changed)

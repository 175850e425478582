"""Where the mix goes, block by block: a sound card, or nobody. Whoever writes is paced by it.

`wait` until a block is wanted, make it, `write` it: so it lies in the card's buffer and nowhere before it. `wait` and `write` on the playout's thread; a sound card has a thread of its own, so that one which hangs stops neither the mixing nor a
recording of it. At the process's end the cards are given back in order, as far as they let one.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
import weakref
from typing import Protocol

from vidconf.engine import portaudio_output
from vidconf.engine.alsa_output import AlsaOutput
from vidconf.engine.codecs.opus import RATE_HZ
from vidconf.engine.far_end import FarEnd
from vidconf.engine.portaudio_output import PortAudioOutput

log = logging.getLogger("vidconf.playout")

BLOCK = RATE_HZ // 100
"""Samples that are mixed and written at once: half a packet, for what waits for the next block waits half as long."""
BLOCK_S = BLOCK / RATE_HZ
MAX_LATE_S = 0.3
LATENCIES_S = (0.04, 0.06, 0.09, 0.14)
"""Sound the card is given ahead, a block of it just made: what a busy machine may be late by without being heard. More where that is
not enough, for a while."""
DRY, DRY_WITHIN_S, CALM_S = 2, 30.0, 1800.0
"""So many gaps in so long, and the next of LATENCIES_S; back after so long without one."""
QUEUE = 2
PATIENCE_S = 0.1
"""A card that takes nothing for so long is left behind: blocks for it are dropped in real time …"""
DEAD_AFTER_S = 6.0
"""… and after so long it is given up."""
MAX_AHEAD_S, FASTEST = 0.5, 1.02
"""A card that takes more, and faster (ALSA's `null` takes all at once), is slowed down: it paces the whole playout."""
LAST_WORDS_S = 1.0
"""What the process's end waits for the cards."""


class Output(Protocol):
    """A sound card, open. One thread's; each call may block. `write` raises OSError."""

    def wait(self) -> None:
        """Returns when the next block can be written at once. Raises OSError."""

    def write(self, pcm: bytes) -> None: ...

    def close(self) -> None: ...


def open_output(device: str, latency_s: float) -> Output:
    """Raises OSError."""
    return AlsaOutput(device, latency_s) if sys.platform == "linux" else PortAudioOutput(device, latency_s)


class NoLoudspeaker:
    """Nobody listens: an absolute clock paces."""

    latency_s = 0.0

    def __init__(self) -> None:
        self._due = time.monotonic()

    def wait(self) -> None:
        """A block is always welcome."""

    def write(self, pcm: bytes) -> None:
        """Returns when the next block is due."""
        self._due += len(pcm) / (2 * RATE_HZ)
        wait = self._due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        elif wait < -MAX_LATE_S:
            self._due = time.monotonic()

    def close(self) -> None:
        """Nothing to give back."""


class Loudspeaker:
    """One of `Devices.speakers`, by id, or `default`. It opens on its thread; what is wrong with it comes out of `write`."""

    def __init__(self, device: str, far: FarEnd | None = None) -> None:
        """`far` is told what the card took, when it took it."""
        self._far = far or FarEnd()
        self.latency_s = LATENCIES_S[0] - BLOCK_S
        """From a block's making to its first sample in the air, the card's own converters left out."""
        self.dropped = 0
        self.opened = False
        self._device = device
        self._blocks: list[bytes] = []
        self._changed = threading.Condition()
        self._taken_at = self._played_until = self._due = time.monotonic()
        self._behind = self._wants = False
        self._error: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="loudspeaker", daemon=True)
        _cards.add(self)
        self._thread.start()

    def wait(self) -> None:
        """Returns when the card wants a block, or has had time enough; what is wrong with it comes out of `write`."""
        with self._changed:
            if not self._behind:
                self._behind = not self._changed.wait_for(lambda: self._wants or self._error, PATIENCE_S)

    def write(self, pcm: bytes) -> None:
        """Returns when the card has room, or has had time enough. Raises OSError when it cannot be used (any more)."""
        with self._changed:
            now = time.monotonic()
            self._due = min(now, max(self._due, now - PATIENCE_S)) + len(pcm) / (2 * RATE_HZ)      # by an absolute clock: in real time however late we wake
            patience_s = max(0.0, self._due - now) if self._behind else PATIENCE_S
            if not self._changed.wait_for(lambda: len(self._blocks) < QUEUE or self._error, patience_s):
                self._behind = True
                self._blocks.pop(0)
                self.dropped += 1
                if time.monotonic() - self._taken_at > DEAD_AFTER_S:
                    self._error = "it takes no sound"
            if self._error:
                raise OSError(self._error)
            self._blocks.append(pcm)
            self._changed.notify_all()

    def close(self) -> None:
        """The thread gives the card back; nobody waits for it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait until the card is given back, after `close`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        step = 0
        while step >= 0:
            try:
                output = open_output(self._device, LATENCIES_S[step])
            except Exception as error:      # OSError, or a name that none of the libraries can make sense of
                self._fail(str(error))
                return
            self.opened = True
            self.latency_s = LATENCIES_S[step] - BLOCK_S
            step = self._play(output, step)

    def _play(self, output: Output, step: int) -> int:
        """Until it ends (-1), or another of LATENCIES_S would be better."""
        calm_since = time.monotonic()
        gaps, seen = 0, self._far.gaps
        try:
            while True:
                output.wait()
                now = time.monotonic()
                if self._far.gaps != seen:
                    gaps = gaps + 1 if now - calm_since < DRY_WITHIN_S else 1
                    seen, calm_since = self._far.gaps, now
                    if gaps >= DRY and step + 1 < len(LATENCIES_S):
                        log.info("the loudspeaker ran dry %d times: %.0f ms from now on", gaps, 1000 * LATENCIES_S[step + 1])
                        return step + 1
                elif step and now - calm_since > CALM_S:
                    return step - 1
                with self._changed:
                    self._wants, self._behind = True, False
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._blocks or self._closed or self._error)
                    if self._closed or self._error:
                        return -1
                    pcm = self._blocks.pop(0)
                    self._wants = False
                    self._taken_at = time.monotonic()
                    self._changed.notify_all()
                output.write(pcm)
                self._far.played(pcm, time.monotonic())
                self._played_until = max(self._played_until + len(pcm) / (2 * RATE_HZ) / FASTEST, time.monotonic())
                ahead = self._played_until - time.monotonic() - MAX_AHEAD_S
                if ahead > 0:
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed or self._error, ahead)
        except OSError as error:
            self._fail(str(error))
            return -1
        finally:
            output.close()

    def _fail(self, what: str) -> None:
        with self._changed:
            self._error = what
            self._changed.notify_all()


_cards: weakref.WeakSet[Loudspeaker] = weakref.WeakSet()


@atexit.register
def _give_back() -> None:
    """A card that the process leaves while a thread writes to it would be taken down under that thread, and the process with it."""
    end = time.monotonic() + LAST_WORDS_S
    cards = list(_cards)
    for card in cards:
        card.close()
    for card in cards:
        card.join(max(0.0, end - time.monotonic()))
    portaudio_output.end()

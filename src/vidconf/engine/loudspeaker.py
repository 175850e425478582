"""Where the mix goes, block by block: a sound card, or nobody. Whoever writes is paced by it.

`write` on the playout's thread; a sound card has a thread of its own, so that one which hangs stops neither the mixing nor a
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
from vidconf.engine.codecs.opus import BLOCK, RATE_HZ
from vidconf.engine.far_end import FarEnd
from vidconf.engine.portaudio_output import PortAudioOutput

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
MAX_AHEAD_S, FASTEST = 0.5, 1.02
"""A card that takes more, and faster (ALSA's `null` takes all at once), is slowed down: it paces the whole playout."""
LAST_WORDS_S = 1.0
"""What the process's end waits for the cards."""


class Output(Protocol):
    """A sound card, open. One thread's; each call may block. `write` raises OSError."""

    def write(self, pcm: bytes) -> None: ...

    def close(self) -> None: ...


def open_output(device: str) -> Output:
    """Raises OSError."""
    return AlsaOutput(device, LATENCY_S) if sys.platform == "linux" else PortAudioOutput(device, LATENCY_S)


class NoLoudspeaker:
    """Nobody listens: an absolute clock paces."""

    latency_s = 0.0

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

    latency_s = LATENCY_S + QUEUE * BLOCK_S
    """From a block's making to its first sample in the air, the card's own converters left out."""

    def __init__(self, device: str, far: FarEnd | None = None) -> None:
        """`far` is told what the card took, when it took it."""
        self._far = far
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
        _cards.add(self)
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

    def join(self, timeout_s: float) -> None:
        """Wait until the card is given back, after `close`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            output = open_output(self._device)
        except Exception as error:      # OSError, or a name that none of the libraries can make sense of
            self._fail(str(error))
            return
        self.opened = True
        played_until = time.monotonic()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._blocks or self._closed or self._error)
                    if self._closed or self._error:
                        return
                    pcm = self._blocks.pop(0)
                    self._taken_at = time.monotonic()
                    self._changed.notify_all()
                output.write(pcm)
                if self._far is not None:
                    self._far.played(pcm, time.monotonic())
                played_until = max(played_until + BLOCK_S / FASTEST, time.monotonic())
                ahead = played_until - time.monotonic() - MAX_AHEAD_S
                if ahead > 0:
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed or self._error, ahead)
        except OSError as error:
            self._fail(str(error))
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

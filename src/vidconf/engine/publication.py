"""One's own sources: device -> encoder -> packets. A publication outlives connections: a rejoin only binds it again.

What is common to `audio_publication` and `video_publication`. Methods on the loop's thread; capture and encoding run on threads
of their own, which hand finished packets back to the loop.
**The valve**: whether something may leave is decided in `_send_*`, on the loop, from the intent (`muted`) alone, at the very
moment of sending. No state of the connection can open it; only `set_muted(False)` can.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from vidconf.engine.api import EngineEvent, Source, SourceChanged, SourceState
from vidconf.engine.capture import Capture
from vidconf.engine.outgoing import OutgoingStream
from vidconf.engine.pacer import Pacer

log = logging.getLogger("vidconf.publication")


class Owner(Protocol):
    """What a publication needs of its session."""

    loop: asyncio.AbstractEventLoop

    def emit(self, event: EngineEvent) -> None: ...

    def publication_changed(self, publication: Publication) -> None:
        """Its mute or its being open changed: tell the server."""


class Publication:
    """Common to all sources: intent, state, and the tie to a connection."""

    kind: Literal["audio", "video"]

    def __init__(self, owner: Owner, source: Source, device: str, *, muted: bool) -> None:
        self.owner, self.source, self.device = owner, source, device
        self.muted = muted
        self.closed = False
        self.wanted = True
        """Somebody takes it (the server's `subscribed_quality_update`)."""
        self.error = ""
        self.stream: OutgoingStream | None = None
        self.pacer: Pacer | None = None
        self._generation = 0
        """Capture threads carry it: what an old device still delivers is dropped."""
        self._capture: Capture | None = None
        self._old: list[threading.Thread] = []

    @property
    def state(self) -> SourceState:
        if self.closed or self.error:
            return "off"
        return "muted" if self.muted else "on"

    def set_muted(self, muted: bool) -> None:
        if muted == self.muted or self.closed:
            return
        self.muted = muted
        if muted:
            self._drop()
        self._mute_changed()
        self.owner.publication_changed(self)
        self.announce()

    def bind(self, stream: OutgoingStream, pacer: Pacer) -> None:
        """The connection is up: send through `stream` from now on."""
        self.stream, self.pacer = stream, pacer
        self._bound()

    @property
    def streams(self) -> Sequence[OutgoingStream]:
        """All that it sends through."""
        return () if self.stream is None else (self.stream,)

    def _drop(self) -> None:
        """What waits to leave does not."""
        for stream in self.streams:
            if self.pacer is not None:
                self.pacer.drop(stream)

    def unbind(self) -> None:
        self._drop()
        self.stream, self.pacer = None, None
        self.wanted = True

    def announce(self, detail: str = "") -> None:
        self.owner.emit(SourceChanged(self.source, self.state, self.device, self.error, detail))

    def _failed(self, generation: int, code: str, detail: str) -> None:
        """A device could not be opened or was lost (loop's thread)."""
        if generation != self._generation or self.closed:
            return
        log.warning("%s: %s", self.source, code)
        self.error = code
        self.announce(detail)

    def _post(self, callback: Callable[..., None], *values: object) -> None:
        """From a capture thread to the loop; a loop that has ended takes nothing."""
        try:
            self.owner.loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.debug("%s: the loop is gone", self.source)

    def switch(self, device: str) -> None:
        """Another device for the same track."""
        self._stop_capture()
        self.device = device
        self.start()

    def threads(self) -> list[threading.Thread]:
        """To be waited for (off the loop) after `close`."""
        return [t for t in self._old if t.is_alive()]

    def close(self) -> None:
        """Nothing leaves from now on: the negotiation that takes it back may have to wait for another."""
        if self.closed:
            return
        self.closed = True
        self._drop()
        self._stop_capture()
        self._closed()
        self.owner.publication_changed(self)
        self.announce()

    def _stop_capture(self) -> None:
        self._generation += 1
        if self._capture is not None:
            self._capture.stop()
            self._old = [t for t in (*self._old, self._capture) if t.is_alive()]
            self._capture = None

    # ---- for the kinds
    def start(self) -> None:
        raise NotImplementedError

    def _closed(self) -> None:
        """What else ends with it."""

    def request_keyframe(self, ssrc: int = 0) -> None:
        """Nothing to do but for pictures."""

    def _mute_changed(self) -> None:
        raise NotImplementedError

    def _bound(self) -> None:
        raise NotImplementedError

"""When to ask a publisher for a keyframe. Called by a track's forwarding, on the loop's thread; the loop is only its clock.

A request is never dropped: libwebrtc lets one fall that comes less than about 0.3 s after its last keyframe, so one too early
is put off, and each is repeated until a keyframe has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

BETWEEN_S = 0.2
"""Requests to one publisher are at least so far apart."""
AFTER_KEYFRAME_S = 0.3
"""And so far from the last keyframe that passed: nobody makes one keyframe after another."""
PATIENT_AFTER = 10
PATIENT_S = 1.0
"""After so many requests in vain, one a second."""


class Clock(Protocol):
    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], object], /) -> asyncio.TimerHandle: ...


class KeyframeRequests:
    """One track's. `send` puts one request on the wire."""

    def __init__(self, clock: Clock, send: Callable[[], None]) -> None:
        self._clock, self._send = clock, send
        self._handle: asyncio.TimerHandle | None = None
        self._last_sent = self._last_passed = float("-inf")
        self._tries = 0
        self.wanted = False
        """A keyframe is waited for: the forwarding looks for one only then."""

    def want(self) -> None:
        """Somebody needs a keyframe: at once if none was asked for or passed a moment ago."""
        if self.wanted:
            return
        self.wanted, self._tries = True, 0
        now = self._clock.time()
        due = max(self._last_sent + BETWEEN_S, self._last_passed + AFTER_KEYFRAME_S)
        if due <= now:
            self._ask()
        else:
            self._handle = self._clock.call_at(due, self._ask)

    def _ask(self) -> None:
        self._cancel()
        if not self.wanted:
            return
        self._send()
        self._tries += 1
        self._last_sent = self._clock.time()
        self._handle = self._clock.call_at(self._last_sent + (BETWEEN_S if self._tries < PATIENT_AFTER else PATIENT_S), self._ask)

    def passed(self) -> None:
        """A keyframe has come."""
        self.wanted = False
        self._last_passed = self._clock.time()
        self._cancel()

    def close(self) -> None:
        self.wanted = False
        self._cancel()

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

"""Events for one reader who may be slow. Standard library only: the window's side uses it too. Loop's thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from vidconf.engine import api

PASSING = (api.Stats, api.LocalLevel, api.Speakers, api.Quality)
"""Events whose next one replaces them: the first to go when nobody reads."""
MAX_WAITING = 2000
MAX_PASSING = 200


class EventQueue:
    """Events for one reader. Never blocks, never grows without bound: passing ones are left out first."""

    def __init__(self) -> None:
        self._waiting: deque[api.EngineEvent] = deque()
        self._news = asyncio.Event()
        self.ended = False
        self.dropped = 0

    def put(self, event: api.EngineEvent) -> None:
        if self.ended:
            return
        waiting = len(self._waiting)
        if waiting >= MAX_WAITING or (waiting >= MAX_PASSING and isinstance(event, PASSING)):
            self.dropped += 1
            if isinstance(event, PASSING):
                return
            self._waiting = deque(e for e in self._waiting if not isinstance(e, PASSING))
            while len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
        self._waiting.append(event)
        self._news.set()

    def end(self) -> None:
        self.ended = True
        self._news.set()

    async def each(self) -> AsyncIterator[api.EngineEvent]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self.ended:
                return
            self._news.clear()
            await self._news.wait()

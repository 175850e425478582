"""The engine in one's own process: bots, tests, and inside `vidconf engine`. Loop's thread only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from vidconf.engine import api, devices
from vidconf.engine.alsa import prepare_alsa
from vidconf.engine.event_queue import EventQueue
from vidconf.engine.session import Options, Session
from vidconf.engine.stats import ProcessUsage

log = logging.getLogger("vidconf.engine")

STATS_S = 1.0


class LocalEngine:
    """`api.Engine` without a process. `options` tell a bot's engine from a window's."""

    def __init__(self, options: Options | None = None) -> None:
        self._options = options
        self._queue = EventQueue()
        self._session: Session | None = None
        self._statistics: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.quit = asyncio.Event()
        """`Quit` has come."""

    @property
    def session(self) -> Session:
        """For bots and tests that look at more than events."""
        assert self._session is not None
        return self._session

    async def start(self) -> None:
        if self._session is None:
            prepare_alsa()
            self._session = Session(self._queue.put, self._options)
            self._statistics = asyncio.create_task(self._report(), name="engine statistics")

    def send(self, command: api.Command) -> None:
        if self._session is None or self._queue.ended:
            return
        try:
            match command:
                case api.Quit():
                    self.quit.set()
                case api.ListDevices():
                    task = asyncio.create_task(self._list_devices(), name="engine lists devices")
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                case _:
                    self._session.handle(command)
        except Exception as error:      # one command that fails must not end the meeting
            log.exception("%s failed", type(command).__name__)
            self._queue.put(api.Failed("command_failed", f"{type(command).__name__}: {error!r}"))

    def events(self) -> AsyncIterator[api.EngineEvent]:
        return self._queue.each()

    async def close(self) -> None:
        for task in (*self._tasks, *((self._statistics,) if self._statistics else ())):
            task.cancel()
        if self._session is not None:
            await self._session.close()
        self._queue.end()

    async def _list_devices(self) -> None:
        self._queue.put(await asyncio.to_thread(devices.listed))

    async def _report(self) -> None:
        usage = ProcessUsage()
        while True:
            await asyncio.sleep(STATS_S)
            session = self.session
            session.each_second()
            engine: dict[str, Any] = {
                "cpu_percent": usage.sample(), "rss_mb": usage.rss_mb(), "reconnects": session.reconnects, "sent": session.sent_report(),
            }
            self._queue.put(api.Stats(tuple(session.tracks_report()), engine))

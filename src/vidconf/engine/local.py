"""The engine in one's own process: bots, tests, and inside `vidconf engine`. Loop's thread only."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from vidconf.engine import api, sources, voice
from vidconf.engine.alsa import prepare_alsa
from vidconf.engine.device_follow import SOURCES, DeviceFollower
from vidconf.engine.device_listings import Kind, is_device
from vidconf.engine.device_watch import DeviceWatch
from vidconf.engine.event_queue import EventQueue
from vidconf.engine.screen_list import ScreenLister
from vidconf.engine.session import Options, Session
from vidconf.engine.stats import ProcessUsage

log = logging.getLogger("vidconf.engine")

STATS_S = 1.0
WATCH_S = 2.0


class LocalEngine:
    """`api.Engine` without a process. `options` tell a bot's engine from a window's."""

    def __init__(self, options: Options | None = None) -> None:
        self._options = options
        self._queue = EventQueue()
        self._session: Session | None = None
        self._statistics: asyncio.Task[None] | None = None
        self._watch: DeviceWatch | None = None
        self._follower: DeviceFollower | None = None
        self._screens = ScreenLister(self._screens_told)
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
            self._session = Session(self._emit, self._options)
            self._watch = DeviceWatch(self._listed)
            self._follower = DeviceFollower(_Stage(self._session, self._watch, self._queue.put), self._session.options.speaker)
            self._statistics = asyncio.create_task(self._report(), name="engine statistics")

    def send(self, command: api.Command) -> None:
        if self._session is None or self._queue.ended:
            return
        try:
            match command:
                case api.Quit():
                    self.quit.set()
                case api.ListDevices():
                    self._watched().look()
                case api.Join() if is_device(self._session.options.speaker):
                    self._watched().start()
                    self._session.handle(command)
                case api.ListScreens(except_pid):
                    self._screens.look(except_pid)
                case api.OpenSource(source=source, device=device):
                    if source in SOURCES and is_device(device):
                        self._watched().start()
                    self._session.handle(self._following().open(command))
                case api.SelectSpeaker(device):
                    if is_device(device):
                        self._watched().start()
                    self._session.handle(api.SelectSpeaker(self._following().select(device)))
                case api.CloseSource(source):
                    self._following().close(source)
                    self._session.handle(command)
                case api.Leave():
                    self._following().close_all()
                    self._session.handle(command)
                case _:
                    self._session.handle(command)
        except Exception as error:      # one command that fails must not end the meeting
            log.exception("%s failed", type(command).__name__)
            self._queue.put(api.Failed("command_failed", f"{type(command).__name__}: {error!r}"))

    def events(self) -> AsyncIterator[api.EngineEvent]:
        return self._queue.each()

    async def close(self) -> None:
        self._screens.close()
        if self._statistics is not None:
            self._statistics.cancel()
        if self._watch is not None:
            self._watch.stop()
        if self._follower is not None:
            self._follower.close_all()
        if self._session is not None:
            await self._session.close()
        if self._watch is not None:
            await asyncio.to_thread(self._watch.join, WATCH_S)
        await asyncio.to_thread(self._screens.join, WATCH_S)
        self._queue.end()

    # ---- devices
    def _watched(self) -> DeviceWatch:
        assert self._watch is not None
        return self._watch

    def _following(self) -> DeviceFollower:
        assert self._follower is not None
        return self._follower

    def _emit(self, event: api.EngineEvent) -> None:
        """From the session. What the follower mends need not be told."""
        told = event if self._follower is None else self._follower.said(event)
        if told is not None:
            self._queue.put(told)

    def _listed(self, devices: api.Devices, asked: bool) -> None:
        """The watch's thread."""
        _on_loop(self.session.loop, self._take, devices)

    def _screens_told(self, event: api.Screens | api.Thumbnail) -> None:
        """The lister's thread."""
        _on_loop(self.session.loop, self._queue.put, event)

    def _take(self, devices: api.Devices) -> None:
        if not self._queue.ended:
            self._queue.put(devices)
            self._following().listed(devices)

    async def _report(self) -> None:
        usage = ProcessUsage()
        while True:
            await asyncio.sleep(STATS_S)
            session = self.session
            session.each_second()
            self._following().tick()
            engine: dict[str, Any] = {
                "cpu_percent": usage.sample(), "rss_mb": usage.rss_mb(), "reconnects": session.reconnects, "way": session.way,
                "sent": session.sent_report(), "uplink": session.uplink_report(),
            }
            if voice.known_missing():
                engine["voice_missing"] = voice.known_missing()
            self._queue.put(api.Stats(tuple(session.tracks_report()), engine))


class _Stage:
    """What the follower switches. The loop's thread, but for the attempts' own."""

    def __init__(self, session: Session, watch: DeviceWatch, emit: Callable[[api.EngineEvent], None]) -> None:
        self._session, self._watch, self.emit = session, watch, emit

    def switch_device(self, source: Kind, device: str) -> None:
        self._session.switch_device(source, device)

    def select_speaker(self, device: str) -> None:
        self._session.handle(api.SelectSpeaker(device))

    def is_muted(self, source: Kind) -> bool:
        publication = self._session.publications.get(source)
        return publication is None or publication.muted

    def look(self) -> None:
        self._watch.look()

    def attempt(self, kind: Kind, device: str, done: Callable[[bool], None]) -> None:
        """On a thread that nobody waits for: a driver may keep it for ever."""
        loop = self._session.loop
        what = "video" if kind == "camera" else "audio"
        threading.Thread(target=lambda: _on_loop(loop, done, sources.opens(device, what)), name=f"{kind} attempt", daemon=True).start()


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *values: object) -> None:
    try:
        loop.call_soon_threadsafe(callback, *values)
    except RuntimeError:
        log.debug("the loop is gone")

"""An engine without media: does at once what it is told, says what a real one would, and lets a test say more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from vidconf.engine import api


class FakeEngine:
    """`api.Engine`. `sent` holds every command; `say` emits an event; `missing` names sources that have no device."""

    def __init__(self) -> None:
        self.sent: list[api.Command] = []
        self.open: dict[str, api.OpenSource] = {}
        self.waiting: dict[str, api.OpenSource] = {}
        """Sources whose device is away: opened again when it is back, as muted as they are then."""
        self.missing: dict[str, str] = {}
        self.joined: api.Join | None = None
        self.join_works = True
        self.started = False
        self._queue: asyncio.Queue[api.EngineEvent | None] = asyncio.Queue()

    async def start(self) -> None:
        self.started = True

    async def close(self) -> None:
        self._queue.put_nowait(None)

    async def events(self) -> AsyncIterator[api.EngineEvent]:
        while (event := await self._queue.get()) is not None:
            yield event

    def say(self, *events: api.EngineEvent) -> None:
        for event in events:
            self._queue.put_nowait(event)

    def of(self, kind: type) -> list[api.Command]:
        """The commands of one kind so far."""
        return [command for command in self.sent if isinstance(command, kind)]

    def live(self, source: str) -> bool:
        """Whether the source is open and not muted."""
        return source in self.open and not self.open[source].muted

    def send(self, command: api.Command) -> None:
        self.sent.append(command)
        match command:
            case api.Join():
                self.joined = command
                self.say(api.StateChanged("connecting"))
                self.say(api.StateChanged("connected") if self.join_works else api.StateChanged("closed", "unreachable"))
            case api.Leave():
                self.waiting.clear()
                for source in list(self.open):
                    self._close(source)
                if self.joined is not None:
                    self.say(api.StateChanged("closed", "left"))
                self.joined = None
            case api.OpenSource(source=source):
                if source in self.missing:
                    self.say(api.SourceChanged(source, "off", command.device, self.missing[source]))
                    return
                if source in self.waiting:
                    self.waiting[source] = command
                    self._say_waiting(source)
                    return
                self.open[source] = command
                self._say_source(source)
            case api.MuteSource(source=source, muted=muted) if source in self.waiting:
                self.waiting[source] = replace(self.waiting[source], muted=muted)
                self._say_waiting(source)
            case api.MuteSource(source=source, muted=muted) if source in self.open:
                held = self.open[source]
                self.open[source] = api.OpenSource(source, held.device, muted)
                self._say_source(source)
            case api.CloseSource(source=source):
                if self.waiting.pop(source, None) is not None:
                    self.say(api.SourceChanged(source, "off"))
                self._close(source)
            case api.ListDevices():
                self.say(api.Devices((api.Device("cam", "Camera"),), (api.Device("mic", "Micro"),), (api.Device("spk", "Loa"),)))

    def _say_source(self, source: str) -> None:
        held = self.open[source]
        self.say(api.SourceChanged(held.source, "muted" if held.muted else "on", held.device))

    def _close(self, source: str) -> None:
        held = self.open.pop(source, None)
        if held is not None:
            self.say(api.SourceChanged(held.source, "off", held.device))

    def pull_out(self, source: str) -> None:
        """Its device, the only one."""
        if source in self.open:
            self.waiting[source] = self.open.pop(source)
            self._say_waiting(source)

    def plug_in(self, source: str) -> None:
        if source in self.waiting:
            self.open[source] = self.waiting.pop(source)
            self._say_source(source)

    def _say_waiting(self, source: str) -> None:
        held = self.waiting[source]
        self.say(api.SourceChanged(held.source, "off", held.device, "device_lost", waits=True))

    def moderator_mutes(self, source: str = "microphone") -> None:
        """The SFU muted us; the engine has obeyed."""
        held = self.open[source]
        self.open[source] = api.OpenSource(held.source, held.device, True)
        self.say(api.MutedByServer(held.source))
        self._say_source(source)

    def crash(self) -> None:
        """The process died and was started again with the same sources, as `EngineHost` does."""
        was_joined, self.joined = self.joined is not None, None
        self.say(api.StateChanged("closed", "engine_crashed"))
        for source in self.open:
            self._say_source(source)
        for source in self.waiting:
            self._say_waiting(source)
        if was_joined:
            self.say(api.TokenNeeded())

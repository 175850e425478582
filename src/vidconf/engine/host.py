"""The window's side of the engine's process: starts it, talks to it, starts it again. Standard library only, loop's thread.

A one-time secret, given on stdin, guards the socket. After a crash the reader gets `StateChanged("closed", "engine_crashed")`,
a new process is started with the same sources, mute and volumes, and, if a session was on, `TokenNeeded`: the window asks the
server for `media` and joins again. A process that says nothing for a while counts as crashed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidconf.engine import api
from vidconf.engine.event_queue import EventQueue
from vidconf.engine.frame_ring import remove_leftover
from vidconf.starting import own_command

log = logging.getLogger("vidconf.engine")

START_TIMEOUT_S = 20.0
SILENT_S = 15.0
"""The engine reports every second; one that has said nothing for so long hangs."""
MAX_UNREAD = 4 << 20
RESTART_S = (0.0, 0.5, 1.0, 2.0, 5.0)
STABLE_S = 30.0
QUIT_S = 4.0


def engine_command() -> list[str]:
    """How this installation starts its engine."""
    return own_command("engine")


class EngineHost:
    """`api.Engine` in a process of its own."""

    def __init__(self, command: Sequence[str] | None = None, *, speaker: str = "default", logs: Mapping[str, Any] | None = None) -> None:
        """`logs`: where and how its process writes its log, as `vidconf engine` takes it; None: to stderr alone."""
        self._command = list(command or engine_command())
        self._speaker, self._logs = speaker, dict(logs or {})
        self._queue = EventQueue()
        self._keeper: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._closing = False
        self._wanted: dict[str, api.OpenSource] = {}
        self._volumes: dict[str | None, api.SetVolume] = {}
        self._select: api.SelectSpeaker | None = None
        self._voice: api.SetVoice | None = None
        self._network: api.SetNetwork | None = None
        self._limits: api.SetLimits | None = None
        self._watching_devices = False
        self._previews: dict[str, api.WatchTrack] = {}
        self._tracks: set[str] = set()
        self._rings: dict[str, str] = {}
        self._in_session = False
        self._early: list[api.Command] = []
        """Commands before the process is there; bounded."""
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Of the present process."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Begin to start the process; does not wait for it."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="engine host")

    def send(self, command: api.Command) -> None:
        if self._closing:
            return
        self._remember(command)
        if self._writer is None:
            if len(self._early) < 1000 and not isinstance(command, (api.OpenSource, api.CloseSource, api.MuteSource, api.SelectSpeaker, api.SetVoice, api.SetNetwork, api.SetLimits)):
                self._early.append(command)
            return
        self._write(command)

    def events(self) -> AsyncIterator[api.EngineEvent]:
        return self._queue.each()

    async def close(self) -> None:
        """Ask it to end, then make it."""
        if self._closing:
            return
        self._closing = True
        if self._writer is not None:
            self._write(api.Quit())
        process = self._process
        if process is not None and self._writer is None:
            _kill(process)  # it has not come yet: nothing of it is open, and nobody can ask it
        elif process is not None:
            try:
                async with asyncio.timeout(QUIT_S):
                    await process.wait()
            except TimeoutError:
                _kill(process)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._queue.end()

    # ---- what must survive a crash
    def _remember(self, command: api.Command) -> None:
        match command:
            case api.OpenSource(source):
                self._wanted[source] = command
            case api.CloseSource(source):
                self._wanted.pop(source, None)
            case api.MuteSource(source, muted):
                if source in self._wanted:
                    self._wanted[source] = replace(self._wanted[source], muted=muted)
            case api.SetVolume(identity):
                self._volumes[identity] = command
            case api.SelectSpeaker():
                self._select = command
            case api.SetVoice():
                self._voice = command
            case api.SetNetwork():
                self._network = command
            case api.SetLimits():
                self._limits = command
            case api.ListDevices():
                self._watching_devices = True
            case api.WatchTrack(track) if track.startswith("local:"):
                self._previews[track] = command
            case api.Join():
                self._in_session = True
            case api.Leave():
                self._in_session = False
                self._wanted.clear()

    def _note(self, event: api.EngineEvent) -> None:
        """What the engine itself changed: a moderator's mute must survive a crash too."""
        match event:
            case api.MutedByServer(source):
                if source in self._wanted:
                    self._wanted[source] = replace(self._wanted[source], muted=True)
            case api.StateChanged("closed"):
                self._in_session = False
            case api.TrackAdded(track):
                self._tracks.add(track)
            case api.TrackRemoved(track):
                self._tracks.discard(track)
            case api.RingOpened(track, ring):
                self._rings[track] = ring
            case api.RingClosed(track):
                self._rings.pop(track, None)

    def _tell_crash(self) -> None:
        """Nothing of the dead process stays on the screen, or in shared memory."""
        for track, ring in self._rings.items():
            remove_leftover(ring)
            self._queue.put(api.RingClosed(track))
        for track in self._tracks:
            self._queue.put(api.TrackRemoved(track))
        self._rings, self._tracks = {}, set()
        self._queue.put(api.StateChanged("closed", "engine_crashed"))

    def _write(self, command: api.Command) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > MAX_UNREAD:
            log.error("the engine does not read: it is started again")
            if self._process is not None:
                _kill(self._process)
            return
        writer.write(api.encode(command))

    # ---- the process
    async def _keep(self) -> None:
        tries = 0
        while not self._closing:
            began = time.monotonic()
            was_on = self._in_session
            try:
                await self._live(again=self.starts > 0 and was_on)
            except (OSError, TimeoutError, ValueError) as error:
                log.error("the engine could not be started: %r", error)
            finally:
                self._writer = None
                await self._reap()
            if self._closing:
                return
            self._tell_crash()
            tries = 0 if time.monotonic() - began > STABLE_S else tries + 1
            await asyncio.sleep(RESTART_S[min(tries, len(RESTART_S) - 1)])

    async def _live(self, *, again: bool) -> None:
        """One process, from its start to its end."""
        self.starts += 1
        secret = secrets.token_urlsafe(32)
        folder = Path(tempfile.mkdtemp(prefix="vidconf-"))
        arrived: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.get_running_loop().create_future()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(5):
                    said = await reader.readline()
            except (TimeoutError, ValueError, ConnectionError):
                said = b""
            if hmac.compare_digest(said.strip(), secret.encode()) and not arrived.done():
                arrived.set_result((reader, writer))
            else:
                log.warning("someone without the secret knocked at the engine's socket")
                writer.close()

        if sys.platform == "win32":
            server = await asyncio.start_server(greet, "127.0.0.1", 0, limit=api.MAX_MESSAGE)
            where: dict[str, Any] = {"port": server.sockets[0].getsockname()[1]}
        else:
            server = await asyncio.start_unix_server(greet, str(folder / "engine"), limit=api.MAX_MESSAGE)
            where = {"path": str(folder / "engine")}
        try:
            self._process = await self._spawn({**where, "secret": secret, "speaker": self._speaker, "logs": self._logs})
            ended = asyncio.create_task(self._process.wait())
            either: set[asyncio.Future[Any]] = {arrived, ended}
            await asyncio.wait(either, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not arrived.done():
                raise OSError("it ended, or did not come to the socket")
            reader, writer = arrived.result()
        finally:
            server.close()
            shutil.rmtree(folder, ignore_errors=True)
        try:
            self._writer = writer
            self._replay(again=again)
            await self._read(reader)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _spawn(self, config: dict[str, Any]) -> asyncio.subprocess.Process:
        flags: dict[str, Any] = {"creationflags": 0x08000000} if sys.platform == "win32" else {}      # CREATE_NO_WINDOW
        # Few arenas: each of the engine's threads would keep freed pictures in one of its own.
        environment = {"MALLOC_ARENA_MAX": "2", **os.environ, "PYTHONUNBUFFERED": "1"}
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, **flags
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(config).encode() + b"\n")
        await process.stdin.drain()
        return process

    def _replay(self, *, again: bool) -> None:
        if self._select is not None:
            self._write(self._select)
        if self._voice is not None:
            self._write(self._voice)
        if self._network is not None:
            self._write(self._network)
        if self._limits is not None:
            self._write(self._limits)
        for preview in self._previews.values():
            self._write(preview)
        for opened in self._wanted.values():
            self._write(opened)
        for volume in self._volumes.values():
            self._write(volume)
        early, self._early = self._early, []
        if self._watching_devices and not any(isinstance(c, api.ListDevices) for c in early):
            self._write(api.ListDevices())
        for command in early:
            self._write(command)
        if again and not any(isinstance(c, api.Join) for c in early):
            self._queue.put(api.TokenNeeded())

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENT_S):
                    line = await reader.readline()
            except (ValueError, ConnectionError) as error:
                log.error("the engine's line cannot be read: %r", error)
                return
            except TimeoutError:
                log.error("the engine has been silent for %.0f s", SILENT_S)
                return
            if not line:
                return
            try:
                message = api.decode(line)
            except api.MessageError as error:
                log.warning("the engine said something that is no message: %s", error)
                continue
            if isinstance(message, api.EngineEvent):
                self._note(message)
                self._queue.put(message)

    async def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(1):
                await process.wait()
        except TimeoutError:
            _kill(process)
            await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()

"""The control WebSocket: hello, commands, pushes. One `Connection` a socket, on the loop's thread.

What is sent waits in a bounded queue; a connection that cannot keep up is dropped and resumes. Whatever a client sends ends
in an answer by code or in a closed connection that says why; nothing it sends can stop the room.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from aiohttp import WSMsgType, web

from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.protocol import frames
from vidconf.protocol.control import WireError, encode_meeting
from vidconf.server import tables
from vidconf.server.accounts import token_hash
from vidconf.server.config import Config
from vidconf.server.limits import Bucket, Buckets, FailureLimiter
from vidconf.server.media import Media
from vidconf.server.room import Room, RoomBroken, RoomClosed, Rooms
from vidconf.server.sfu import SfuError
from vidconf.server.storage import Storage

log = logging.getLogger("vidconf.control")

HELLO_S = 5.0
HEARTBEAT_S = 15.0
QUEUE_BYTES = 48 << 20
"""Waiting for one connection; a snapshot carries the whole chat."""
MALFORMED = 50
"""Broken frames (with a readable id) a connection may send in all."""
HELLOS_PER_S, HELLO_BURST = 0.5, 30
"""Connections of one seat: each costs a snapshot, and two events that everybody hears of."""
OUT_S = 10.0
"""How long who is out of the meeting keeps the socket, to hear why."""

RESTART, PROTOCOL, REPLACED, NOT_VALID, SLOW, NO_HELLO = 1012, 4000, 4001, 4003, 4008, 4010
"""Close codes; see docs/control-protocol.md."""


class Control:
    """All control connections of this process."""

    def __init__(self, config: Config, storage: Storage, rooms: Rooms, media: Media, failures: FailureLimiter) -> None:
        self.config, self.storage, self.rooms, self.media, self.failures = config, storage, rooms, media, failures
        self.connections: set[Connection] = set()
        self.hellos = Buckets(HELLOS_PER_S, HELLO_BURST)
        self.counts: Counter[str] = Counter()
        self.draining = False
        self._tasks: set[asyncio.Task[None]] = set()

    def origin_allowed(self, request: web.Request) -> bool:
        """Native clients send no Origin; a page must be ours or named in the config."""
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        if origin in self.config.allowed_origins or (self.config.public_url and origin == self.config.public_url.rstrip("/")):
            return True
        try:
            return urlsplit(origin).netloc == request.host
        except ValueError:
            return False

    async def handle(self, request: web.Request, address: str) -> web.StreamResponse:
        if not self.origin_allowed(request):
            self.counts["origin_refused"] += 1
            return web.json_response({"error": "origin_not_allowed", "detail": {}}, status=403)
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=self.config.limits.message_bytes, compress=False, timeout=2)
        if not socket.can_prepare(request):
            return web.json_response({"error": "websocket_wanted", "detail": {}}, status=426, headers={"Upgrade": "websocket"})
        await socket.prepare(request)
        connection = Connection(self, socket, address, request.transport)
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)
        return socket

    async def seat(self, token: str) -> tuple[str, str] | None:
        """(meeting, participant) of a session token; None when it is none, or when its account was disabled."""
        j, p, a = tables.joins.c, tables.participants.c, tables.accounts.c
        whose = tables.joins.outerjoin(tables.participants, (p.meeting == j.meeting) & (p.id == j.participant)).outerjoin(
            tables.accounts, a.id == p.account
        )
        row = await self.storage.row(sa.select(j.meeting, j.participant, a.disabled).select_from(whose).where(j.token_hash == token_hash(token)))
        return None if row is None or row.disabled else (row.meeting, row.participant)

    def cut(self, room: Room, participant: str) -> None:
        """End the participant's connection, after what it was told."""
        watcher = room.watchers.get(participant)
        if isinstance(watcher, Connection):
            watcher.end(NOT_VALID, "not in the meeting")

    def error_ref(self, what: str, error: BaseException | None = None) -> str:
        ref = secrets.token_hex(4)
        if error is None:
            log.info("%s (ref %s)", what, ref)
        else:
            log.error("%s (ref %s)", what, ref, exc_info=error)
        return ref

    def spawn_disconnect(self, room: Room, participant: str, session: int) -> None:
        task = asyncio.create_task(self._disconnect(room.id, participant, session), name="disconnect")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _disconnect(self, meeting: str, participant: str, session: int) -> None:
        try:
            await self.rooms.ask(meeting, "server", m.Disconnect(participant, session))
        except RoomClosed:
            return  # stopping: the next process gives everybody a new lease
        except RoomBroken as error:
            self.error_ref("a disconnection was not recorded", error)

    async def drain(self) -> None:
        """Tell everybody, then close: they come back to the next process and resume."""
        self.draining = True
        if not self.connections:
            return
        for connection in list(self.connections):
            connection.push(frames.signal_frame("draining"))
        await asyncio.sleep(0.2)
        for connection in list(self.connections):
            connection.end(RESTART, "restart")


class Connection:
    """One socket; after hello one participant's. `participant` is what the room knows it by."""

    def __init__(self, control: Control, socket: web.WebSocketResponse, address: str, transport: asyncio.Transport | None) -> None:
        self.control, self._socket, self.address, self._transport = control, socket, address, transport
        self.participant = ""
        self.session = 0
        self.room: Room | None = None
        limits = control.config.limits
        now = time.monotonic()
        self._commands = Bucket(limits.commands_per_second, 3 * limits.commands_per_second, now)
        self._chat = Bucket(limits.chat_per_second, 5 * limits.chat_per_second, now)
        self._queue: deque[str] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._ending: tuple[int, str] | None = None
        self._malformed = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._leaving: asyncio.TimerHandle | None = None

    # ---- sending ----

    def push(self, text: str) -> None:
        """Queue a frame; drops the connection when it cannot keep up."""
        if self._ending is not None:
            return
        self._queue.append(text)
        self._queued_bytes += len(text)
        if len(self._queue) > self.control.config.limits.queue_frames or self._queued_bytes > QUEUE_BYTES:
            self.control.counts["dropped_slow"] += 1
            log.info("a connection could not keep up: dropped, it resumes")
            self._queue.clear()
            self.end(SLOW, "too slow")
            if self._transport is not None:  # a close frame would wait behind what the peer does not read
                asyncio.get_running_loop().call_later(1.0, self._transport.abort)
        self._wake.set()

    def push_events(self, encoded: Sequence[bytes]) -> None:
        self.push('{"events":[' + b",".join(encoded).decode() + "]}")
        self._mind_place()

    def push_snapshot(self, own_view: Meeting) -> None:
        self.push(frames.snapshot_frame(own_view))

    def end(self, code: int, why: str) -> None:
        """Close after what is queued was sent."""
        if self._ending is None:
            self._ending = (code, why)
            self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                while self._queue:
                    text = self._queue.popleft()
                    self._queued_bytes -= len(text)
                    await self._socket.send_str(text)
                if self._ending is not None:
                    await self._socket.close(code=self._ending[0], message=self._ending[1].encode())
                    return
                self._wake.clear()
                await self._wake.wait()
        except (ConnectionError, RuntimeError):
            return  # the reader sees the end of the socket, too

    # ---- life ----

    async def run(self) -> None:
        writer = asyncio.create_task(self._write(), name="control writer")
        try:
            if await self._greet():
                await self._read()
        finally:
            self._leave_room()
            if self._leaving is not None:
                self._leaving.cancel()
            self.end(1000, "bye")
            for task in self._tasks:
                task.cancel()
            try:
                async with asyncio.timeout(3):
                    await writer
            except TimeoutError:
                self.control.counts["closed_hard"] += 1

    async def _greet(self) -> bool:
        control = self.control
        wait_s = control.failures.wait_s("hello", self.address, time.monotonic())
        if wait_s:
            self.end(PROTOCOL, f"too many failures, wait {wait_s:.0f} s")
            return False
        try:
            text = await self._receive(HELLO_S)
        except TimeoutError:
            control.counts["no_hello"] += 1
            self.end(NO_HELLO, "no hello")
            return False
        if text is None:
            return False
        try:
            hello = frames.parse_client_frame(text, control.config.limits.message_bytes)
        except WireError as error:
            self._failed_hello(error.id, "malformed", f"hello: {error.code} {error.detail}")
            return False
        if not isinstance(hello, frames.Hello):
            self._failed_hello(hello.id, "malformed", "the first frame is no hello")
            return False
        if hello.protocol != frames.PROTOCOL:
            self._failed_hello(hello.id, "protocol_version", f"protocol {hello.protocol}")
            return False
        if control.draining:
            self.push(frames.error(hello.id, "draining", control.error_ref("hello while draining")))
            self.end(RESTART, "restart")
            return False
        seat = await control.seat(hello.token)
        room = None if seat is None else await control.rooms.get(seat[0])
        if seat is None or room is None:
            self._failed_hello(hello.id, "bad_token", "hello with an unknown session token")
            return False
        if not control.hellos.take(seat, time.monotonic()):
            control.counts["hello_too_often"] += 1
            self.end(SLOW, "too many connections")
            return False
        return await self._enter(room, seat[1], hello)

    def _failed_hello(self, id_: int | None, code: str, what: str) -> None:
        control = self.control
        control.counts[f"hello_{code}"] += 1
        control.failures.failed("hello", self.address, time.monotonic())
        if id_ is not None:
            self.push(frames.error(id_, code, control.error_ref(what)))
        self.end(NOT_VALID if code == "bad_token" else PROTOCOL, code)

    async def _enter(self, room: Room, participant: str, hello: frames.Hello) -> bool:
        """Connect, and in the same moment start to watch: no event lies between the answer and the first push."""

        def entered() -> None:
            self.participant, self.room = participant, room
            self.session = room.state.participants[participant].session
            before = room.watchers.get(participant)
            room.watchers[participant] = self
            if isinstance(before, Connection):
                before.push(frames.signal_frame("replaced"))
                before.end(REPLACED, "replaced")
            missed = None if hello.resume_from is None else room.missed(participant, hello.resume_from)
            snapshot = encode_meeting(room.view(participant)) if missed is None else None
            body = {
                "seq": room.state.seq, "snapshot": snapshot, "participant": participant, "meeting": room.id,
                "presence_s": self.control.config.presence_s,
            }  # fmt: skip
            self.push(frames.ok(hello.id, body))
            if missed:
                self.push_events(missed)
            self._mind_place()  # put out by what was decided together with this

        for _ in range(3):
            try:
                answer = await room.ask("server", m.Connect(participant), then=entered)
                break
            except RoomClosed:
                again = await self.control.rooms.get(room.id)
                if again is None:
                    return False
                room = again
        else:
            return False
        if isinstance(answer, m.Refusal):
            refusal = self._why_out(room, participant, answer)
            self.push(frames.refused(hello.id, refusal))
            self.end(NOT_VALID, refusal.code)
            return False
        log.debug("meeting %s: a control connection is up", room.id)
        return True

    @staticmethod
    def _why_out(room: Room, participant: str, refusal: m.Refusal) -> m.Refusal:
        """`not_in_meeting` says little; where the participant stands says why."""
        p = room.state.participants.get(participant)
        if refusal.code != "not_in_meeting" or p is None:
            return refusal
        return m.Refusal(refusal.code, {**refusal.detail, "place": "banned" if p.banned else p.place})

    def _leave_room(self) -> None:
        room = self.room
        if room is None or room.watchers.get(self.participant) is not self:
            return
        del room.watchers[self.participant]
        if self.control.draining or room.closed:
            return  # the next process will see who comes back
        self.control.spawn_disconnect(room, self.participant, self.session)

    def _mind_place(self) -> None:
        """Close a little after the participant is out of the meeting: it has heard why by then."""
        p = self.room.state.participants.get(self.participant) if self.room is not None else None
        out = p is None or p.place not in ("lobby", "admitted")
        if out and self._leaving is None:
            self._leaving = asyncio.get_running_loop().call_later(OUT_S, self.end, NOT_VALID, "not in the meeting")
        elif not out and self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    # ---- receiving ----

    async def _receive(self, timeout_s: float | None = None) -> str | None:
        """The next text frame; None when the connection ends. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            return str(message.data)
        if message.type is WSMsgType.BINARY:
            self.control.counts["binary_frames"] += 1
            self.end(PROTOCOL, "text frames only")
        elif message.type is WSMsgType.ERROR:
            self.control.counts["broken_sockets"] += 1
        return None

    async def _read(self) -> None:
        limit = self.control.config.limits.message_bytes
        while (text := await self._receive()) is not None:
            try:
                frame = frames.parse_client_frame(text, limit)
            except WireError as error:
                if not self._broken(error):
                    return
                continue
            if isinstance(frame, frames.Hello):
                self.push(frames.error(frame.id, "malformed", self.control.error_ref("a second hello")))
                continue
            self._command(frame)

    def _broken(self, error: WireError) -> bool:
        """Answers a frame that is none of ours; whether the connection may go on."""
        counts = self.control.counts
        counts[error.code] += 1
        self._malformed += 1
        if error.id is None or self._malformed > MALFORMED:
            self.end(PROTOCOL, error.code)
            return False
        if not self._commands.take(time.monotonic()):
            self.push(frames.error(error.id, "too_many_requests"))
        elif error.code == "unknown_command":
            self.push(frames.refused(error.id, error.refusal()))
        else:
            self.push(frames.error(error.id, error.code, self.control.error_ref(f"malformed command: {error.detail}")))
        return True

    def _command(self, request: frames.Request) -> None:
        room = self.room
        assert room is not None
        now = time.monotonic()
        chatty = isinstance(request.command, m.Chat | m.React)
        if not self._commands.take(now) or (chatty and not self._chat.take(now)):
            self.control.counts["too_many_requests"] += 1
            self.push(frames.error(request.id, "too_many_requests", self.control.error_ref("too many commands")))
            return
        self.control.counts["commands"] += 1
        try:
            asked = room.ask(self.participant, request.command)
        except RoomClosed:
            self.end(RESTART, "restart")
            return
        if isinstance(request.command, m.Media):
            task = asyncio.create_task(self._media(request, asked), name="media token")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            asked.add_done_callback(lambda done: self._answer(request, done))

    def _answer(self, request: frames.Request, done: asyncio.Future[tuple[m.Recorded, ...] | m.Refusal]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._failed(request, error)
            return
        result = done.result()
        if isinstance(result, m.Refusal):
            self.control.counts["refused"] += 1
            self.push(frames.refused(request.id, result))
            return
        if isinstance(request.command, m.React):
            self._react(request.command)
        self.push(frames.ok(request.id, {"seq": result[-1].seq} if result else {}))

    def _failed(self, request: frames.Request, error: BaseException) -> None:
        if isinstance(error, RoomClosed):
            self.end(RESTART, "restart")
            return
        code = "storage" if isinstance(error, RoomBroken) else "internal"
        self.push(frames.error(request.id, code, self.control.error_ref(f"{request.command.name} failed", error)))

    async def _media(self, request: frames.Request, asked: asyncio.Future[tuple[m.Recorded, ...] | m.Refusal]) -> None:
        assert self.room is not None
        try:
            result = await asked
            if isinstance(result, m.Refusal):
                self.push(frames.refused(request.id, result))
                return
            self.push(frames.ok(request.id, await self.control.media.grant(self.room, self.participant)))
        except SfuError as error:
            self.push(frames.error(request.id, "media_unavailable", self.control.error_ref(f"no media token: {error}")))
        except (RoomBroken, RoomClosed) as error:
            self._failed(request, error)

    def _react(self, command: m.React) -> None:
        """Passes to all in the room and is not kept."""
        assert self.room is not None
        text = frames.signal_frame("reaction", {"participant": self.participant, "emoji": command.emoji})
        for id_, watcher in list(self.room.watchers.items()):
            p = self.room.state.participants.get(id_)
            if p is not None and p.place == "admitted" and isinstance(watcher, Connection):
                watcher.push(text)

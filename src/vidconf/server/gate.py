"""The SFU's door, and the way through it to our own relay. The loop's thread.

The SFU revokes nothing: a token it renewed itself outlives a removal. So whoever wants to its signalling is asked here who
it is *now*: nginx asks `GET /api/v1/media/gate` for a LiveKit behind it; for the relay `serve` asks itself and then passes
`/rtc*` on, byte for byte. A signalling connection whose participant is put out is cut here too, at once.

Every join costs the SFU a negotiation, and everybody else in the room two messages: a participant that comes again and again is
let through as fast as an honest client reconnects, and no faster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import WSMsgType, web
from yarl import URL

from vidconf.meeting import messages as m
from vidconf.server.limits import Buckets
from vidconf.server.media import belongs
from vidconf.server.room import Room, Rooms, Step
from vidconf.server.sfu import Sfu, room_name, split_name

log = logging.getLogger("vidconf.gate")

MESSAGE_BYTES = 2 << 20
"""LiveKit's own limit for a signalling message."""
JOINS_PER_S, JOIN_BURST = 0.5, 10
"""Of one participant. Our client comes back after 0, 0.3, 0.7, 1.5, 3, 5, 5, … s, livekit-client no faster."""
_CORS = {"Access-Control-Allow-Origin": "*"}
_PASSED = ("User-Agent", "Accept-Language")


class Door:
    """Says who may go to the SFU, by the meeting's present state."""

    def __init__(self, rooms: Rooms, sfu: Sfu | None) -> None:
        self._rooms, self._sfu = rooms, sfu
        self._joins = Buckets(JOINS_PER_S, JOIN_BURST)
        self.passed = self.refused = self.slowed = 0

    async def ask(self, token: str) -> tuple[int, str, tuple[str, str] | None]:
        """(200 | 401 | 403, why, (meeting, participant))."""
        status, why, who = await self._ask(token)
        if status == 200:
            self.passed += 1
        else:
            self.refused += 1
        return status, why, who

    def wait_s(self, who: tuple[str, str]) -> int:
        """Counts a join of `who`, which `ask` let pass; 0 when it may begin, else whole seconds until the next one may."""
        wait_s = math.ceil(self._joins.take_or_wait(who, time.monotonic()))
        self.slowed += wait_s > 0
        return wait_s

    async def _ask(self, token: str) -> tuple[int, str, tuple[str, str] | None]:
        claims = self._sfu.verify(token) if self._sfu is not None else None
        if claims is None:
            return 401, "invalid token", None
        split = split_name(claims.room)
        room = await self._rooms.get(split[0]) if split is not None and len(split[0]) <= 32 else None
        if room is None or split is None:
            return 403, "no such meeting", None
        p = belongs(room.state, claims.identity)
        if p is None or claims.room != room_name(room.id, room.state.epoch):
            return 403, "not in the meeting", None
        return 200, "ok", (room.id, p.id)


def too_often(wait_s: int) -> web.Response:
    return web.Response(status=429, text="too many joins", headers={"Retry-After": str(wait_s), "Cache-Control": "no-store", **_CORS})


def token_of(request: web.Request) -> str:
    """The media token of a signalling request: a bearer, or `access_token` in the query (browsers)."""
    authorization = request.headers.get("Authorization", "")
    if authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return request.query.get("access_token", "")


def token_of_original(request: web.Request) -> str:
    """The same for `auth_request`: the original's headers come along, its query is in `X-Original-URI`."""
    token = token_of(request)
    if not token:
        with contextlib.suppress(ValueError):
            query = urlsplit(request.headers.get("X-Original-URI", "")[:32768]).query
            token = next(iter(parse_qs(query, max_num_fields=100).get("access_token", [])), "")
    return token


class Passage:
    """`/rtc*` of this server, passed on to the relay at `upstream` (`http://127.0.0.1:port`; empty while it starts)."""

    def __init__(self, door: Door, session: aiohttp.ClientSession, rooms: Rooms) -> None:
        self._door, self._session = door, session
        self.upstream = ""
        self._open: dict[tuple[str, str], set[web.WebSocketResponse]] = {}
        self._closing: set[asyncio.Task[object]] = set()
        rooms.listeners.append(self._on_steps)

    @property
    def connections(self) -> int:
        return sum(len(sockets) for sockets in self._open.values())

    def _on_steps(self, room: Room, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step.recorded.event, m.Removed | m.Left | m.SentToLobby | m.Denied):
                self._cut(room.id, step.recorded.event.participant)
            elif isinstance(step.recorded.event, m.Ended):
                for meeting, participant in list(self._open):
                    if meeting == room.id:
                        self._cut(meeting, participant)

    def _cut(self, meeting: str, participant: str) -> None:
        for socket in self._open.get((meeting, participant), ()):
            self._spawn(self._close_soon(socket))

    async def _close_soon(self, socket: web.WebSocketResponse) -> None:
        await asyncio.sleep(0.5)  # the SFU's own goodbye, which says why, should come first
        await socket.close(code=1000, message=b"not in the meeting")

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task: asyncio.Task[object] = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for sockets in list(self._open.values()):
            for socket in list(sockets):
                self._spawn(socket.close(code=1001, message=b"restart"))
        if self._closing:
            await asyncio.wait(self._closing, timeout=1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path not in ("/rtc", "/rtc/validate"):
            # v1 signalling is not spoken here; clients fall back to /rtc on exactly this answer, readable from a web page.
            return web.Response(status=404, text="not found", headers=_CORS)
        token = token_of(request)
        status, why, who = await self._door.ask(token)
        if status != 200 or who is None:
            return web.Response(status=status, text=why, headers=_CORS)
        if not self.upstream:
            return web.Response(status=503, text="media is starting", headers=_CORS)
        wait_s = self._door.wait_s(who)
        if wait_s:
            return too_often(wait_s)
        url = f"{self.upstream}{request.rel_url.raw_path}"
        if request.rel_url.raw_query_string:
            url += "?" + request.rel_url.raw_query_string
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        if "Authorization" in request.headers:
            headers["Authorization"] = request.headers["Authorization"]
        if path == "/rtc/validate":
            return await self._validate(url, headers)
        return await self._signalling(request, url, headers, token, who)

    async def _validate(self, url: str, headers: dict[str, str]) -> web.Response:
        try:
            async with self._session.get(URL(url, encoded=True), headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as answer:
                return web.Response(status=answer.status, body=await answer.read(), headers={"Content-Type": "text/plain", **_CORS})
        except (aiohttp.ClientError, TimeoutError, OSError):
            return web.Response(status=503, text="media is not up", headers=_CORS)

    async def _signalling(
        self, request: web.Request, url: str, headers: dict[str, str], token: str, who: tuple[str, str]
    ) -> web.StreamResponse:
        down = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES, compress=False, timeout=2)
        if not down.can_prepare(request):
            return web.Response(status=426, text="a WebSocket is wanted here", headers={"Upgrade": "websocket", **_CORS})
        try:
            up = await self._session.ws_connect(URL(url, encoded=True), headers=headers, max_msg_size=MESSAGE_BYTES, compress=0, autoclose=True)
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status if 400 <= error.status < 600 else 502, text="the SFU refused", headers=_CORS)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return web.Response(status=503, text="media is not up", headers=_CORS)
        sockets = self._open.setdefault(who, set())
        sockets.add(down)
        try:
            status, why, _ = await self._door.ask(token)  # put out while the relay answered
            if status != 200:
                return web.Response(status=status, text=why, headers=_CORS)
            await down.prepare(request)
            await _pump_both(down, up)
        finally:
            sockets.discard(down)
            if not sockets:
                self._open.pop(who, None)
            await up.close()
            if down.prepared and not down.closed:
                code = up.close_code if up.close_code in (1000, 1001, 1008, 1009, 1011, 1012) else 1001
                await down.close(code=code)
        return down


async def _pump_both(down: web.WebSocketResponse, up: aiohttp.ClientWebSocketResponse) -> None:
    """Until either side ends."""
    pumps = [asyncio.create_task(_pump(down, up)), asyncio.create_task(_pump(up, down))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: Socket, sink: Socket) -> None:
    while True:
        message = await source.receive()
        if message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
        else:
            return

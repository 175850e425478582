"""A participant's side of the control wire by hand: REST answers and frames as they come, so that a test can also send what no client would.

`Api` is one bearer's REST, `Seat` what a join gave, `Socket` one control connection. `view` is followed exactly as the protocol
says (`docs/control-protocol.md`): snapshots replace it, events go through `visibility.follow`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from vidconf.meeting.models import Meeting
from vidconf.meeting.visibility import follow
from vidconf.protocol import frames

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        """The code of a refusal or an error."""
        return str(self.body.get("refused") or self.body.get("error"))


class Api:
    """REST of one server with one bearer, or none."""

    def __init__(self, url: str, bearer: str = "", session: aiohttp.ClientSession | None = None) -> None:
        self.url, self.bearer = url.rstrip("/"), bearer
        self._own = session is None
        self.session = session or aiohttp.ClientSession()

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._own:
            await self.session.close()

    def with_bearer(self, bearer: str) -> Api:
        """The same server asked by another; closed with this one."""
        return Api(self.url, bearer, self.session)

    async def ask(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        sent = {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        timeout = aiohttp.ClientTimeout(total=20)
        async with self.session.request(method, self.url + path, data=data, headers={**sent, **(headers or {})}, timeout=timeout) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return Reply(answer.status, json.loads(text) if is_json else text, answer.headers)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.ask("POST", path, body, **options)

    async def join(self, code: str, name: str, **more: Any) -> Seat:
        reply = await self.post("/api/v1/join", {"code": code, "name": name, **more})
        assert reply.status == 200, reply
        return Seat(self, **{key: reply.body.get(key, "") for key in ("session_token", "meeting", "participant", "state", "badge")})

    async def command(self, meeting: str, do: str, **fields: Any) -> Reply:
        return await self.post(f"/api/v1/meetings/{meeting}/commands", {"do": do, **fields})

    async def state(self, meeting: str) -> dict[str, Any]:
        reply = await self.get(f"/api/v1/meetings/{meeting}")
        assert reply.status == 200, reply
        found: dict[str, Any] = reply.body
        return found


@dataclass(frozen=True, slots=True)
class Seat:
    api: Api
    session_token: str
    meeting: str
    participant: str
    state: str
    badge: str = ""

    async def connect(self, resume_from: int | None = None) -> Socket:
        """A control connection past its hello."""
        socket = await open_socket(self.api)
        answer = await socket.hello(self.session_token, resume_from=resume_from)
        assert "ok" in answer, answer
        return socket


async def open_socket(api: Api, *, headers: dict[str, str] | None = None, read: bool = True) -> Socket:
    url = api.url.replace("http", "ws", 1) + "/api/v1/control"
    socket = Socket(await api.session.ws_connect(url, headers=headers, max_msg_size=frames.SERVER_FRAME_LIMIT), api)
    if read:
        socket.start_reading()
    return socket


class Socket:
    """One control connection. `frames` keeps all that came; `closed` is the close code once it ended."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, api: Api) -> None:
        self.raw, self.api = socket, api
        self.frames: list[Frame] = []
        self.events: list[Frame] = []
        self.signals: list[Frame] = []
        self.snapshots = 0
        self.view: Meeting | None = None
        self.seen = 0
        """Seq of the last event or snapshot: what to resume from."""
        self.me = ""
        self.closed: int | None = None
        self._ids = itertools.count(1)
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start_reading(self) -> None:
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self.raw:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(json.loads(message.data), message.data)
                self._tell()
        finally:
            self.closed = self.raw.close_code or 1006
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _take(self, frame: Frame, text: str) -> None:
        self.frames.append(frame)
        parsed = frames.parse_server_frame(text)
        if isinstance(parsed, frames.Answer) and parsed.ok is not None and "snapshot" in parsed.ok:
            self.me = str(parsed.ok.get("participant", self.me))
            if parsed.ok["snapshot"] is not None:
                self._replace(frames.parse_server_frame(json.dumps({"snapshot": parsed.ok["snapshot"]})))
        elif isinstance(parsed, frames.Snapshot):
            self._replace(parsed)
        elif isinstance(parsed, frames.Events):
            for one, recorded in zip(frame["events"], parsed.events, strict=True):
                assert recorded.seq > self.seen, f"event {recorded.seq} after {self.seen}"
                self.seen = recorded.seq
                self.events.append(one)
                if self.view is not None:
                    self.view = follow(self.view, recorded, self.me)
        elif isinstance(parsed, frames.Signal):
            self.signals.append(frame)

    def _replace(self, snapshot: Any) -> None:
        assert isinstance(snapshot, frames.Snapshot)
        assert snapshot.meeting.seq >= self.seen
        self.view, self.seen = snapshot.meeting, snapshot.meeting.seq
        self.snapshots += 1

    # ---- sending ----

    async def say(self, frame: Frame) -> None:
        await self.raw.send_str(json.dumps(frame))

    async def hello(self, token: str, **fields: Any) -> Frame:
        await self.say({"id": 0, "do": "hello", "token": token, "protocol": 1, "client": "test/1", "resume_from": None, **fields})
        return await self.wait(lambda frame: frame.get("re") == 0)

    async def ask(self, do: str, **fields: Any) -> Frame:
        """One command; its answer."""
        id_ = next(self._ids)
        await self.say({"id": id_, "do": do, **fields})
        return await self.wait(lambda frame: frame.get("re") == id_)

    async def done(self, do: str, **fields: Any) -> Frame:
        answer = await self.ask(do, **fields)
        assert "ok" in answer, answer
        found: Frame = answer["ok"]
        return found

    # ---- waiting ----

    async def until(self, check: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """What `check()` gave once it was true; fails when it never is, or not before the connection ended."""
        async with asyncio.timeout(timeout_s):
            while not (found := check()):
                news = self._news
                if self.closed is not None:
                    raise AssertionError(f"closed with {self.closed}: {self.frames[-5:]}")
                await news.wait()
        return found

    async def wait(self, check: Callable[[Frame], bool], timeout_s: float = 10.0) -> Frame:
        found: Frame = await self.until(lambda: next((frame for frame in self.frames if check(frame)), None), timeout_s)
        return found

    async def event(self, ev: str, timeout_s: float = 10.0, **fields: Any) -> Frame:
        """The first event of that name with those fields."""

        def fits(one: Frame) -> bool:
            return one["ev"] == ev and all(one.get(key) == value for key, value in fields.items())

        found: Frame = await self.until(lambda: next((one for one in self.events if fits(one)), None), timeout_s)
        return found

    async def ended(self, timeout_s: float = 10.0) -> int:
        """The close code."""
        assert self._task is not None
        await asyncio.wait_for(asyncio.shield(self._task), timeout_s)
        assert self.closed is not None
        return self.closed

    async def close(self) -> None:
        await self.raw.close()
        if self._task is not None:
            await self._task

    async def cut(self) -> None:
        """The line breaks without a word."""
        transport = self.raw.get_extra_info("socket")
        assert transport is not None
        connection = self.raw._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()
        if self._task is not None:
            await self._task


async def until(check: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """What `check()` gave once it was true. For what no frame tells."""
    end = time.monotonic() + timeout_s
    while not (found := check()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:g} s")
        await asyncio.sleep(0.01)
    return found

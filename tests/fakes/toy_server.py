"""A server in the test's own loop: the real rules and the real wire over aiohttp, and faults on demand. No storage, no SFU.

For what a real server cannot be asked to do at the right moment: to lose an answer, to go away between two frames, to talk
nonsense. Everything else is tested against `vidconf serve` in tests/e2e.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.reducer import apply, start
from vidconf.meeting.rules import decide
from vidconf.meeting.visibility import missed, needs_snapshot, view, visible_to
from vidconf.protocol import frames
from vidconf.protocol.control import WireError, encode_meeting

CODE = "abcd-efgh-jkmn"


class ToyServer:
    """One meeting. `lose_answer_of`: names of commands that are carried out, and then the line is cut before the answer."""

    def __init__(self) -> None:
        self.state: Meeting = start("M1", CODE, "Giao ban")
        self.steps: list[tuple[Meeting, m.Recorded]] = []
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.seats: dict[str, str] = {}
        self.lose_answer_of: list[str] = []
        self.drop_before: list[str] = []
        """Names of commands with which the line is cut before they are looked at."""
        self.received: list[m.Command] = []
        self.hellos: list[frames.Hello] = []
        self.refuse_hello: str = ""
        self.hello_error: str = ""
        self.snapshots_only = False
        self.media_answer: dict[str, Any] | None = None
        self.answer_rest: Callable[[web.Request], web.StreamResponse] | None = None
        self.origin = ""
        self._people = 0
        self.login_tokens = 0
        self.good_refresh: set[str] = set()

    # ---- the meeting ----

    def do(self, actor: str, command: m.Command) -> tuple[m.Recorded, ...] | m.Refusal:
        """Decide, apply, and queue for who may see it."""
        decided = decide(self.state, actor, command, time.time())
        if isinstance(decided, m.Refusal):
            return decided
        recorded = []
        for event in decided:
            before = self.state
            one = m.Recorded(before.seq + 1, time.time(), actor, event)
            self.state = apply(before, one)
            self.steps.append((before, one))
            recorded.append(one)
            for viewer, socket in list(self.sockets.items()):
                seen = visible_to(before, one, viewer)
                if seen is not None:
                    self.send(socket, frames.events_frame([seen]))
                if needs_snapshot(before, one, viewer):
                    self.send(socket, frames.snapshot_frame(view(self.state, viewer)))
        return tuple(recorded)

    def send(self, socket: web.WebSocketResponse, text: str) -> None:
        task = asyncio.ensure_future(socket.send_str(text))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def seat(self, name: str, role: str = "delegate", straight_in: bool = False, participant: str = "") -> tuple[str, str]:
        """(participant, session token)"""
        self._people += 1
        who = participant or f"p{self._people}"
        self.do("server", m.Knock(who, name, role=role, straight_in=straight_in))  # type: ignore[arg-type]
        token = f"token-{self._people}"
        self.seats[token] = who
        return who, token

    async def cut(self, participant: str) -> None:
        """The line breaks without a word."""
        socket = self.sockets.pop(participant, None)
        if socket is not None and socket._req is not None and socket._req.transport is not None:
            socket._req.transport.abort()
        await asyncio.sleep(0)

    # ---- http ----

    async def control(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        hello = frames.parse_client_frame((await socket.receive()).data)
        assert isinstance(hello, frames.Hello)
        self.hellos.append(hello)
        who = self.seats.get(hello.token)
        if self.hello_error or who is None:
            await socket.send_str(frames.error(hello.id, self.hello_error or "bad_token", "ref1"))
            await socket.close(code=4003)
            return socket
        answer = self.do("server", m.Connect(who))
        if isinstance(answer, m.Refusal) or self.refuse_hello:
            place = self.state.participants[who].place
            code = self.refuse_hello or "not_in_meeting"
            await socket.send_str(frames.refused(hello.id, m.Refusal(code, {"place": place})))
            await socket.close(code=4003)
            return socket
        self.sockets[who] = socket
        since = None
        if hello.resume_from is not None and not self.snapshots_only:
            since = missed([step for step in self.steps if step[1].seq > hello.resume_from], who)
        body = {"seq": self.state.seq, "snapshot": encode_meeting(view(self.state, who)) if since is None else None, "participant": who}
        await socket.send_str(frames.ok(hello.id, body))
        if since:
            await socket.send_str(frames.events_frame(since))
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            try:
                frame = frames.parse_client_frame(message.data)
            except WireError as error:
                await socket.send_str(frames.error(error.id or 0, error.code))
                continue
            assert isinstance(frame, frames.Request)
            name = frame.command.name
            if name in self.drop_before:
                self.drop_before.remove(name)
                await self.cut(who)
                break
            self.received.append(frame.command)
            if name in self.lose_answer_of:
                self.lose_answer_of.remove(name)
                self.sockets.pop(who, None)
                self.do(who, frame.command)
                assert request.transport is not None
                request.transport.abort()
                break
            await self._answer(socket, who, frame)
        if self.sockets.get(who) is socket:
            del self.sockets[who]
        return socket

    async def _answer(self, socket: web.WebSocketResponse, who: str, frame: frames.Request) -> None:
        result = self.do(who, frame.command)
        if isinstance(result, m.Refusal):
            await socket.send_str(frames.refused(frame.id, result))
        elif isinstance(frame.command, m.Media):
            own = self.state.participants[who]
            url = self.origin.replace("http", "ws", 1)
            token = f"{who}.{own.session}@{self.state.epoch}"
            await socket.send_str(frames.ok(frame.id, self.media_answer or {"url": url, "token": token, "ice_servers": []}))
        else:
            if isinstance(frame.command, m.React):
                for other in self.sockets.values():
                    await other.send_str(frames.signal_frame("reaction", {"participant": who, "emoji": frame.command.emoji}))
            await socket.send_str(frames.ok(frame.id, {"seq": result[-1].seq} if result else {}))

    async def rest(self, request: web.Request) -> web.StreamResponse:
        if self.answer_rest is not None:
            return self.answer_rest(request)
        body = await request.json() if request.can_read_body else {}
        path = request.path.removeprefix("/api/v1/")
        match path.split("/"):
            case ["join"]:
                if body["code"] != CODE:
                    return web.json_response({"error": "no_such_meeting", "detail": {}}, status=404)
                chair = body.get("ticket") == "ticket"
                known = next((who for who, p in self.state.participants.items() if p.name == body["name"] and p.place == "left"), "")
                knock = decide(self.state, "server", m.Knock("px", body["name"]), time.time())
                if isinstance(knock, m.Refusal):
                    return web.json_response({"error": knock.code, "refused": knock.code, "detail": knock.detail}, status=403)
                who, token = self.seat(body["name"], "chair" if chair else "delegate", chair, known)
                place = self.state.participants[who].place
                return web.json_response(
                    {"session_token": token, "meeting": "M1", "participant": who, "state": place, "title": self.state.title,
                     "badge": body.get("badge") or f"badge-of-{who}-0123456789"}
                )  # fmt: skip
            case ["meetings", "by-code", code, "chair"]:
                if body.get("secret") != "s" * 20:
                    return web.json_response({"error": "bad_chair_link", "detail": {}}, status=403)
                return web.json_response({"ticket": "ticket", "expires_in": 60})
            case ["meetings", "by-code", code]:
                if code != CODE:
                    return web.json_response({"error": "no_such_meeting", "detail": {}}, status=404)
                return web.json_response({"code": code, "title": self.state.title, "start": None, "state": self.state.state, "lobby": True})
            case ["auth", "login"]:
                if body.get("password") != "đúng":
                    return web.json_response({"error": "wrong_password", "detail": {}}, status=401)
                return self._tokens()
            case ["auth", "refresh"]:
                if body.get("refresh_token") not in self.good_refresh:
                    return web.json_response({"error": "bad_refresh_token", "detail": {}}, status=401)
                self.good_refresh.discard(body["refresh_token"])
                return self._tokens()
            case ["auth", "logout"]:
                self.good_refresh.discard(body.get("refresh_token"))
                return web.json_response({})
            case ["meetings"] if request.method == "GET":
                meeting = {"id": "M1", "code": CODE, "title": self.state.title, "start": 1.0, "duration_s": 60, "state": "scheduled"}
                return web.json_response({"meetings": [{**meeting, "chair": True, "link": f"{self.origin}/m/{CODE}"}]})
            case ["meetings"]:
                link = f"{self.origin}/m/{CODE}"
                return web.json_response({"id": "M2", "code": CODE, "title": body["title"], "link": link, "chair_link": link + "#k=x"})
        return web.json_response({"error": "not_found", "detail": {}}, status=404)

    def _tokens(self) -> web.Response:
        self.login_tokens += 1
        refresh = f"refresh-{self.login_tokens}"
        self.good_refresh.add(refresh)
        account = {"id": "a1", "name": "Trần Thị Bình", "role": "organiser"}
        return web.json_response(
            {"access_token": f"access-{self.login_tokens}", "expires_in": 900, "refresh_token": refresh, "account": account}
        )


@asynccontextmanager
async def toy_server() -> AsyncIterator[ToyServer]:
    """A `ToyServer` on a free port of 127.0.0.1; `origin` says which."""
    toy = ToyServer()
    app = web.Application()
    app.router.add_get("/api/v1/control", toy.control)
    app.router.add_route("*", "/{rest:.*}", toy.rest)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    toy.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield toy
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    """Wait until `condition()` is true; fails with its source line otherwise."""
    ends = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < ends, "it did not come true in time"
        await asyncio.sleep(0.005)

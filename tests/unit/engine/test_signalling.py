"""Signalling against servers that misbehave: every failure is a code, garbage is counted, nothing hangs."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from fakes.strangers import Proxy, tcp
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from vidconf.engine import signalling as module
from vidconf.engine.signalling import SignalError, Signalling, token_expiry, websocket_url

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JOIN = rtc.SignalResponse(join=rtc.JoinResponse(participant=models.ParticipantInfo(sid="PA_1", identity="me"), ping_interval=1, ping_timeout=3))


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_get("/prefix/rtc", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/prefix/"

    yield start
    for runner in runners:
        await runner.cleanup()


def socket_of(talk: Callable[[web.WebSocketResponse, web.Request], Awaitable[None]]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await talk(ws, request)
        return ws

    return handler


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "token_refused"), (403, "refused"), (404, "no_room"), (429, "server_busy"), (500, "server_busy"), (503, "server_busy"), (200, "malformed")],
)
async def test_statuses_are_codes(serve: Any, status: int, code: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="no")

    with pytest.raises(SignalError) as raised:
        await Signalling(lambda message: None).connect(await serve(handler), "t")
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [("2", 2), ("0", 0), ("86400", module.MAX_WAIT_S), ("9" * 400, module.MAX_WAIT_S), ("-5", 0), ("٣", 0), ("Fri, 27 Nov 2026 03:00:00 GMT", 0), ("", 0)],
)
async def test_a_server_may_ask_to_be_left_alone_for_a_while(serve: Any, said: str, wait_s: float) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": said})

    with pytest.raises(SignalError) as raised:
        await Signalling(lambda message: None).connect(await serve(handler), "t")
    assert (raised.value.code, raised.value.wait_s) == ("server_busy", wait_s)


async def test_nobody_there() -> None:
    with pytest.raises(SignalError) as raised:
        await Signalling(lambda message: None).connect("ws://127.0.0.1:9", "t")
    assert raised.value.code == "unreachable"


async def test_a_server_that_says_nothing(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_MESSAGE_TIMEOUT_S", 0.2)

    async def talk(ws: web.WebSocketResponse, request: web.Request) -> None:
        await asyncio.sleep(1)

    with pytest.raises(SignalError) as raised:
        await Signalling(lambda message: None).connect(await serve(socket_of(talk)), "t")
    assert raised.value.code == "timeout"


async def test_a_server_that_closes_or_talks_nonsense(serve: Any) -> None:
    async def close(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.close()

    async def nonsense(ws: web.WebSocketResponse, request: web.Request) -> None:
        for _ in range(300):
            await ws.send_bytes(b"\xff" * 20)
            await ws.send_str("{}")

    for talk, code in ((close, "server_busy"), (nonsense, "malformed")):
        with pytest.raises(SignalError) as raised:
            await Signalling(lambda message: None).connect(await serve(socket_of(talk)), "t")
        assert raised.value.code == code


async def test_join_garbage_and_what_follows(serve: Any) -> None:
    """Garbage is counted; a handler that fails costs its message; the token is in the header and nowhere else."""
    seen: dict[str, Any] = {}
    asked: list[rtc.SignalRequest] = []

    async def talk(ws: web.WebSocketResponse, request: web.Request) -> None:
        seen["authorization"], seen["query"] = request.headers["Authorization"], dict(request.query)
        await ws.send_bytes(JOIN.SerializeToString())
        for junk in (b"\xff\xff\xff", b"", os.urandom(400)):
            await ws.send_bytes(junk)
        await ws.send_str("hello")
        await ws.send_bytes(rtc.SignalResponse(refresh_token="boom").SerializeToString())
        await ws.send_bytes(rtc.SignalResponse(refresh_token="new").SerializeToString())
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                asked.append(rtc.SignalRequest.FromString(message.data))

    heard: list[str] = []

    def on_message(message: rtc.SignalResponse) -> None:
        if message.refresh_token == "boom":
            raise RuntimeError("a handler that fails")
        if message.HasField("refresh_token"):
            heard.append(message.refresh_token)

    wire = Signalling(on_message)
    join = await wire.connect(await serve(socket_of(talk)), "secret-token", adaptive_stream=False)
    assert join.participant.identity == "me"
    for _ in range(1500):
        if heard and any(a.HasField("ping_req") for a in asked):
            break
        await asyncio.sleep(0.01)
    assert heard == ["new"]
    assert wire.malformed >= 3
    assert seen["authorization"] == "Bearer secret-token"
    assert "secret-token" not in json.dumps(seen["query"])
    assert (seen["query"]["protocol"], seen["query"]["auto_subscribe"], seen["query"]["adaptive_stream"]) == ("17", "1", "0")
    assert not wire.lost.is_set()
    await wire.close(rtc.SignalRequest(leave=rtc.LeaveRequest()))
    for _ in range(1500):
        if asked[-1].HasField("leave"):
            break
        await asyncio.sleep(0.01)
    assert asked[-1].HasField("leave")
    assert wire.lost.is_set()


async def test_a_dead_server_is_noticed_by_its_silence(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_bytes(JOIN.SerializeToString())
        await asyncio.sleep(30)

    wire = Signalling(lambda message: None)
    await wire.connect(await serve(socket_of(talk)), "t")
    await asyncio.wait_for(wire.lost.wait(), 20)
    assert wire.reason == "no answer to pings"
    await wire.close()


async def test_a_flood_of_requests_ends_in_a_loss_not_in_memory(serve: Any) -> None:
    async def talk(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_bytes(JOIN.SerializeToString())
        await asyncio.sleep(30)

    wire = Signalling(lambda message: None)
    await wire.connect(await serve(socket_of(talk)), "t")
    for _ in range(module.MAX_QUEUED + 1):
        wire.send(rtc.SignalRequest(ping=1))
    assert wire.reason == "too slow"
    await wire.close()
    await wire.close()


@given(st.text(max_size=80))
def test_any_address_is_a_websocket_or_bad(text: str) -> None:
    try:
        address = websocket_url(text, auto_subscribe=True, adaptive_stream=True)
    except SignalError:
        return
    assert address.startswith(("ws://", "wss://"))


def test_addresses() -> None:
    made = websocket_url("https://host:8443/media/", auto_subscribe=True, adaptive_stream=True)
    assert made.startswith("wss://host:8443/media/rtc?")
    for bad in ("", "ftp://h", "ws://", "https://user:pw@h", "wss://h/?x=1", "wss://h:port", "javascript:x", "ws://[::"):
        with pytest.raises(SignalError):
            websocket_url(bad, auto_subscribe=True, adaptive_stream=True)


@given(st.text(max_size=60) | st.builds(lambda b: "a." + base64.urlsafe_b64encode(b).decode() + ".c", st.binary(max_size=60)))
def test_any_token_has_an_end_or_none(text: str) -> None:
    assert token_expiry(text) is None or isinstance(token_expiry(text), float)


def test_the_end_of_a_token() -> None:
    body = base64.urlsafe_b64encode(json.dumps({"exp": 1234}).encode()).decode().rstrip("=")
    assert token_expiry(f"x.{body}.z") == 1234.0


async def test_the_agency_s_proxy_is_gone_through_but_not_to_this_very_machine(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_bytes(JOIN.SerializeToString())
        await ws.receive()

    proxy = Proxy(9, "403 Forbidden")
    async with tcp(proxy.talk) as port:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        signalling = Signalling(lambda message: None)
        with pytest.raises(SignalError):
            await signalling.connect("wss://meet.example.invalid", "a.b.c")
        assert proxy.asked == ["CONNECT meet.example.invalid:443 HTTP/1.1"]
        here = Signalling(lambda message: None)
        assert (await here.connect(await serve(socket_of(talk)), "a.b.c")).participant.identity == "me"
        await here.close()
        assert len(proxy.asked) == 1

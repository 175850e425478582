"""The signalling side of an impaired way: a WebSocket proxy that names the path's ports where the server named its own.

    async with Doorway(sfu_url, path) as doorway: client joins doorway.url

LiveKit's protobuf is read only as far as candidates go: in JoinResponse, offer, answer and trickle. The server's UDP candidates
become the path's, its TCP ones and any STUN or TURN server are left out, and so are the client's own candidates on their way to
the server, which then knows the client by the path's socket alone (peer reflexive): no packet finds a way around. Loop's thread.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from aiohttp import web
from google.protobuf import json_format
from livekit.protocol import rtc

from bench.network.path import UdpPath

PASSED_HEADERS = ("Authorization", "User-Agent", "Origin")
MAX_MESSAGE = 4 << 20


class Doorway:
    """`url` is what the client joins instead of the server's; `repairs` and `kinds` say what the server's offers told of SSRCs."""

    def __init__(self, sfu_url: str, path: UdpPath) -> None:
        self._sfu = sfu_url.replace("ws", "http", 1).rstrip("/")
        self._path = path
        self.url = ""
        self.repairs: dict[int, int] = {}
        """RTX SSRC -> the SSRC it repairs."""
        self.kinds: dict[int, str] = {}
        """SSRC -> audio or video."""
        self.rewritten = 0
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Doorway:
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_route("*", "/{way:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._session.close()
        await self._runner.cleanup()

    # ---- what passes
    async def _serve(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        where = self._sfu + request.path_qs
        headers = {name: request.headers[name] for name in PASSED_HEADERS if name in request.headers}
        if request.headers.get("Upgrade", "").lower() != "websocket":
            async with self._session.request(request.method, where, headers=headers, data=await request.read()) as answer:
                kept = {k: v for k, v in answer.headers.items() if k.lower().startswith("access-control-") or k.lower() == "content-type"}
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
        try:
            server = await self._session.ws_connect(where, headers=headers, max_msg_size=MAX_MESSAGE)
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status, text=error.message)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))
        client = web.WebSocketResponse(max_msg_size=MAX_MESSAGE)
        await client.prepare(request)
        both = [asyncio.create_task(self._pass(server, client, self.from_server)), asyncio.create_task(self._pass(client, server, from_client))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            await server.close()
            await client.close()
        return client

    async def _pass(self, source: Any, target: Any, change: Any) -> None:
        async for frame in source:
            if frame.type is aiohttp.WSMsgType.BINARY:
                if changed := change(frame.data):
                    await target.send_bytes(changed)
            elif frame.type is aiohttp.WSMsgType.TEXT:
                message = rtc.SignalResponse if change == self.from_server else rtc.SignalRequest
                read = json_format.Parse(frame.data, message(), ignore_unknown_fields=True)
                if changed := change(read.SerializeToString()):
                    await target.send_str(json_format.MessageToJson(message.FromString(changed)))

    def from_server(self, data: bytes) -> bytes | None:
        """A SignalResponse with the path's addresses in it; None when it tells of nothing else than an address not to be used."""
        message = rtc.SignalResponse.FromString(data)
        match message.WhichOneof("message"):
            case "join":
                del message.join.ice_servers[:]
            case "reconnect":
                del message.reconnect.ice_servers[:]
            case "offer":
                self._note(message.offer.sdp)
                message.offer.sdp = self._sdp(message.offer.sdp)
            case "answer":
                message.answer.sdp = self._sdp(message.answer.sdp)
            case "trickle":
                candidate = json.loads(message.trickle.candidateInit)
                line = self._candidate(candidate.get("candidate", ""))
                if not line:
                    return None
                message.trickle.candidateInit = json.dumps({**candidate, "candidate": line})
            case _:
                return data
        return message.SerializeToString()

    def _sdp(self, text: str) -> str:
        lines: list[str] = []
        for line in text.splitlines():
            if line.startswith("a=candidate:"):
                line = "a=" + self._candidate(line[2:])
                if line == "a=" or line in lines:
                    continue
            lines.append(line)
        return "\r\n".join(lines) + "\r\n"

    def _candidate(self, line: str) -> str:
        """`candidate:… udp … host port typ host …` with the path's host and port; "" for what may not be used."""
        words = line.split(" ")
        if len(words) < 8 or words[2].lower() != "udp" or ":" in words[4]:
            return ""
        self.rewritten += 1
        words[4], words[5] = (str(part) for part in self._path.address(words[4], int(words[5])))
        return " ".join(words)

    def _note(self, offer: str) -> None:
        kind = ""
        for line in offer.splitlines():
            if line.startswith("m="):
                kind = line[2:].split(" ")[0]
            elif line.startswith("a=ssrc-group:FID "):
                original, repair = (int(word) for word in line.split(" ")[1:3])
                self.repairs[repair] = original
            elif line.startswith("a=ssrc:"):
                self.kinds[int(line[7:].split(" ")[0])] = kind


def from_client(data: bytes) -> bytes | None:
    """A SignalRequest without the client's own candidates; None when it has nothing else."""
    message = rtc.SignalRequest.FromString(data)
    match message.WhichOneof("message"):
        case "offer":
            message.offer.sdp = _without_candidates(message.offer.sdp)
        case "answer":
            message.answer.sdp = _without_candidates(message.answer.sdp)
        case "trickle":
            return None
        case _:
            return data
    return message.SerializeToString()


def _without_candidates(text: str) -> str:
    return "\r\n".join(line for line in text.splitlines() if not line.startswith("a=candidate:")) + "\r\n"

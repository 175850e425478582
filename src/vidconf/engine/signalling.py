"""LiveKit's signalling, version 0: one WebSocket of protobuf messages. No media, no state of a room.

Loop's thread only. One object is one connection; a lost one is replaced, never revived. What the server sends is handed to
`on_message` one by one; what cannot be read is counted and dropped. The token travels in the header, never in the URL (URLs
are logged). Source: livekit-server 1.13 `pkg/service/rtcservice.go`, livekit-protocol.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import re
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
from google.protobuf.message import DecodeError
from livekit.protocol import rtc

from vidconf import __version__
from vidconf.network.http import open_session
from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.protocol.livekit import MAX_TOKEN_BYTES, PROTOCOL

log = logging.getLogger("vidconf.signalling")

MAX_MESSAGE = 2 << 20
"""The server's own limit, bytes."""
CONNECT_TIMEOUT_S = 15.0
"""The server may try three nodes (3, 4, 5 s) before it answers the upgrade."""
FIRST_MESSAGE_TIMEOUT_S = 8.0
MAX_QUEUED = 512
"""Requests waiting for a wire that does not take them; more and the connection counts as lost."""
MAX_WAIT_S = 30.0
"""A server cannot send anybody away for longer than this."""
MAX_MALFORMED = 100
"""A server that says only nonsense is none."""

_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_STATUS_CODES = {401: "token_refused", 403: "refused", 404: "no_room", 429: "server_busy", 500: "server_busy", 502: "server_busy",
                 503: "server_busy", 504: "server_busy"}


class SignalError(Exception):
    """Signalling could not be reached. Codes: `bad_url`, `unreachable`, `timeout`, `untrusted_certificate`, `token_refused`
    (401), `refused` (403, the door), `no_room` (404), `server_busy` (429, 5xx), `malformed` (it does not speak LiveKit); of a
    connection also `no_turn` (media may only go by TURN, and nobody names a server for it).
    `wait_s`: how long the server wants to be left alone, 0 when it did not say."""

    def __init__(self, code: str, detail: str = "", wait_s: float = 0.0) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code, self.detail, self.wait_s = code, detail, wait_s


def websocket_url(url: str, *, auto_subscribe: bool, adaptive_stream: bool) -> str:
    """`https://host/prefix` -> `wss://host/prefix/rtc?…`. Raises SignalError("bad_url")."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SignalError("bad_url", str(error)) from error
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme.lower())
    if scheme is None or not host or parts.username or parts.query or parts.fragment:
        raise SignalError("bad_url", "not a ws(s) or http(s) address")
    query = urlencode({
        "protocol": PROTOCOL,
        "client_protocol": 0,
        "sdk": "python",
        "version": __version__,
        "auto_subscribe": int(auto_subscribe),
        "adaptive_stream": int(adaptive_stream),
    })
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/rtc", query, ""))


def plausible_token(token: str) -> bool:
    """Whether it looks like a JWT at all: a server's nonsense must not take the place of a token that works."""
    return len(token) <= MAX_TOKEN_BYTES and _TOKEN.fullmatch(token) is not None


def token_expiry(token: str) -> float | None:
    """The `exp` of a JWT, Unix seconds; unverified, only to know whether trying it makes sense. None when there is none."""
    try:
        body = token.split(".")[1]
        expiry = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"]
        return float(expiry)
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        return None


class Signalling:
    """`connect`, then `send` as you like; `lost` is set with `reason` when the connection is no more."""

    def __init__(self, on_message: Callable[[rtc.SignalResponse], None]) -> None:
        self._on_message = on_message
        self.lost = asyncio.Event()
        self.reason = ""
        self.malformed = 0
        self.rtt_s = 0.05
        """Round trip of the last ping, seconds."""
        self._http: aiohttp.ClientSession | None = None
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._out: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED)
        self._tasks: list[asyncio.Task[None]] = []
        self._heard_at = 0.0

    async def connect(
        self, url: str, token: str, *, auto_subscribe: bool = True, adaptive_stream: bool = True, connect_s: float = CONNECT_TIMEOUT_S,
        network: NetworkOptions = DEFAULTS,
    ) -> rtc.JoinResponse:  # fmt: skip
        """Open the WebSocket and take the join response. `connect_s`: for TCP and TLS, of the whole. Raises SignalError."""
        address = websocket_url(url, auto_subscribe=auto_subscribe, adaptive_stream=adaptive_stream)
        self._http = open_session(network, address, force_close=True, timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._ws = await self._http.ws_connect(
                    # not by its wss:// name: under that aiohttp finds no proxy that a system or an agency sets for https
                    address.replace("ws", "http", 1),
                    headers={"Authorization": f"Bearer {token}"},
                    max_msg_size=MAX_MESSAGE,
                    compress=0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
            async with asyncio.timeout(FIRST_MESSAGE_TIMEOUT_S):
                join = await self._first_message(self._ws)
        except BaseException as error:
            await self.close()
            if isinstance(error, SignalError) or not isinstance(error, Exception):
                raise
            raise _explained(error) from error
        self._heard_at = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._read(self._ws), name="signalling reads"),
            asyncio.create_task(self._write(self._ws), name="signalling writes"),
            asyncio.create_task(self._ping(max(1, join.ping_interval or 5), max(3, join.ping_timeout or 15)), name="signalling pings"),
        ]
        return join

    def send(self, request: rtc.SignalRequest) -> None:
        """Queue one request; never blocks. After the loss it goes nowhere."""
        if self.lost.is_set():
            return
        try:
            self._out.put_nowait(request.SerializeToString())
        except asyncio.QueueFull:
            self._lose("too slow")

    async def close(self, farewell: rtc.SignalRequest | None = None) -> None:
        """End it; with `farewell` after the server has been told. Never raises, safe to call twice."""
        ws, http, self._ws, self._http = self._ws, self._http, None, None
        if ws is not None and farewell is not None and not ws.closed:
            try:
                async with asyncio.timeout(1):
                    await ws.send_bytes(farewell.SerializeToString())
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                log.debug("the farewell did not arrive: %r", error)
        self._lose("closed")
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        if ws is not None:
            try:
                async with asyncio.timeout(2):
                    await ws.close()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                log.debug("the WebSocket did not close cleanly: %r", error)
        if http is not None:
            await http.close()

    def local_address(self) -> str:
        """The address of ours that the connection is spoken from, "" without one."""
        ws = self._ws
        name = ws.get_extra_info("sockname") if ws is not None and not ws.closed else None
        return str(name[0]) if isinstance(name, tuple) else ""

    # ---- inside
    def _lose(self, reason: str) -> None:
        if not self.lost.is_set():
            self.reason = reason
            self.lost.set()

    async def _first_message(self, ws: aiohttp.ClientWebSocketResponse) -> rtc.JoinResponse:
        while True:
            message = await ws.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                response = self._parsed(message.data)
                if response is not None and response.HasField("join"):
                    return response.join
                if response is not None and response.HasField("leave"):
                    raise SignalError("refused", f"the server sent leave, reason {response.leave.reason}")
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR):
                raise SignalError("malformed" if self.malformed else "server_busy", "closed before joining")
            else:
                self._count_malformed()

    def _parsed(self, data: bytes) -> rtc.SignalResponse | None:
        try:
            return rtc.SignalResponse.FromString(data)
        except DecodeError:
            self._count_malformed()
            return None

    def _count_malformed(self) -> None:
        self.malformed += 1
        if self.malformed > MAX_MALFORMED:
            raise SignalError("malformed", "the server does not speak LiveKit's protocol")

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        reason = "closed by the server"
        try:
            async for message in ws:
                self._heard_at = time.monotonic()
                if message.type is not aiohttp.WSMsgType.BINARY:
                    self._count_malformed()
                    continue
                response = self._parsed(message.data)
                if response is None:
                    continue
                if response.HasField("pong_resp"):
                    self._note_pong(response.pong_resp.last_ping_timestamp)
                try:
                    self._on_message(response)
                except Exception:       # one message that its reader cannot take must not end the session
                    self._count_malformed()
                    log.exception("a signalling message could not be handled (%s)", response.WhichOneof("message"))
        except SignalError as error:
            reason = error.code
        except (aiohttp.ClientError, OSError) as error:
            reason = type(error).__name__
        finally:
            self._lose(reason)

    async def _write(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        try:
            while True:
                await ws.send_bytes(await self._out.get())
        except (aiohttp.ClientError, OSError) as error:
            self._lose(type(error).__name__)

    async def _ping(self, interval_s: float, timeout_s: float) -> None:
        while not self.lost.is_set():
            await asyncio.sleep(interval_s)
            if time.monotonic() - self._heard_at > timeout_s:
                self._lose("no answer to pings")
                return
            now_ms = int(time.time() * 1000)
            self.send(rtc.SignalRequest(ping=now_ms))
            self.send(rtc.SignalRequest(ping_req=rtc.Ping(timestamp=now_ms, rtt=int(self.rtt_s * 1000))))

    def _note_pong(self, sent_ms: int) -> None:
        rtt_s = time.time() - sent_ms / 1000
        if 0 <= rtt_s < 5:
            self.rtt_s = rtt_s


def retry_after_s(said: str) -> float:
    """A `Retry-After` in seconds, at most `MAX_WAIT_S`; 0 for none, for a date, and for what is no number."""
    return min(float(said), MAX_WAIT_S) if said.isascii() and said.isdigit() else 0.0


def _explained(error: Exception) -> SignalError:
    if isinstance(error, aiohttp.WSServerHandshakeError):
        wait_s = retry_after_s(error.headers.get("Retry-After", "") if error.headers else "")
        return SignalError(_STATUS_CODES.get(error.status, "malformed"), f"HTTP {error.status}", wait_s)
    if isinstance(error, TimeoutError):
        return SignalError("timeout", "no answer")
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)):
        return SignalError("untrusted_certificate", str(error))
    if isinstance(error, (aiohttp.ClientError, OSError, ValueError)):
        return SignalError("unreachable", str(error) or type(error).__name__)
    log.error("signalling failed in an unknown way", exc_info=error)
    return SignalError("unreachable", repr(error))

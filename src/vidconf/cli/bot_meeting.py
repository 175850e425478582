"""A bot's way into a meeting: REST join and the control WebSocket, no more than a headless participant needs. Loop's thread.

The window uses `client.connection`; a bot keeps no state of the meeting and so lives without the client's store.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from vidconf import __version__
from vidconf.network.http import open_session
from vidconf.network.options import DEFAULTS, NetworkOptions

log = logging.getLogger("vidconf.bot")

ANSWER_TIMEOUT_S = 15.0
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
GIVE_UP_S = 60.0
MAX_FRAME = 4 << 20
FINAL_CLOSE_CODES = {4000, 4001, 4003}


class MeetingError(Exception):
    """`code` of the server's refusal or error, or `unreachable`, `bad_link`."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code


def parse_link(link: str) -> tuple[str, str, str]:
    """(origin, code, chair secret or "") of `https://host/m/<code>[#k=<secret>]`. Raises MeetingError("bad_link")."""
    try:
        parts = urlsplit(link.strip())
        loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError as error:
        raise MeetingError("bad_link", str(error)) from error
    path = parts.path.strip("/").split("/")
    scheme = "https" if parts.scheme == "vidconf" else parts.scheme
    if scheme not in ("http", "https") or (scheme == "http" and not loopback) or len(path) < 2 or path[-2] != "m" or not parts.hostname:
        raise MeetingError("bad_link", "not https://host/m/<code>")
    return f"{scheme}://{parts.netloc}", path[-1], parse_qs(parts.fragment).get("k", [""])[0]


class MeetingSeat:
    """A seat in one meeting. `join`, `events`, `ask`, `close`."""

    def __init__(self, link: str, network: NetworkOptions = DEFAULTS) -> None:
        self.origin, self._code, self._secret = parse_link(link)
        self._network = network
        self._http: aiohttp.ClientSession | None = None
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._token = ""
        self.participant = ""
        self.state = ""
        self._seq: int | None = None
        self._next_id = 1
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._closing = False

    async def join(self, *, name: str, kind: str = "person", unit: str = "", position: str = "") -> None:
        """Take the seat (lobby or room). Raises MeetingError."""
        self._http = open_session(self._network, self.origin)
        body = {"code": self._code, "name": name, "kind": kind, "unit": unit, "position": position}
        if self._secret:
            ticket = await self._post(f"/api/v1/meetings/by-code/{self._code}/chair", {"secret": self._secret})
            body["ticket"] = str(ticket.get("ticket", ""))
        answer = await self._post("/api/v1/join", {k: v for k, v in body.items() if v})
        try:
            self._token, self.participant, self.state = answer["session_token"], answer["participant"], answer["state"]
        except (KeyError, TypeError) as error:
            raise MeetingError("malformed", f"join without {error}") from error

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert self._http is not None
        try:
            async with self._http.post(self.origin + path, json=body, timeout=aiohttp.ClientTimeout(ANSWER_TIMEOUT_S)) as response:
                answer = await response.json(content_type=None)
                if response.status >= 400:
                    raise MeetingError(str(answer.get("error", response.status)), json.dumps(answer.get("detail", {}), ensure_ascii=False))
                if not isinstance(answer, dict):
                    raise MeetingError("malformed", "not an object")
                return answer
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError) as error:
            raise MeetingError("unreachable", repr(error)) from error

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Events and signals as they come (`{"ev": …}`, `{"signal": …}`, `{"snapshot": …}`), over losses of the connection.
        Ends when the seat is lost for good. Raises MeetingError when the server does not let us back."""
        assert self._http is not None
        tries, lost_at = 0, 0.0
        loop = asyncio.get_running_loop()
        while not self._closing:
            try:
                async for item in self._connection():
                    tries = 0
                    yield item
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.info("control is lost: %r", error)
            if self._closing or (self._ws is not None and self._ws.close_code in FINAL_CLOSE_CODES):
                return
            lost_at = lost_at if tries else loop.time()
            if tries and loop.time() - lost_at > GIVE_UP_S:
                raise MeetingError("unreachable", "the server does not come back")
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1

    async def _connection(self) -> AsyncIterator[dict[str, Any]]:
        assert self._http is not None
        url = self.origin + "/api/v1/control"  # not by its wss:// name: for that aiohttp finds no proxy
        async with self._http.ws_connect(url, max_msg_size=MAX_FRAME, heartbeat=20) as ws:
            self._ws = ws
            hello = {"id": 0, "do": "hello", "token": self._token, "protocol": 1, "client": f"vidconf-bot/{__version__}"}
            await ws.send_json({**hello, "resume_from": self._seq})
            try:
                async for message in ws:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        continue
                    for item in self._read(message.data):
                        yield item
            finally:
                for future in self._answers.values():
                    future.cancel()
                self._answers.clear()

    def _read(self, text: str) -> list[dict[str, Any]]:
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            return []
        if not isinstance(frame, dict):
            return []
        if frame.get("re") == 0:
            if "ok" not in frame:
                raise MeetingError(str(frame.get("refused") or frame.get("error")))
            self._seq = frame["ok"].get("seq", self._seq)
            return [{"snapshot": frame["ok"]["snapshot"]}] if frame["ok"].get("snapshot") else []
        if "re" in frame:
            future = self._answers.pop(frame["re"], None)
            if future is not None and not future.done():
                future.set_result(frame)
            return []
        if "snapshot" in frame:
            self._seq = frame.get("seq", self._seq)
            return [{"snapshot": frame["snapshot"]}]
        if "signal" in frame:
            return [frame]
        events = [e for e in frame.get("events", ()) if isinstance(e, dict)]
        if events:
            self._seq = events[-1].get("seq", self._seq)
        return events

    async def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """One command and its answer. Raises MeetingError for a refusal, an error, no connection."""
        if self._ws is None or self._ws.closed:
            raise MeetingError("unreachable", "no control connection")
        number, self._next_id = self._next_id, self._next_id + 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        try:
            await self._ws.send_json({"id": number, "do": do, **fields})
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                frame = await future
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise MeetingError("unreachable", repr(error)) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # not we are ended: the connection let the answer go
                raise MeetingError("unreachable", "the control connection is lost") from None
            raise
        finally:
            self._answers.pop(number, None)
        if "ok" not in frame:
            raise MeetingError(str(frame.get("refused") or frame.get("error")))
        answer = frame["ok"]
        return answer if isinstance(answer, dict) else {}

    async def leave(self) -> None:
        """Say goodbye, where there is a connection to say it on; at most 2 s. `events` must still be read."""
        self._closing = True
        if self._ws is not None and not self._ws.closed:
            with contextlib.suppress(MeetingError, TimeoutError):
                async with asyncio.timeout(2):
                    await self.ask("leave")

    async def close(self) -> None:
        """Give everything back."""
        self._closing = True
        if self._ws is not None:
            await self._ws.close()
        if self._http is not None:
            await self._http.close()

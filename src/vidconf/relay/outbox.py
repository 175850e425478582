"""What waits to be said to one client. Loop's thread. Saying never waits; a client that does not listen is cut off."""

from __future__ import annotations

import asyncio

from aiohttp import web
from google.protobuf import json_format
from livekit.protocol import rtc

from vidconf.relay import limits
from vidconf.relay.counters import Counters
from vidconf.relay.tasks import end

CLOSE_S = 2.0


class Outbox:
    """The writing half of a signalling WebSocket. `as_json` follows the form in which the client last spoke."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport | None, counters: Counters) -> None:
        self._ws, self._transport, self._counters = ws, transport, counters
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._write(), name="signalling out")
        self.as_json = False
        self.closing = False

    def put(self, message: bytes) -> None:
        """A serialised SignalResponse."""
        if self.closing:
            return
        if self._waiting.qsize() >= limits.OUTBOX:
            self._counters.slow_clients += 1
            self.closing = True
            self._task.cancel()
            return
        self._waiting.put_nowait(message)

    async def _write(self) -> None:
        try:
            while (message := await self._waiting.get()) is not None:
                if self.as_json:
                    await self._ws.send_str(json_format.MessageToJson(rtc.SignalResponse.FromString(message), indent=None))
                else:
                    await self._ws.send_bytes(message)
        except ConnectionError:
            self.closing = True
        except asyncio.CancelledError:
            # Too slow: the reader sees the connection end; the client comes back and is told to join anew.
            if self._transport is not None and not self._ws.closed:
                self._transport.abort()
            raise

    def finish(self) -> None:
        """Nothing more after what is waiting; then the socket closes with 1000."""
        if not self.closing:
            self.closing = True
            self._waiting.put_nowait(None)

    async def finished(self) -> None:
        """Wait (a little) until what was to be said is said, and close."""
        self.finish()
        await asyncio.wait([self._task], timeout=CLOSE_S)
        await end(self._task)
        if not self._ws.closed:
            await self._ws.close(code=1000)

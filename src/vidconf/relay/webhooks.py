"""Webhooks to whoever rules the relay: signed, tried again, told apart by `id`, never awaited. The loop's thread.

As LiveKit's (livekit-protocol.md §5.2): in order as long as the receiver answers, dropped when too many wait; the receiver
treats them as a prompt to look, never as the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Sequence

import aiohttp
from google.protobuf import json_format
from livekit.protocol import models, webhook

from vidconf.protocol.livekit import Grants, body_digest, make_token
from vidconf.relay.counters import Counters
from vidconf.relay.tasks import end

log = logging.getLogger("vidconf.relay")

WAITING = 1000
RETRY_S = (0.2, 1.0, 3.0)
TIMEOUT_S = 5.0
TOKEN_S = 300.0


class Webhooks:
    """`put` and forget."""

    def __init__(self, urls: Sequence[str], key: str, secret: str, counters: Counters) -> None:
        self._urls, self._key, self._secret, self._counters = tuple(urls), key, secret, counters
        self._queue: asyncio.Queue[webhook.WebhookEvent] = asyncio.Queue(WAITING)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._urls:
            self._task = asyncio.create_task(self._send_all(), name="webhooks")

    def put(
        self, event: str, room: models.Room, participant: models.ParticipantInfo | None = None, track: models.TrackInfo | None = None
    ) -> None:
        if not self._urls:
            return
        message = webhook.WebhookEvent(
            event=event, room=room, participant=participant, track=track, id=f"EV_{uuid.uuid4().hex}", created_at=int(time.time())
        )
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self._counters.webhooks_dropped += 1

    async def _send_all(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            while True:
                message = await self._queue.get()
                for url in self._urls:
                    await self._send(session, url, message)
                self._queue.task_done()

    async def _send(self, session: aiohttp.ClientSession, url: str, message: webhook.WebhookEvent) -> None:
        body = json_format.MessageToJson(message, indent=None).encode()
        for wait_s in (0.0, *RETRY_S):
            await asyncio.sleep(wait_s)
            token = make_token(self._key, self._secret, "", Grants(), TOKEN_S, sha256=body_digest(body))
            headers = {"Content-Type": "application/webhook+json", "Authorization": token}
            try:
                async with session.post(url, data=body, headers=headers) as answer:
                    if answer.status < 500:
                        return
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.debug("webhook %s: %s", message.event, type(error).__name__)
        self._counters.webhooks_dropped += 1

    async def close(self) -> None:
        """Give what waits a moment to go out."""
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._queue.join()
            await end(self._task)

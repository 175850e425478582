"""What was typed into the chat and is not yet known to be in the meeting. Nothing typed is lost, nothing is said twice.

The loop's thread. Messages wait in `ClientState.unsent_chat` and go one after the other; each carries a random key, by which
the server takes a repetition once, and by which we know our own when it comes back among the events.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from vidconf.client import changes as c
from vidconf.client.connection import AskError, Refused
from vidconf.client.state import PendingChat
from vidconf.client.store import Store
from vidconf.meeting import messages as m

log = logging.getLogger("vidconf.chat")

SOON_S = 0.1
"""After an answer that was lost: the line is down, or just back."""
SLOW_DOWN_S = 1.0
TRY_AGAIN_S = 3.0


class Outbox:
    """`typed`, then `flush` whenever control is up."""

    def __init__(self, store: Store, ask: Callable[[m.Command], Awaitable[dict[str, Any]]]) -> None:
        self._store, self._ask = store, ask
        self._task: asyncio.Task[None] | None = None

    def typed(self, text: str, to: str | None = None) -> None:
        """Take a message; blank ones are dropped."""
        if not text.strip():
            return
        self._store.dispatch(c.ChatTyped(PendingChat(secrets.token_urlsafe(12), text, to, time.time())))
        self.flush()

    def again(self, key: str) -> None:
        """Try a refused message once more."""
        self._store.dispatch(c.ChatRefused(key, ""))
        self.flush()

    def give_up(self, key: str) -> None:
        self._store.dispatch(c.ChatSettled(key))

    def flush(self) -> None:
        """Send what waits, as long as control is up."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send(), name="chat outbox")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send(self) -> None:
        while (message := self._next()) is not None and self._store.state.control == "connected":
            try:
                await self._ask(m.Chat(message.text, message.to, message.key))
            except Refused as refused:
                self._store.dispatch(c.ChatRefused(message.key, refused.refusal.code))
                self._store.dispatch(c.Told("warn", refused.refusal.code, refused.refusal.detail, time.time(), "refusal"))
            except AskError as error:
                log.info("a message waits: %s", error.code)
                if error.code == "malformed":
                    self._store.dispatch(c.ChatRefused(message.key, "malformed"))
                elif error.code not in ("not_connected", "answer_lost", "closed"):
                    await asyncio.sleep(SLOW_DOWN_S if error.code == "too_many_requests" else TRY_AGAIN_S)
                else:
                    await asyncio.sleep(SOON_S)
            else:
                self._store.dispatch(c.ChatSettled(message.key))

    def _next(self) -> PendingChat | None:
        if self._store.state.phase != "meeting" or "chat" in self._store.state.closed:
            return None
        return next((message for message in self._store.state.unsent_chat if not message.error), None)

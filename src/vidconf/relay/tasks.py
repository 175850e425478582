"""Tasks that nobody awaits, kept alive and listened to; and their ending. Loop's thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("vidconf.relay")
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Run `work` by itself; what it raises is logged, a dead peer's ConnectionError is not."""
    task = asyncio.create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_done)
    return task


def _done(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, ConnectionError):
        log.error("%s failed", task.get_name(), exc_info=error)


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait for it; nothing it raises comes out of here. Not for the task itself."""
    if task is None or task is asyncio.current_task():
        return
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, ConnectionError):
        log.error("%s failed", task.get_name(), exc_info=error)


async def end_all() -> None:
    """At the end of the process."""
    for task in list(_running):
        await end(task)

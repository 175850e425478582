"""Between asyncio and Qt; the only file that knows qasync. The loop's thread is the window's thread.

`make_loop` drives both; `ActionTasks` turns what a user does into tasks that are held until they end. What a coroutine raises becomes
a log entry and a notice, never a dead button.

qasync's traps, kept out here: no `exec()` of a dialog or menu inside the loop (it starves every other task), the last window's
closing does not stop the loop (`setQuitOnLastWindowClosed(False)`), and a task nobody holds may vanish half-way.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

import qasync
from PySide6.QtWidgets import QApplication

from vidconf.client.changes import Told
from vidconf.client.store import Store
from vidconf.gui.garbage import Collector

log = logging.getLogger("vidconf.window")


class _Loop(qasync.QEventLoop):  # type: ignore[misc]
    """Until it is closed nothing is collected on another thread."""

    def __init__(self, app: QApplication) -> None:
        super().__init__(app)
        self._collector: Collector | None = Collector()

    def close(self) -> None:
        if self._collector is not None:
            self._collector.stop()
            self._collector = None
        super().close()


def make_loop(app: QApplication) -> asyncio.AbstractEventLoop:
    """An asyncio loop that also runs Qt's; made the current one."""
    app.setQuitOnLastWindowClosed(False)
    loop: asyncio.AbstractEventLoop = _Loop(app)
    asyncio.set_event_loop(loop)
    return loop


class ActionTasks:
    """The client's actions for the window: the same names; coroutines run as tasks, errors become notices."""

    def __init__(self, actions: Any, store: Store) -> None:
        self._actions, self._store = actions, store
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        action = getattr(self._actions, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            if self._closed:
                return None
            try:
                result = action(*args, **kwargs)
            except Exception:
                self._failed(name)
                return None
            if inspect.iscoroutine(result):
                self._start(name, result)
                return None
            return result

        run.__name__ = name
        return run

    def _start(self, name: str, work: Any) -> None:
        task = asyncio.ensure_future(work)
        task.set_name(f"action {name}")
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        log.error("%s failed", task.get_name(), exc_info=task.exception())
        self._tell()

    def _failed(self, name: str) -> None:
        log.exception("action %s failed", name)
        self._tell()

    def _tell(self) -> None:
        if not self._closed:
            self._store.dispatch(Told("error", "internal", {}, time.time()))

    async def close(self) -> None:
        """Take no more; give up what is still running."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

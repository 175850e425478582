"""Where cycles end: on the window's thread, whoever makes the one object too many."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from fakes.toy_server import until
from PySide6.QtWidgets import QApplication

from vidconf.gui.bridge import make_loop

Run = Callable[[Callable[..., Coroutine[Any, Any, None]]], None]


class Cycle:
    def __init__(self, ended: list[int]) -> None:
        self.me, self.ended = self, ended

    def __del__(self) -> None:
        self.ended.append(threading.get_ident())


def many_objects() -> list[list[int]]:
    return [[n] for n in range(gc.get_threshold()[0] * 20)]


def test_a_cycle_ends_on_the_windows_thread(run: Run) -> None:
    ended: list[int] = []

    async def work() -> None:
        for _ in range(4):
            Cycle(ended)
            kept = await asyncio.to_thread(many_objects)
            await until(lambda: gc.get_count()[0] <= gc.get_threshold()[0])
            del kept

    run(work)
    gc.collect()
    assert ended == [threading.get_ident()] * 4


def test_python_collects_as_before_once_the_loop_is_closed(qapp: QApplication) -> None:
    gc.enable()
    try:
        loop = make_loop(qapp)
        assert not gc.isenabled()
        loop.close()
        assert gc.isenabled()
    finally:
        gc.disable()
        asyncio.set_event_loop(None)

"""Listing what can be shared while somebody chooses: one thread, as long as it is asked, so that the loop never waits for a desktop.

The desktop stays open meanwhile: X11 then keeps covered windows' pictures whole. Asked again while it looks, it looks once more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vidconf.engine import screen
from vidconf.engine.api import Screens, Thumbnail
from vidconf.engine.computer_sound import why_not
from vidconf.engine.desktop import Desktop
from vidconf.engine.sources import SourceError

log = logging.getLogger("vidconf.screen")

IDLE_S = 8.0
"""Nobody has asked for so long: the desktop is let go."""


class ScreenLister:
    """`look` and `close` on the loop's thread, never blocking; `tell` is called on the lister's."""

    def __init__(self, tell: Callable[[Screens | Thumbnail], None], idle_s: float = IDLE_S) -> None:
        self._tell, self._idle_s = tell, idle_s
        self._asked = threading.Condition()
        self._except_pid: int | None = None
        """What to look for next; None: nothing."""
        self._closed = False
        self._thread: threading.Thread | None = None

    def look(self, except_pid: int) -> None:
        """Answered by `Screens`, then a `Thumbnail` for each that has a picture."""
        with self._asked:
            if self._closed:
                return
            self._except_pid = except_pid
            self._asked.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="screen list", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Nothing is told any more."""
        with self._asked:
            self._closed = True
            self._asked.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for its thread, off the loop, after `close`."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _next(self) -> int | None:
        """What is asked; None when nobody has for a while: then the thread is over."""
        with self._asked:
            self._asked.wait_for(lambda: self._except_pid is not None or self._closed, self._idle_s)
            asked, self._except_pid = self._except_pid, None
            if asked is None or self._closed:
                self._thread = None if not self._closed else self._thread
                return None
            return asked

    def _run(self) -> None:
        desktop: Desktop | None = None
        try:
            while (except_pid := self._next()) is not None:
                try:
                    if desktop is None:
                        desktop = screen.open_desktop()
                    self._answer(desktop, except_pid)
                except SourceError as error:
                    self._say(Screens(trouble=error.code, sound=why_not()))
                except Exception as error:      # a desktop that breaks is opened anew with the next look
                    log.warning("the screens cannot be listed: %r", error)
                    self._say(Screens(trouble="no_display", sound=why_not()))
                    self._let_go(desktop)
                    desktop = None
        finally:
            self._let_go(desktop)

    def _answer(self, desktop: Desktop, except_pid: int) -> None:
        found = screen.listed(desktop, except_pid, why_not())
        self._say(found)
        for thumbnail in screen.thumbnails(desktop, found.shareable):
            if self._closed:
                return
            self._say(thumbnail)

    def _say(self, what: Screens | Thumbnail) -> None:
        if not self._closed:
            self._tell(what)

    @staticmethod
    def _let_go(desktop: Desktop | None) -> None:
        if desktop is not None:
            desktop.close()

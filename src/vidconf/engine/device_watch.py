"""Looks whether devices have come or gone, on a thread of its own, and tells `on_listed` there. Starts at the first `look`.

Linux: the sound server tells of its own (`pactl subscribe`), cameras and cards are looked at every second, which costs some
microseconds. Windows and macOS: all is listed every few seconds. A listing is made only when something may be new, and after a
moment of rest: one headset is several changes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from vidconf.engine import devices, pulse
from vidconf.engine.api import Devices

log = logging.getLogger("vidconf.devices")

LOOKS_S = 1.0 if sys.platform == "linux" else 3.0
RESTS_S, AT_MOST_S = 0.25, 1.0
"""It is listed when nothing has changed for so long, but not later than so long after the first change."""
SUBSCRIBES_S = 2.0
"""A sound server that ended, or was not there, is asked again so often."""
MAX_LINE = 1 << 16


class DeviceWatch:
    """`on_listed(devices, asked)`: when the list has changed, or was asked for. `look` and `stop` on any thread, never blocking."""

    def __init__(self, on_listed: Callable[[Devices, bool], None]) -> None:
        self._on_listed = on_listed
        self._known: Devices | None = None
        self._asked = self._ended = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._nudge: socket.socket | None = None
        self._told: subprocess.Popen[bytes] | None = None
        self._tell_again_at = 0.0
        self._rest = b""

    def start(self) -> None:
        """Look from now on, and tell of what there is."""
        with self._lock:
            if self._thread is None and not self._ended:
                near, self._nudge = socket.socketpair()
                near.setblocking(False)
                self._nudge.setblocking(False)
                self._thread = threading.Thread(target=self._run, args=(near,), name="device watch", daemon=True)
                self._thread.start()

    def look(self) -> None:
        """List now and tell, whether it has changed or not."""
        self._asked = True
        self.start()
        self._wake()

    def stop(self) -> None:
        """Asks the thread to end."""
        with self._lock:
            self._ended = True
        self._wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread after `stop`. Off the loop."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _wake(self) -> None:
        with self._lock, contextlib.suppress(OSError):      # full: it is awake
            if self._nudge is not None:
                self._nudge.send(b"x")

    # ---- thread
    def _run(self, near: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        selector.register(near, selectors.EVENT_READ)
        try:
            self._watch(selector, near)
        except Exception:
            log.exception("devices are not watched any more")
        finally:
            self._unsubscribe(selector)
            selector.close()
            near.close()
            with self._lock:
                if self._nudge is not None:
                    self._nudge.close()
                self._nudge = None

    def _watch(self, selector: selectors.BaseSelector, near: socket.socket) -> None:
        seen = None
        changed_at: float | None = time.monotonic() - RESTS_S      # the first listing is made at once
        last_change = 0.0
        while not self._ended:
            self._subscribe(selector)
            wait = LOOKS_S if changed_at is None else RESTS_S
            if not self._asked and self._news(selector, near, wait):
                last_change = time.monotonic()
                changed_at = changed_at or last_change
            if self._ended:
                return
            now, looks = time.monotonic(), devices.signature()
            if looks != seen or sys.platform != "linux":
                seen, changed_at = looks, changed_at or now
            rested = now - last_change >= RESTS_S
            if self._asked or (changed_at is not None and (rested or now - changed_at >= AT_MOST_S)):
                changed_at = None
                self._list()

    def _list(self) -> None:
        asked, self._asked = self._asked, False
        found = devices.listed()
        if (asked or found != self._known) and not self._ended:
            self._known = found
            self._on_listed(found, asked)

    def _news(self, selector: selectors.BaseSelector, near: socket.socket, wait_s: float) -> bool:
        """Whether something may have changed, after at most `wait_s`."""
        changed = False
        for key, _ in selector.select(wait_s):
            if key.fileobj is near:
                with contextlib.suppress(BlockingIOError):
                    near.recv(4096)
                continue
            lines = self._lines(selector)
            changed = changed or lines is None or pulse.means_change(lines)
        return changed

    def _lines(self, selector: selectors.BaseSelector) -> list[str] | None:
        """What the sound server tells; None when it has ended."""
        assert self._told is not None
        assert self._told.stdout is not None
        data = os.read(self._told.stdout.fileno(), MAX_LINE)
        if not data:
            self._unsubscribe(selector)
            return None
        *lines, self._rest = (self._rest + data)[-MAX_LINE:].split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def _subscribe(self, selector: selectors.BaseSelector) -> None:
        if self._told is not None or time.monotonic() < self._tell_again_at or not pulse.reachable():
            return
        self._told, self._rest = pulse.subscribe(), b""
        self._tell_again_at = time.monotonic() + SUBSCRIBES_S
        if self._told is not None and self._told.stdout is not None:
            selector.register(self._told.stdout, selectors.EVENT_READ)

    def _unsubscribe(self, selector: selectors.BaseSelector) -> None:
        told, self._told = self._told, None
        if told is None or told.stdout is None:
            return
        selector.unregister(told.stdout)
        told.kill()
        told.stdout.close()
        told.wait()

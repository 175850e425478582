"""What the server tells systemd, where that started it: ready, alive, about to stop. The loop's thread; standard library only.

Datagrams to the socket that `NOTIFY_SOCKET` names (sd_notify(3)); without one nothing is sent. `watch` runs on the server's own
loop, so a loop that hangs says nothing, and systemd (`WatchdogSec=`) starts the server again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger("vidconf.service")


class Service:
    def __init__(self, environment: Mapping[str, str] = os.environ, pid: int | None = None) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._every_s = 0.0
        told, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        if told.isascii() and told.isdigit() and whose in ("", str(pid or os.getpid())):
            self._every_s = int(told) / 1e6 / 3

    def say(self, *lines: str) -> None:
        """`READY=1`, `STOPPING=1`, `STATUS=…`. A socket that takes nothing is logged: it never stops the server."""
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("systemd was not told %s: %s", lines[0], error.strerror or error)

    async def watch(self) -> None:
        """Three signs of life in the time that systemd gives between two. Until cancelled, or at once over when none are asked for."""
        while self._every_s > 0:
            self.say("WATCHDOG=1")
            await asyncio.sleep(self._every_s)

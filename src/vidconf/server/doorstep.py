"""Hangs up on connections that no whole request comes by: a thousand silent ones must not use up what a process may open.

The loop's thread. `heard` is the application's outermost middleware; `watch` looks at who has said nothing for two looks.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from aiohttp import web

from vidconf.server.web import Handler

log = logging.getLogger("vidconf.http")

KEEPALIVE_S = 75.0
"""How long a connection may stay open between two requests."""


class Doorstep:
    def __init__(self) -> None:
        self.hung_up = 0
        self._heard: set[Any] = set()
        self._silent: set[Any] = set()

    @web.middleware
    async def heard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._heard.add(request.protocol)
        return await handler(request)

    async def watch(self, server: web.Server, first_request_s: float) -> None:
        """A connection's first request must be here within `first_request_s`, headers and all; at the earliest after half of it."""
        while True:
            await asyncio.sleep(first_request_s / 2)
            there = set(server.connections)
            self._heard &= there
            silent = there - self._heard
            for one in silent & self._silent:
                self.hung_up += 1
                one.force_close()
            self._silent = silent - self._silent


def allow_many_files() -> None:
    """As many open sockets as the system lets this process have; many give 1,024 unless asked, fewer than two large meetings need."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("no more than %d files may be open: %s", soft, error)

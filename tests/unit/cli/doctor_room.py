"""For the doctor's tests: a server with everything in order but for what a test changes, and what a look at it found."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from fakes import strangers
from fakes.strangers import says

from vidconf.cli.doctor_network import look
from vidconf.cli.findings import Finding
from vidconf.network.options import DEFAULTS, NetworkOptions

CODE = "kx7m-2pqa-9tdf"
Found = dict[str, Finding]


async def looked(origin: str, code: str = "", *, new: bool = False, options: NetworkOptions = DEFAULTS) -> Found:
    found: list[Finding] = []
    await look(found.append, origin, code, new=new, options=options)
    codes = [finding.code for finding in found if finding.code != "doctor.media.turn"]
    assert len(codes) == len(set(codes)), "one line a question"
    return {finding.code: finding for finding in found}


def result(found: Found, name: str) -> tuple[str, str] | None:
    finding = found.get(f"doctor.{name}")
    return None if finding is None else (finding.status, finding.result)


async def echo(request: web.Request) -> web.WebSocketResponse:
    """A control socket that nothing is said on."""
    socket_ = web.WebSocketResponse()
    await socket_.prepare(request)
    async for _ in socket_:
        pass
    return socket_


def where(**changes: Any) -> dict[str, Any]:
    return {"media": "relay", "up": True, "url": "", "udp": [], "ice_servers": [], "time": time.time(), **changes}


@asynccontextmanager
async def server(told: Callable[[int], dict[str, Any]] | None = None, **changes: Any) -> AsyncIterator[str]:
    """A server with everything in order but for what a test changes (`readyz`, `control`, `rtc`, `preview`, `healthz`: a route)."""
    port = 0

    def where_now() -> dict[str, Any]:
        return told(port) if told is not None else where(url=f"ws://127.0.0.1:{port}")

    preview = {"code": CODE, "title": "Bí mật", "start": None, "duration_s": 3600, "state": "scheduled", "lobby": True, "locked": False}
    routes = {
        "healthz": says("/healthz", "ok\n"),
        "readyz": says("/readyz", {"ready": True, "missing": []}),
        "where": says("/api/v1/media/where", where_now),
        "control": web.get("/api/v1/control", echo),
        "rtc": says("/rtc/validate", "invalid token", 401),
        "preview": says(f"/api/v1/meetings/by-code/{CODE}", preview),
    }
    wanted = {**routes, **changes}
    async with strangers.http([route for route in wanted.values() if route is not None]) as bound:
        port = bound
        yield f"http://127.0.0.1:{port}"

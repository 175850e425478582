"""The server put together: its listening sockets, storage, rooms, wires and relay; how it starts, drains and stops.

    raise SystemExit(run(config))            what `vidconf serve` does
    async with Server(config) as server: …   the same inside a running loop; `server.public_url` tells where

Order of start: the port (it is part of the links), storage, accounts, rooms with all that listens to them, the relay, the
HTTP front, and only then the meetings that were live when the last process ended. Order of stop: tell everybody, stop taking
requests, put the rooms away, end the relay, close storage. One loop, one thread; password hashing has threads of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

from vidconf.server import openapi, probe
from vidconf.server.accounts import Accounts
from vidconf.server.config import Config, ConfigError, tls_context
from vidconf.server.control import Control
from vidconf.server.doorstep import KEEPALIVE_S, Doorstep, allow_many_files
from vidconf.server.expulsion import Expulsion
from vidconf.server.gate import Door, Passage, token_of_original, too_often
from vidconf.server.limits import FailureLimiter
from vidconf.server.link_page import LinkPage
from vidconf.server.media import Media
from vidconf.server.metrics import CONTENT_TYPE, Metrics
from vidconf.server.presence import Presence
from vidconf.server.relay_child import RelayChild
from vidconf.server.rest import Rest
from vidconf.server.room import RoomClosed, Rooms
from vidconf.server.schedule import Schedule
from vidconf.server.service import Service
from vidconf.server.sfu import Sfu
from vidconf.server.storage import Storage, StorageError
from vidconf.server.web import BODY_BYTES, Visitors, answer, errors

log = logging.getLogger("vidconf.server")

RELAY_KEY = "vidconf"
TIDY_S = 60.0
IDLE_S = 300.0
"""A room nobody has used for so long is put away; it loads again by itself."""
CLOSE_S = 3.0
FIRST_REQUEST_S = 20.0
"""By then a connection's first request is here, or it is hung up on."""
BACKLOG = 1024
FACTS = "server.json"


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


def listening(host: str, port: int) -> socket.socket:
    """A TCP socket that listens. Raises StartError."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        both = family is socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise StartError(f"{host}:{port} cannot be listened on: {error.strerror or error}") from None


class Server:
    """One process's server. Use as `async with`; attributes are for metrics and tests."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.public_url = self.local_url = ""
        self.relay: RelayChild | None = None
        self.passage: Passage | None = None
        self._admin_key = secrets.token_urlsafe(32)
        self._closers = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.doorstep = Doorstep()

    # ---- start and stop ----

    async def __aenter__(self) -> Server:
        try:
            await self._start()
        except BaseException:
            await self._closers.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        log.info("the server stops")
        await self.control.drain()
        await self._closers.aclose()

    async def _start(self) -> None:
        config, closers = self.config, self._closers
        front = listening(config.host, config.port)
        closers.callback(front.close)
        self.port: int = front.getsockname()[1]
        # Programs on this machine (the command line, the relay's webhooks) come in plain on loopback, whatever the front speaks.
        inner = None if config.tls is None and config.loopback() else listening("127.0.0.1", 0)
        if inner is not None:
            closers.callback(inner.close)
        self.local_url = config.local_url(self.port) if inner is None else f"http://127.0.0.1:{inner.getsockname()[1]}"
        self.public_url = (config.public_url or config.local_url(self.port)).rstrip("/")

        try:
            self.storage = await Storage.open(config.data)
        except StorageError as error:
            raise StartError(f"the database cannot be used: {error}") from None
        closers.push_async_callback(self.storage.close)
        await self.storage.set_setting("public_url", self.public_url)  # for links made by the command line while nothing runs
        self.accounts = await Accounts.open(self.storage, self._admin_key)
        closers.callback(self.accounts.close)
        self.http = aiohttp.ClientSession()
        closers.push_async_callback(self.http.close)

        self.rooms = Rooms(self.storage, config.limits.changes_per_second)
        closers.push_async_callback(self.rooms.close)
        sfu = await self._sfu()
        media_url = config.media.url or self.public_url.replace("http", "ws", 1)
        self.media = Media(self.rooms, sfu, media_url, config.media.ice_servers)
        self.presence = Presence(self.rooms, config.presence_s)
        closers.push_async_callback(self.presence.close)
        self.door = Door(self.rooms, sfu)

        failures = FailureLimiter(config.limits.failures_per_minute)
        self.control = Control(config, self.storage, self.rooms, self.media, failures)
        self.visitors = Visitors(self.accounts, failures, config.behind_proxy, config.proxies)
        schedule = Schedule(self.storage, config.limits.capacity)
        rest = Rest(self.storage, self.accounts, schedule, self.rooms, self.media, self.control, self.visitors, self.public_url)
        self._metrics = Metrics(self)
        if sfu is not None and not config.media.url:
            self._begin_relay(sfu)
        closers.push_async_callback(self.media.close)  # before the relay ends: nothing is to be set right there any more

        self.app = self._application(rest)
        await self._serve(self.app, front, inner)
        self._write_facts()
        closers.callback(self._remove_facts)
        self.media.start()
        closers.push_async_callback(self._end_tasks)
        expulsion = Expulsion(self.storage, self.accounts, self.rooms, self.control.cut)
        background = {"tidy": self._tidy(), "expulsion": expulsion.watch(), "take up": self._take_up()}
        self._tasks += [asyncio.create_task(work, name=name) for name, work in background.items()]
        if self.relay is not None:
            await self.relay.first_try.wait()

    async def _sfu(self) -> Sfu | None:
        media = self.config.media
        if media.url:
            return Sfu(self.http, media.api_key, media.api_secret, media.api_url or media.url.replace("ws", "http", 1))
        return Sfu(self.http, RELAY_KEY, await self.storage.secret("relay_secret")) if media.relay else None

    def _begin_relay(self, sfu: Sfu) -> None:
        media = self.config.media
        self.passage = passage = Passage(self.door, self.http, self.rooms)
        self._closers.push_async_callback(passage.close)

        def ready(url: str) -> None:
            sfu.api_url = passage.upstream = url

        def gone() -> None:
            sfu.api_url = passage.upstream = ""

        self.relay = RelayChild(
            RELAY_KEY, sfu.secret, media.udp_host or self.config.host, media.udp_port or self.port,
            f"{self.local_url}/api/v1/media/webhook", ready, gone, port_is_a_wish=not media.udp_port, announce=media.announce, tcp_port=media.tcp_port,
        )  # fmt: skip
        self._closers.push_async_callback(self.relay.close)
        self.relay.start()

    def _application(self, rest: Rest) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES, middlewares=[self.doorstep.heard, errors])
        app.add_routes([*rest.routes(), *LinkPage().routes(), *self._probe_routes()])
        app.add_routes(
            [
                web.get("/api/v1/control", self._control),
                web.get("/api/v1/media/gate", self._gate),
                web.post("/api/v1/media/webhook", self._webhook),
                web.get("/api/v1/openapi.json", self._openapi),
                web.get("/healthz", self._healthy),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._measured),
            ]
        )
        if self.passage is not None:
            app.add_routes([web.get("/rtc", self.passage.handle), web.get("/rtc/{rest:.*}", self.passage.handle)])
        return app

    def _probe_routes(self) -> list[web.RouteDef]:
        media, relay = self.config.media, self.relay
        url = "" if self.media.sfu is None else self.media.url
        return probe.routes(url, relay is not None, lambda: relay.media if relay is not None else None, media.ice_servers,
            media_tcp=lambda: relay.media_tcp if relay is not None else None)

    async def _serve(self, app: web.Application, front: socket.socket, inner: socket.socket | None) -> None:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_S, keepalive_timeout=KEEPALIVE_S)
        await runner.setup()
        assert runner.server is not None
        self._tasks.append(asyncio.create_task(self.doorstep.watch(runner.server, FIRST_REQUEST_S), name="doorstep"))
        self._closers.push_async_callback(runner.cleanup)
        await web.SockSite(runner, front, ssl_context=tls_context(self.config), backlog=BACKLOG).start()
        if inner is not None:
            await web.SockSite(runner, inner).start()

    # ---- in the background ----

    async def _take_up(self) -> None:
        """Meetings with somebody in them when the last process ended: everybody gets a new lease, mutes are looked after."""
        for row in await self.storage.live_meetings():
            with contextlib.suppress(RoomClosed):
                await self.rooms.get(row.id)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            await self.rooms.put_away(lambda room: self.presence.holds(room) or self.media.holds(room), IDLE_S)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("a task of the server had failed", exc_info=outcome)

    # ---- how programs on this machine find it ----

    def _write_facts(self) -> None:
        facts = {"public_url": self.public_url, "local_url": self.local_url, "admin_key": self._admin_key, "pid": os.getpid()}
        handle, name = tempfile.mkstemp(dir=self.config.data, prefix=FACTS)  # made 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(facts, file)
        os.replace(name, self.config.data / FACTS)

    def _remove_facts(self) -> None:
        facts = read_facts(self.config.data)
        if facts is not None and facts.get("pid") == os.getpid():
            (self.config.data / FACTS).unlink(missing_ok=True)

    # ---- handlers that belong to no module of their own ----

    async def _control(self, request: web.Request) -> web.StreamResponse:
        return await self.control.handle(request, self.visitors.address(request))

    async def _gate(self, request: web.Request) -> web.Response:
        status, why, who = await self.door.ask(token_of_original(request))
        wait_s = self.door.wait_s(who) if who is not None else 0
        if wait_s:
            return too_often(wait_s)
        return web.Response(status=status, text=why, headers={"Cache-Control": "no-store"})

    async def _webhook(self, request: web.Request) -> web.Response:
        sfu = self.media.sfu
        content = sfu.verify_webhook(request.headers.get("Authorization", ""), await request.read()) if sfu is not None else None
        if content is None:
            return web.Response(status=401, text="not signed by the SFU")
        self.media.webhook(content)
        return web.Response(text="ok")

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(openapi.describe(self.public_url))

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        """200 when meetings can be held here: storage answers, media is up, and the server is not about to stop."""
        missing = []
        try:
            await self.storage.setting("public_url")
        except Exception as error:
            log.error("storage does not answer: %s", error)
            missing.append("storage")
        if self.media.sfu is not None and not self.media.sfu.api_url:
            missing.append("media")
        if self.control.draining:
            missing.append("draining")
        return answer({"ready": not missing, "missing": missing}, 503 if missing else 200)

    async def _measured(self, request: web.Request) -> web.Response:
        if not self.visitors.local(request):
            bearer = await self.visitors.require(request)
            if bearer.kind not in ("admin", "service") and not bearer.is_admin:
                return answer({"error": "not_allowed", "detail": {}}, 403)
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def read_facts(data: Path) -> dict[str, Any] | None:
    """What a running server left in `data` for the command line; None when there is none, or it cannot be read."""
    try:
        facts = json.loads((data / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


async def _run(config: Config) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    try:
        async with Server(config) as server:
            print(f"ready {server.public_url}", flush=True)
            log.info("the server listens on %s, data in %s", server.config.local_url(server.port), config.data)
            service = Service()
            service.say("READY=1", f"STATUS={server.public_url}")
            watching = asyncio.create_task(service.watch(), name="watchdog")
            await stop.wait()
            watching.cancel()
            service.say("STOPPING=1", "STATUS=draining")
    except (StartError, ConfigError) as error:
        log.error("%s", error)
        return 1
    return 0


def run(config: Config) -> int:
    """Until SIGTERM or SIGINT. The exit code."""
    allow_many_files()
    try:
        if sys.platform == "win32":
            return asyncio.run(_run(config))
        import uvloop

        return uvloop.run(_run(config))
    except KeyboardInterrupt:
        return 0

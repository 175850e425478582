"""The relay's process: its loop, UDP port, HTTP front, and its end. Started by `vidconf relay`, alone or as a child of `serve`.

One thread, one loop (uvloop where there is one); nothing here waits for a disk or a lock.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import ssl
import sys
from dataclasses import dataclass

from aiohttp import web

from vidconf.relay.counters import Counters
from vidconf.relay.registry import Relay
from vidconf.relay.signalling import Signalling
from vidconf.relay.tasks import end_all
from vidconf.relay.twirp import BODY_BYTES, RoomService
from vidconf.relay.webhooks import Webhooks
from vidconf.webrtc.ice_lite import Port

log = logging.getLogger("vidconf.relay")

REPORT_S = 60.0
CLOSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `keys` by API key; the first signs webhooks."""

    keys: dict[str, str]
    host: str = "127.0.0.1"
    port: int = 0
    udp_host: str = "127.0.0.1"
    udp_port: int = 0
    tcp_port: int = 0
    announce: tuple[str, ...] = ()
    auto_create: bool = True
    webhooks: tuple[str, ...] = ()
    certificate: str = ""
    private_key: str = ""


def run(options: Options) -> int:
    """Until SIGTERM or SIGINT. The exit code: 0, or 1 when a port is not to be had."""
    try:
        if sys.platform == "win32":
            asyncio.run(_serve(options))
        else:
            import uvloop

            uvloop.run(_serve(options))
    except OSError as error:
        log.error("the relay cannot listen: %s", error)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


async def _serve(options: Options) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_loose_end)
    stop = asyncio.Event()
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    port = await Port.open(options.udp_host, options.udp_port, options.announce, options.tcp_port)
    counters = Counters()
    key, secret = next(iter(options.keys.items()))
    webhooks = Webhooks(options.webhooks, key, secret, counters)
    relay = Relay(port, options.keys, webhooks, counters, auto_create=options.auto_create)
    app = web.Application(client_max_size=BODY_BYTES)
    app.add_routes([*Signalling(relay).routes(), *RoomService(relay).routes()])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        context = None
        if options.certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(options.certificate, options.private_key or None)
        site = web.TCPSite(runner, options.host, options.port, ssl_context=context)
        await site.start()
        webhooks.start()
        relay.start()
        bound = runner.addresses[0][1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        # What was made so far stays for ever; the collector need not look at it again while packets wait.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        # In one piece: who has read the first line may be gone.
        udp, tcp = (" ".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in kind) for kind in (port.candidates, port.tcp_candidates))
        print(f"ready {'https' if context else 'http'}://{host}:{bound}\nmedia {udp}\nmedia-tcp {tcp}", flush=True)
        told = [", ".join(f"{h}:{p}" for h, p in kind) for kind in (port.candidates, port.tcp_candidates)]
        log.info("the relay listens; media on UDP %s, TCP %s", *told)
        reporting = asyncio.create_task(_report(relay), name="report")
        await stop.wait()
        reporting.cancel()
        log.info("the relay stops")
    finally:
        await relay.close()
        await webhooks.close()
        await asyncio.sleep(0.05)  # goodbyes on their way
        await runner.cleanup()
        await end_all()
        await port.close()


async def _report(relay: Relay) -> None:
    """Once a minute what was dropped, when something new was."""
    before: dict[str, int] = {}
    quiet = {"checks", "probes", "joins", "moves", "packets_resent", "keyframes_asked", "nacks_sent"}
    while True:
        await asyncio.sleep(REPORT_S)
        counted = {**relay.counters.as_dict(), **relay.port.counters.as_dict()}
        news = {k: v - before.get(k, 0) for k, v in counted.items() if k not in quiet and v != before.get(k, 0)}
        before = counted
        if news:
            log.info("dropped in the last minute: %s", ", ".join(f"{k} {v}" for k, v in sorted(news.items())))


def _on_loose_end(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """aiortc's SCTP timers outlive their transport and end in ConnectionError: ordinary. Anything else is shown."""
    error = context.get("exception")
    if isinstance(error, ConnectionError):
        log.debug("a loose end: %s", context.get("message"))
        return
    loop.default_exception_handler(context)

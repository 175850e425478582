"""The way to the server, step by step: name, proxy, connection, certificate, HTTP, clock, control, media. In a child process.

Nothing that opens a door is sent: neither the link's secret nor a name, no seat is taken. Each step has its time; a step that
fails ends what could only fail after it. The order is the order of a help desk's questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from vidconf.cli import doctor_media
from vidconf.cli.doctor_certificate import Target, look_at_certificate
from vidconf.cli.findings import Finding
from vidconf.cli.parts import Put
from vidconf.cli.proxy_script import proxy_script
from vidconf.client.links import is_loopback, shown_host
from vidconf.client.rest import Rest, RestError, transport_error
from vidconf.network.http import open_session
from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.proxies import Proxy, exempted, system_proxy
from vidconf.webrtc.tunnel import ProxyRefused, through

log = logging.getLogger("vidconf.doctor")

ALL_S = 15.5
NAME_S, CONNECT_S, HTTP_S, ASK_S = 3.5, 3.0, 3.0, 3.0
ADDRESSES = 6
ASKED = 5
ENOUGH_MS = 2000.0
SLOW_MS = 400.0
CLOCK_S = 5.0
TEXT_BYTES = 4096
DONE = "doctor.server"
"""Put as ok when all was looked at; otherwise the parent says under it how the look ended."""


def network(put: Put, told: Mapping[str, Any]) -> None:
    """`told`: origin, code ("" without a meeting), confirm (a server never used before), network (fields of NetworkOptions)."""
    over = threading.Event()

    async def main() -> None:
        try:
            async with asyncio.timeout(ALL_S):
                said: dict[str, Any] = {name: tuple(held) if isinstance(held, list) else held for name, held in told["network"].items()}
                await look(put, str(told["origin"]), str(told["code"]), new=bool(told["confirm"]), options=NetworkOptions(**said))
            put(Finding(DONE, "ok", "done"))
        except TimeoutError:
            put(Finding(DONE, "failure", "hung", {"seconds": round(ALL_S)}))
        except Exception as error:
            log.exception("the look at the server ended")
            put(Finding(DONE, "failure", "broken", {"reason": f"{type(error).__name__}: {error}"}))
        finally:
            over.set()

    def run() -> None:
        # Windows: the proactor stops reading UDP after an ICMP unreachable
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop if sys.platform == "win32" else None) as runner:
            runner.run(main())

    # A look-up of a name may hold the executor, and with it the runner's end, for minutes: nobody waits for that.
    threading.Thread(target=run, name="network", daemon=True).start()
    over.wait()


async def look(put: Put, origin: str, code: str, *, new: bool, options: NetworkOptions = DEFAULTS) -> None:
    target = Target.of(origin)
    new = new and not is_loopback(target.host)
    put(Finding("doctor.server.address", "warning" if new else "ok", "new" if new else "known", {"host": shown_host(origin), "origin": origin}))
    proxy, strange = proxy_for(target, options)
    if proxy is not None:
        put(Finding("doctor.server.proxy", "ok", "used", {"proxy": f"{proxy.host}:{proxy.port}"}))
    elif strange:
        put(Finding("doctor.server.proxy", "warning", "unsupported", {"proxy": strange}))
    elif options.proxy_mode == "system" and not is_loopback(target.host) and (script := await asyncio.to_thread(proxy_script)):
        put(Finding("doctor.server.proxy", "warning", "script", {"script": script}))
    addresses = await _name(put, target, proxied=proxy is not None)
    if proxy is None and not addresses:
        return
    reached = await _connect(put, target, addresses) if proxy is None else await _through(put, target, proxy, options)
    if not reached:
        return
    if target.secure and not await look_at_certificate(put, target, addresses, proxy, options):
        return
    rest = Rest(origin, network=lambda: options)
    try:
        if await _http(put, rest):
            await _vidconf(put, rest, code, options)
    finally:
        await rest.close()


# ---- name and connection ----------------------------------------------------------------------------------------------


def proxy_for(target: Target, options: NetworkOptions = DEFAULTS) -> tuple[Proxy | None, str]:
    """(the proxy that requests to the server go through, "") or (None, what the system names but cannot be used)."""
    scheme = "https" if target.secure else "http"
    if options.proxy_mode == "system" and not exempted(target.host, target.port, options.proxy_bypass):
        return system_proxy(target.host, scheme)
    return options.proxy_to(target.host, target.port, scheme), ""


async def _name(put: Put, target: Target, *, proxied: bool) -> list[str]:
    """The server's addresses; behind a proxy this PC need not know them."""
    host = target.host
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        put(Finding("doctor.server.name", "ok", "number", {"host": host, "addresses": [host]}))
        return [host]
    began = time.perf_counter()
    try:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(NAME_S):
            found = await loop.getaddrinfo(host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        result = "timeout" if isinstance(error, TimeoutError) else "not_found"
        if proxied:
            put(Finding("doctor.server.name", "ok", "proxied", {"host": host}))
        else:
            put(Finding("doctor.server.name", "failure", result, {"host": host, "reason": str(error), "seconds": NAME_S}))
        return []
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))[:ADDRESSES]
    put(Finding("doctor.server.name", "ok", "found", {"host": host, "addresses": addresses, "ms": _ms(began)}))
    return addresses


async def _connect(put: Put, target: Target, addresses: list[str]) -> bool:
    """TCP to every address: the program takes the first that answers, and one that never does costs everybody time."""

    async def one(address: str) -> tuple[str, float, str]:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(address, target.port)
        except ConnectionRefusedError:
            return address, 0.0, "refused"
        except TimeoutError:
            return address, 0.0, "timeout"
        except OSError as error:
            return address, 0.0, error.strerror or str(error)
        took = _ms(began)
        writer.close()
        return address, took, ""

    tried = await asyncio.gather(*map(one, addresses))
    good = [(address, ms) for address, ms, why in tried if not why]
    failed = [f"{address} ({why})" for address, _, why in tried if why]
    detail: dict[str, Any] = {"port": target.port, "host": target.host, "failed": failed}
    if not good:
        reasons = {why for _, _, why in tried}
        result = reasons.pop() if len(reasons) == 1 else "unreachable"
        result = result if result in ("refused", "timeout") else "unreachable"
        put(Finding("doctor.server.connect", "failure", result, detail))
        return False
    address, ms = min(good, key=lambda one: one[1])
    detail |= {"address": address, "ms": ms}
    put(Finding("doctor.server.connect", "warning" if failed else "ok", "some" if failed else "open", detail))
    return True


async def _through(put: Put, target: Target, proxy: Proxy, options: NetworkOptions) -> bool:
    """The proxy answers and lets us through."""
    began = time.perf_counter()
    detail: dict[str, Any] = {"proxy": f"{proxy.host}:{proxy.port}", "host": target.host, "port": target.port}
    try:
        async with asyncio.timeout(CONNECT_S):
            if target.secure:
                transport, _ = await through(proxy, target.host, target.port, options)
                transport.abort()
            else:
                _, writer = await asyncio.open_connection(proxy.host, proxy.port)
                writer.close()
    except ssl.SSLCertVerificationError as error:
        put(Finding("doctor.server.connect", "failure", "proxy_untrusted", {**detail, "reason": error.verify_message}))
        return False
    except ProxyRefused as refused:
        result = "proxy_wants_name" if refused.status == 407 else "proxy_refuses"
        put(Finding("doctor.server.connect", "failure", result, {**detail, "status": refused.status}))
        return False
    except (OSError, TimeoutError) as error:
        put(Finding("doctor.server.connect", "failure", "proxy_silent", {**detail, "reason": str(error) or type(error).__name__}))
        return False
    put(Finding("doctor.server.connect", "ok", "through_proxy", {**detail, "ms": _ms(began)}))
    return True


# ---- what answers there -----------------------------------------------------------------------------------------------


async def _get(http: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    """(status, beginning of the body). Raises RestError."""
    try:
        async with asyncio.timeout(HTTP_S), http.get(url, allow_redirects=False) as response:
            return response.status, (await response.content.read(TEXT_BYTES)).decode("utf-8", "replace")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise transport_error(error) from error


async def _http(put: Put, rest: Rest) -> bool:
    """A vidconf server answers, and how fast."""
    code = "doctor.server.http"
    took: list[float] = []
    try:
        while len(took) < 1 + ASKED and sum(took) < ENOUGH_MS:
            began = time.perf_counter()
            status, body = await _get(rest.http(), f"{rest.origin}/healthz")
            took.append(_ms(began))
            if status != 200 or not body.startswith("ok"):
                result = "server_restarting" if status in (502, 503, 504) else "not_vidconf"
                put(Finding(code, "failure", result, {"status": status}))
                return False
    except RestError as error:
        put(Finding(code, "failure", error.code, error.detail))
        return False
    ordered = sorted(took[1:] or took)  # the first one also connects
    ms = ordered[len(ordered) // 2]
    slow = ms >= SLOW_MS
    put(Finding(code, "warning" if slow else "ok", "slow" if slow else "answers", {"ms": ms, "first_ms": took[0]}))
    return True


async def _vidconf(put: Put, rest: Rest, code: str, options: NetworkOptions) -> None:
    """What is left can be asked at once, and a fault in one question takes no other's answer with it."""
    questions = [_ready(put, rest), _control(put, rest), _media(put, rest, options), *([_meeting(put, rest, code)] if code else [])]
    for outcome in await asyncio.gather(*questions, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _ready(put: Put, rest: Rest) -> None:
    try:
        status, body = await _get(rest.http(), f"{rest.origin}/readyz")
    except RestError as error:
        put(Finding("doctor.server.ready", "warning", error.code, error.detail))
        return
    if status == 200:
        put(Finding("doctor.server.ready", "ok", "ready"))
    elif status == 503:
        missing = [name for name in ("storage", "media", "draining") if name in body]
        put(Finding("doctor.server.ready", "failure", missing[0] if missing else "not_ready", {"missing": missing}))


async def _meeting(put: Put, rest: Rest, code: str) -> None:
    """Whether the link leads anywhere. Its title stays out of the report."""
    try:
        async with asyncio.timeout(ASK_S):
            preview = await rest.preview(code)
    except RestError as error:
        put(Finding("doctor.server.meeting", "failure", error.code, error.detail))
        return
    except TimeoutError:
        put(Finding("doctor.server.meeting", "failure", "timeout"))
        return
    if preview.state == "ended":
        put(Finding("doctor.server.meeting", "warning", "ended"))
    elif preview.locked:
        put(Finding("doctor.server.meeting", "warning", "locked"))
    else:
        put(Finding("doctor.server.meeting", "ok", "live" if preview.state == "live" else "scheduled", {"lobby": preview.lobby}))


async def _control(put: Put, rest: Rest) -> None:
    """The WebSocket opens, and frames go both ways: some proxies let the first through and not the second."""
    code = "doctor.server.control"
    url = rest.origin + "/api/v1/control"  # as the window opens it
    began, opened_ms, answered = time.perf_counter(), 0.0, False
    try:
        async with asyncio.timeout(ASK_S), rest.http().ws_connect(url, autoping=False) as socket_:
            opened_ms = _ms(began)
            await socket_.ping(b"doctor")
            answered = (await socket_.receive()).type is aiohttp.WSMsgType.PONG
    except aiohttp.WSServerHandshakeError as error:
        put(Finding(code, "failure", "no_websocket", {"status": error.status}))
        return
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        if not opened_ms:
            failed = transport_error(error)
            put(Finding(code, "failure", failed.code, failed.detail))
            return
    put(Finding(code, "ok" if answered else "failure", "open" if answered else "one_way", {"ms": opened_ms}))


# ---- media and the clock -------------------------------------------------------------------------------------------------


async def _media(put: Put, rest: Rest, options: NetworkOptions) -> None:
    asked = time.time()
    began = time.perf_counter()
    try:
        async with asyncio.timeout(ASK_S):
            where = await rest.ask("GET", "/api/v1/media/where")
    except (RestError, TimeoutError) as error:
        if isinstance(error, RestError) and error.code != "not_vidconf":
            put(Finding("doctor.media.where", "failure", error.code, error.detail))
        else:
            put(Finding("doctor.media.where", "warning", "older" if isinstance(error, RestError) else "timeout"))
        put(_clock(rest.clock_offset_s, 1.5))
        return
    half_s = (time.perf_counter() - began) / 2
    told = where.get("time")
    if isinstance(told, int | float) and not isinstance(told, bool):
        put(_clock(float(told) - asked - half_s, half_s))
    if where.get("media") == "none":
        put(Finding("doctor.media.where", "failure", "none"))
        return
    if where.get("up") is not True:
        put(Finding("doctor.media.where", "failure", "media_unavailable"))
        return
    put(Finding("doctor.media.where", "ok", "external" if where.get("media") == "external" else "relay"))
    await asyncio.gather(_signalling(put, where.get("url"), options), _packets(put, where, options))


def _clock(offset_s: float, doubt_s: float) -> Finding:
    """The server's clock against this PC's. Certificates, times of meetings and signatures live by it."""
    detail = {"seconds": round(abs(offset_s), 1), "offset_s": round(offset_s, 3), "doubt_s": round(doubt_s, 3)}
    if abs(offset_s) < max(CLOCK_S, 2 * doubt_s):
        return Finding("doctor.server.clock", "ok", "in_step", detail)
    return Finding("doctor.server.clock", "warning", "behind" if offset_s > 0 else "ahead", detail)


async def _signalling(put: Put, url: Any, options: NetworkOptions) -> None:
    """The way to the media server's door: asked without a token it must say 401, which no other page does."""
    code = "doctor.media.signalling"
    try:
        parts = urlsplit(url) if isinstance(url, str) and len(url) < 512 else None
        host = (parts.hostname or "") if parts is not None else ""
    except ValueError:
        parts, host = None, ""
    if parts is None or not host or parts.scheme not in ("ws", "wss") or (parts.scheme == "ws" and not is_loopback(host)):
        put(Finding(code, "failure", "bad_address", {"url": str(url)[:200]}))
        return
    base = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}{parts.path.rstrip('/')}"
    detail = {"host": parts.netloc.rpartition("@")[2]}
    try:
        async with open_session(options, base) as http:
            status, _ = await _get(http, f"{base}/rtc/validate")
    except RestError as error:
        put(Finding(code, "failure", error.code, {**error.detail, **detail}))
        return
    if status == 401:
        put(Finding(code, "ok", "door", detail))
    elif status in (502, 503, 504):
        put(Finding(code, "failure", "media_unavailable", {**detail, "status": status}))
    else:
        put(Finding(code, "failure", "not_passed_on", {**detail, "status": status}))


async def _packets(put: Put, where: Mapping[str, Any], options: NetworkOptions) -> None:
    """UDP to the media port, TCP where that does not get through, and the TURN servers; of these what the options leave."""
    udp, servers = where.get("udp"), where.get("ice_servers")
    told = [_address(entry) for entry in (udp if isinstance(udp, list) else ())[: doctor_media.ADDRESSES]]
    addresses = [address for address in told if address is not None]
    urls = [url[:200] for url in (servers if isinstance(servers, list) else ())[: doctor_media.TURN_URLS] if isinstance(url, str)]
    urls = list(options.turn_urls) or urls
    if options.ice_transport == "relay_tls":
        urls = [url for url in urls if url.startswith("turns:")]
    elif options.relayed_only:
        urls = [url for url in urls if url.startswith("turn")]
    turning = asyncio.gather(*(doctor_media.turn(url, options) for url in urls[: doctor_media.TURN_URLS]))
    if options.relayed_only:
        found = Finding("doctor.media.udp", "ok", "not_used")
    elif addresses:
        found = await doctor_media.udp(addresses, options)
    else:
        found = Finding("doctor.media.udp", "warning", "unmeasured", {})
    turned = await turning
    if found.result in ("blocked", "nobody"):
        streams = where.get("tcp")
        there = [_address(entry) for entry in (streams if isinstance(streams, list) else ())[: doctor_media.ADDRESSES]]
        if await doctor_media.tcp([address for address in there if address is not None], options):
            found = Finding(found.code, "warning", "tcp_instead", found.detail)
        elif any(one.status == "ok" and one.detail["transport"] != "udp" for one in turned):
            found = Finding(found.code, "warning", "turn_instead", found.detail)
    put(found)
    if options.relayed_only and not any(one.status == "ok" for one in turned):
        turned = [replace(one, status="failure") for one in turned] or [Finding("doctor.media.turn", "failure", "none")]
    for one in turned:
        put(one)


def _address(entry: Any) -> tuple[str, int] | None:
    """A number with a port: names are not looked up here, and nobody is asked at a port that is none."""
    if not isinstance(entry, dict):
        return None
    host, port = entry.get("host"), entry.get("port")
    if not isinstance(host, str) or not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        return None
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        return None


def _ms(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 1)

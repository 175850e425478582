"""A TCP connection to a host, through the HTTP proxy that is set or that the system names, where there is one.

Loop's thread. Signalling has its proxies from aiohttp; this is for media, which begins with a bare connection (ICE-TCP, TURN).
Which proxy, if any: `network.options`. Media's mark (DSCP) is set here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import TypeVar, cast

from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.proxies import Proxy
from vidconf.network.sockets import mark

log = logging.getLogger("vidconf.transport")

MAX_HEAD = 16384
"""Bytes of a proxy's answer before its empty line."""
P = TypeVar("P", bound=asyncio.Protocol)


class ProxyRefused(ConnectionError):
    """The proxy does not let us through; `status` as it said, 0 for what is no HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


def connect_request(host: str, port: int, credentials: str) -> bytes:
    """RFC 9110 §9.3.6, with RFC 7617's credentials where there are any."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
    if credentials:
        lines.append(f"Proxy-Authorization: Basic {b64encode(credentials.encode()).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def dial(
    host: str, port: int, make: Callable[[], P], network: NetworkOptions = DEFAULTS, *, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.Transport, P]:
    """A connection by the proxy if there is one and it lets us, else directly; with `tls` in TLS to `host` inside it.
    Raises OSError, certificates' errors among them. Give it up by cancelling."""
    proxy = network.proxy_to(host, port)
    if proxy is not None:
        try:
            transport, rest = await through(proxy, host, port, network)
        except OSError as error:
            log.info("not through the proxy (%s): directly", error)
        else:
            return await handed_over(transport, rest, make, tls, host)
    return await _over(await _connected(host, port, network), make, tls, host)


async def through(proxy: Proxy, host: str, port: int, network: NetworkOptions = DEFAULTS) -> tuple[asyncio.Transport, bytes]:
    """A connection by this proxy, reading paused, and what has already come on it. Raises OSError, ProxyRefused among them."""
    sock = await _connected(proxy.host, proxy.port, network)
    greeting = _Greeting()
    transport, _ = await _over(sock, lambda: greeting, network.ssl_context() if proxy.secure else None, proxy.host)
    try:
        transport.write(connect_request(host, port, proxy.credentials))
        return transport, await greeting.passed
    except BaseException:
        transport.abort()
        raise


async def handed_over(
    transport: asyncio.Transport, rest: bytes, make: Callable[[], P], tls: ssl.SSLContext | None, name: str
) -> tuple[asyncio.Transport, P]:
    """What the proxy let through, to the protocol that it is for."""
    try:
        if transport.is_closing() or (tls is not None and rest):    # no TLS server speaks before it was spoken to
            raise ConnectionResetError("the connection through the proxy is of no use")
        protocol = make()
        carried: asyncio.Transport | None = transport
        transport.resume_reading()
        if tls is None:
            transport.set_protocol(protocol)
        else:
            carried = await asyncio.get_running_loop().start_tls(transport, protocol, tls, server_hostname=name)
        if carried is None:
            raise ConnectionResetError("the connection through the proxy has ended")
        protocol.connection_made(carried)   # neither of the two has told it
        if rest:
            protocol.data_received(rest)
        return carried, protocol
    except BaseException:
        transport.abort()
        raise


class _Greeting(asyncio.Protocol):
    """Until the proxy has answered: `passed` is what it sent behind its answer, or ProxyRefused. Reading pauses then."""

    def __init__(self) -> None:
        self.passed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.passed.done():
            return
        self._held += data
        head, end, rest = self._held.partition(b"\r\n\r\n")
        if not end and len(self._held) <= MAX_HEAD:
            return
        words = head.split(b"\r\n", 1)[0].split()
        if not end:
            self.passed.set_exception(ConnectionAbortedError("the proxy speaks no HTTP"))
            return
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() and len(words[1]) < 4 else 0
        if status // 100 != 2:
            self.passed.set_exception(ProxyRefused(status))
            return
        if self._transport is not None:
            self._transport.pause_reading()
        self.passed.set_result(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.passed.done():
            self.passed.set_exception(exc or ConnectionResetError("the proxy closed the connection"))


async def _over(sock: socket.socket, make: Callable[[], P], tls: ssl.SSLContext | None, name: str) -> tuple[asyncio.Transport, P]:
    """The socket as a transport; closed if that cannot be."""
    try:
        return await asyncio.get_running_loop().create_connection(make, sock=sock, ssl=tls, server_hostname=name if tls else None)
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise


async def _connected(host: str, port: int, network: NetworkOptions) -> socket.socket:
    loop = asyncio.get_running_loop()
    problem: OSError = OSError("no address")
    for family, kind, number, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, number)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            mark(sock, network.dscp)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise problem

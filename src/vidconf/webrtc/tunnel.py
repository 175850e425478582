"""A TCP connection to a host, through the HTTP proxy that the system or the environment names, where there is one.

Loop's thread. Signalling has its proxies from aiohttp; this is for media, which begins with a bare connection (ICE-TCP, TURN).
`HTTPS_PROXY`, `NO_PROXY`, Windows' and macOS' settings are read as the standard library reads them; a proxy's name and password
are taken from its address. A script that chooses proxies (PAC) is not run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from vidconf.webrtc.addresses import is_loopback

log = logging.getLogger("vidconf.transport")

MAX_HEAD = 16384
"""Bytes of a proxy's answer before its empty line."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `credentials`: `name:password`, "" for none."""

    host: str
    port: int
    credentials: str = ""


class ProxyRefused(ConnectionError):
    """The proxy does not let us through; `status` as it said, 0 for what is no HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


def proxy_for(host: str, scheme: str = "https") -> Proxy | None:
    """The proxy that connections to `host` go through; None for none, for this machine, and for a kind that is not spoken (SOCKS)."""
    if host == "localhost" or is_loopback(host):
        return None
    named = urllib.request.getproxies().get(scheme, "")
    if not named or urllib.request.proxy_bypass(host):
        return None
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        proxy_host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return None
    if parts.scheme != "http" or not proxy_host:
        return None
    return Proxy(proxy_host, port, f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else "")


def connect_request(host: str, port: int, credentials: str) -> bytes:
    """RFC 9110 §9.3.6, with RFC 7617's credentials where there are any."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
    if credentials:
        lines.append(f"Proxy-Authorization: Basic {b64encode(credentials.encode()).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def dial(host: str, port: int) -> socket.socket:
    """A connected socket, by the proxy if one is set and lets us, else directly. Raises OSError. Give it up by cancelling."""
    proxy = proxy_for(host)
    if proxy is not None:
        try:
            return await _through(proxy, host, port)
        except OSError as error:
            log.info("not through the proxy (%s): directly", error)
    return await _connected(host, port)


async def _connected(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    problem: OSError = OSError("no address")
    for family, kind, number, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, number)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


async def _through(proxy: Proxy, host: str, port: int) -> socket.socket:
    """Raises OSError, ProxyRefused among them."""
    loop = asyncio.get_running_loop()
    sock = await _connected(proxy.host, proxy.port)
    try:
        await loop.sock_sendall(sock, connect_request(host, port, proxy.credentials))
        head = b""
        # byte by byte: what follows the empty line is the far end's and not to be swallowed here
        while not head.endswith(b"\r\n\r\n"):
            more = await loop.sock_recv(sock, 1)
            head += more
            if not more or len(head) > MAX_HEAD:
                raise ProxyRefused(0)
        words = head.split(b"\r\n", 1)[0].split()
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() and len(words[1]) < 4 else 0
        if status // 100 != 2:
            raise ProxyRefused(status)
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise
    return sock

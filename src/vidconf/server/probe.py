"""Where media is, for `vidconf doctor`: what it may measure before anybody is admitted. The loop's thread.

    GET /api/v1/media/where -> {media: relay | external | none, up, url, udp: [{host, port}], tcp: [{host, port}],
                                   ice_servers: ["turn:…"], time}

Public, and nothing in it opens anything: any participant is told the same, an address answers strangers with a plain STUN
answer at most, and of the TURN servers only the addresses are told. `udp` and `tcp` are empty where the SFU answers no strangers (LiveKit).
`time` is this server's clock: finer than a `Date` header.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from vidconf.server.web import answer

ADDRESSES = 8
ICE_URLS = 16


def routes(
    media_url: str, relay: bool, media_port: Callable[[], Sequence[tuple[str, int]] | None], ice_servers: Sequence[Mapping[str, Any]] = (),
    *, media_tcp: Callable[[], Sequence[tuple[str, int]] | None] = lambda: None,
) -> list[web.RouteDef]:  # fmt: skip
    """`media_url`: where clients go for signalling, "" for a server without media. `relay`: media is our own relay's. `media_port`:
    the (host, port) pairs it tells its clients, None or empty while it is not up, `media_tcp` the same of TCP; never called for an
    external SFU."""
    kind = "none" if not media_url else "relay" if relay else "external"
    urls = [url for server in ice_servers for url in _urls(server)][:ICE_URLS]

    async def where(request: web.Request) -> web.Response:
        told = _reachable(media_port() or ()) if kind == "relay" else []
        streams = _reachable(media_tcp() or ()) if kind == "relay" else []
        up = kind == "external" or bool(told)
        return answer(
            {
                "media": kind, "up": up, "url": media_url, "udp": [{"host": host, "port": port} for host, port in told],
                "tcp": [{"host": host, "port": port} for host, port in streams], "ice_servers": urls, "time": time.time(),
            }
        )  # fmt: skip

    return [web.get("/api/v1/media/where", where)]


def _urls(server: Mapping[str, Any]) -> list[str]:
    urls = server.get("urls")
    return [url for url in ([urls] if isinstance(urls, str) else urls or ()) if isinstance(url, str)]


def _reachable(addresses: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Without this very machine's own loopback, unless there is nothing else."""
    return [a for a in addresses if not _is_loopback(a[0])][:ADDRESSES] or list(addresses)[:ADDRESSES]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

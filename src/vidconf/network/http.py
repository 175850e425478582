"""An aiohttp session for one server, by the proxies and certificates that the options say. The loop's thread."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from vidconf.network.options import DEFAULT_PORTS, NetworkOptions
from vidconf.network.proxies import exempted, is_this_machine, read_proxy


def open_session(
    network: NetworkOptions, url: str, *, tls: ssl.SSLContext | None = None, limit: int = 100, force_close: bool = False, **session: Any
) -> aiohttp.ClientSession:
    """For requests to the host and port of `url` (http, https, ws, wss) and to no other; WebSockets are opened by their http(s) name,
    since for wss:// no system sets a proxy. `tls`: instead of the options' own. `session`: further arguments of ClientSession.
    Close it. Raises ValueError for what is no address."""
    parts = urlsplit(url)
    host, scheme = parts.hostname or "", parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not host:
        raise ValueError("not an http or ws address")
    direct = is_this_machine(host) or exempted(host, parts.port or DEFAULT_PORTS[scheme], network.proxy_bypass)
    proxy = read_proxy(network.proxy_server).url if network.proxy_mode == "manual" and not direct else None
    secure = scheme in ("https", "wss") or (proxy or "").startswith("https")
    context: ssl.SSLContext | bool = (tls or network.ssl_context()) if secure else True
    made = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=limit, force_close=force_close), cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=network.proxy_mode == "system" and not direct, proxy=proxy, **session,
    )  # fmt: skip
    # To aiohttp 3.14.5 the environment is more than proxies: it would send servers what ~/.netrc holds for other programs, and refuse
    # our own Authorization beside that. It has no switch for it.
    object.__setattr__(made, "_get_netrc_auth", _nothing_of_netrc)
    return made


def _nothing_of_netrc(host: str) -> None:
    return None

"""The network's options as the settings have them, and what of the settings is left out, why. The loop's thread, but for `ca_file`:
`network_problems` reads that file, so call it in an executor where a window waits.

Whoever opens a connection to a server takes `network_of(settings)`, and from it `ssl_context()`, `proxy_for(url)` or, for aiohttp,
`open_session(options, url)`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from vidconf.client.policies.reading import Problem
from vidconf.client.settings import Settings
from vidconf.network.http import open_session
from vidconf.network.options import NetworkOptions
from vidconf.network.proxies import ProxyError, is_exemption, read_proxy
from vidconf.network.tls import AuthorityError, read_authorities
from vidconf.network.turn_url import read_url

log = logging.getLogger("vidconf.network")

NETWORK = (
    "proxy_mode", "proxy_server", "proxy_bypass", "ice_transport", "turn_urls", "udp_port_min", "udp_port_max", "dscp", "ca_file",
    "tls_min",
)  # fmt: skip
"""Keys of the settings that make the options."""


def network_of(settings: Settings) -> NetworkOptions:
    """The sound part of them; the rest is as if it were not set, and logged."""
    for problem in _problems(settings):
        log.warning("%s is left out: %s", problem.name, problem.code)
    mode, server = settings["proxy_mode"], settings.text("proxy_server").strip()
    if mode == "manual" and _proxy_code(server):
        mode, server = "system", ""
    low, high = _ports(settings)
    return NetworkOptions(
        proxy_mode=mode,
        proxy_server=server if mode == "manual" else "",
        proxy_bypass=tuple(one for one in settings.items("proxy_bypass") if is_exemption(one)),
        ice_transport=settings["ice_transport"],
        turn_urls=tuple(url for url in settings.items("turn_urls") if read_url(url)),
        udp_port_min=low,
        udp_port_max=high,
        dscp=settings["dscp"],
        ca_file=settings.text("ca_file"),
        tls_min=settings["tls_min"],
    )


def network_problems(settings: Settings) -> tuple[Problem, ...]:
    """Everything that is left out. Codes: `proxy_missing`, `proxy_malformed`, `proxy_credentials`, `bypass_malformed`,
    `turn_malformed`, `ports_odd`, `ca_unreadable`, `ca_malformed`."""
    found = list(_problems(settings))
    if settings.text("ca_file"):
        try:
            read_authorities(settings.text("ca_file"))
        except AuthorityError as error:
            found.append(_problem(settings, "ca_file", error.code))
    return tuple(found)


def _problems(settings: Settings) -> Iterator[Problem]:
    if settings["proxy_mode"] == "manual" and (code := _proxy_code(settings.text("proxy_server"))):
        yield _problem(settings, "proxy_server", code, by="proxy_mode" if code == "proxy_missing" else "")
    if not all(map(is_exemption, settings.items("proxy_bypass"))):
        yield _problem(settings, "proxy_bypass", "bypass_malformed")
    if not all(map(read_url, settings.items("turn_urls"))):
        yield _problem(settings, "turn_urls", "turn_malformed")
    if (settings["udp_port_min"] or settings["udp_port_max"]) and not _ports(settings)[0]:
        yield _problem(settings, "udp_port_min" if settings["udp_port_min"] else "udp_port_max", "ports_odd")


def _problem(settings: Settings, key: str, code: str, *, by: str = "") -> Problem:
    """Of the setting `key`; where it stands, or where that stands which asks for it (`by`)."""
    where = settings.resolved(by or key)
    return Problem(where.origin or where.source, code, settings.resolved(key).setting.policy)


def _proxy_code(server: str) -> str:
    try:
        read_proxy(server)
    except ProxyError as error:
        return error.code
    return ""


def _ports(settings: Settings) -> tuple[int, int]:
    """(0, 0) for none, and for what is no range."""
    low, high = settings["udp_port_min"], settings["udp_port_max"]
    return (low, high) if 0 < low <= high else (0, 0)


__all__ = ["NETWORK", "NetworkOptions", "network_of", "network_problems", "open_session"]

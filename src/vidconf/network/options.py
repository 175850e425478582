"""What administrators may say about the network, as every part of the program obeys it. Standard library only; any thread.

`client/network_options.py` makes one from the settings; the engine gets it by `engine.api.SetNetwork`. The defaults change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from vidconf.network.proxies import Proxy, exempted, is_this_machine, read_proxy, system_proxy

if TYPE_CHECKING:
    import ssl

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Every value is sound: what is not never gets in here."""

    proxy_mode: Literal["system", "none", "manual"] = "system"
    proxy_server: str = ""
    """As `proxies.read_proxy` takes it; for `manual`."""
    proxy_bypass: tuple[str, ...] = ()
    """What no proxy is asked for, in any mode (`proxies.exempted`)."""
    ice_transport: Literal["all", "relay", "relay_tls"] = "all"
    """`relay`: media by TURN or not at all, and no address of this PC is told. `relay_tls`: by TURN over TLS."""
    turn_urls: tuple[str, ...] = ()
    """Instead of the servers that the meeting's server names, with the name and password that it gives."""
    udp_port_min: int = 0
    udp_port_max: int = 0
    """Local ports of media over UDP, both included; 0: any."""
    dscp: int = 0
    """Mark of media's packets, 0…63 (RFC 2474)."""
    ca_file: str = ""
    tls_min: Literal["1.2", "1.3"] = "1.2"

    def proxy_to(self, host: str, port: int, scheme: str = "https") -> Proxy | None:
        """The proxy that a connection to `host` goes through; None: directly. To this machine nothing goes through one."""
        if self.proxy_mode == "none" or is_this_machine(host) or exempted(host, port, self.proxy_bypass):
            return None
        if self.proxy_mode == "manual":
            return read_proxy(self.proxy_server)
        return system_proxy(host, scheme)[0]

    def proxy_for(self, url: str) -> Proxy | None:
        """As `proxy_to`, for an http, https, ws or wss address. Raises ValueError for what is none."""
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        if scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError("not an http or ws address")
        secure = scheme in ("https", "wss")
        return self.proxy_to(parts.hostname, parts.port or DEFAULT_PORTS[scheme], "https" if secure else "http")

    def ssl_context(self) -> ssl.SSLContext:
        """For TLS to whatever server or proxy. Reads `ca_file` anew: on a slow share that takes its time."""
        from vidconf.network.tls import tls_context

        return tls_context(self.ca_file, self.tls_min)

    @property
    def relayed_only(self) -> bool:
        return self.ice_transport != "all"

    @property
    def udp_ports(self) -> range:
        """Those that may be used; empty for any."""
        return range(self.udp_port_min, self.udp_port_max + 1) if self.udp_port_min else range(0)


DEFAULTS = NetworkOptions()

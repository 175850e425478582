"""Which HTTP proxy stands between this PC and a host: one that is set, or the system's. Standard library only; any thread.

The system's are read as the standard library reads them: `HTTPS_PROXY` and `NO_PROXY`, Windows' and macOS' settings; a name and a
password are taken from the proxy's address there. A script that chooses proxies (PAC) is not run; SOCKS is not spoken.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, which is spoken to in TLS if it is `secure`. `credentials`: `name:password`, "" for none."""

    host: str
    port: int
    credentials: str = field(default="", repr=False)
    secure: bool = False

    @property
    def url(self) -> str:
        """Without the credentials."""
        return f"{'https' if self.secure else 'http'}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class ProxyError(ValueError):
    """What was set is no proxy. `code`: `proxy_missing`, `proxy_malformed`, `proxy_credentials` (a password has no place there)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def read_proxy(text: str) -> Proxy:
    """`http://host:port` or `https://host:port`, without a name and password: everybody on the PC can read settings. Raises ProxyError."""
    text = text.strip()
    if not text:
        raise ProxyError("proxy_missing")
    try:
        parts = urlsplit(text)
        host, port = plain(parts.hostname or ""), parts.port
    except ValueError:
        raise ProxyError("proxy_malformed") from None
    if "@" in parts.netloc:
        raise ProxyError("proxy_credentials")
    if parts.scheme not in ("http", "https") or not _is_host(host) or port == 0 or parts.path not in ("", "/"):
        raise ProxyError("proxy_malformed")
    if parts.query or parts.fragment:
        raise ProxyError("proxy_malformed")
    return Proxy(host, port or (443 if parts.scheme == "https" else 80), secure=parts.scheme == "https")


def system_proxy(host: str, scheme: str = "https") -> tuple[Proxy | None, str]:
    """(the proxy that the system names for `host`, "") or (None, what is named but cannot be used, "" if nothing is)."""
    if is_this_machine(host):
        return None, ""
    named = urllib.request.getproxies().get(scheme, "")
    if not named or urllib.request.proxy_bypass(host):
        return None, ""
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        proxy_host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return None, "?"
    if parts.scheme != "http" or not proxy_host:
        return None, f"{parts.scheme}://{proxy_host}"
    return Proxy(proxy_host, port, f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""), ""


def is_this_machine(host: str) -> bool:
    """Nobody's proxy leads there."""
    bare = plain(host)
    if bare == "localhost" or bare.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(bare.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_exemption(pattern: str) -> bool:
    """Whether `exempted` understands it."""
    return _read(pattern) is not None


def exempted(host: str, port: int, patterns: Iterable[str]) -> bool:
    """Whether one of `patterns` names `host`: `host`, `host:port`, `*.suffix` (below it, not itself), an address, a network such as
    `10.0.0.0/8` (addresses only: no name is looked up), `<local>` (names without a dot), `*`. What is none of these names nobody."""
    bare = plain(host)
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        address = None
    for pattern in patterns:
        read = _read(pattern)
        if read is None or read.port not in (0, port):
            continue
        if read.network is not None:
            if address is not None and address in read.network:
                return True
        elif read.name == "*" or (address is None and read.names(bare)):
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Exemption:
    name: str = ""
    port: int = 0
    """0: any."""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None

    def names(self, host: str) -> bool:
        if self.name == "<local>":
            return "." not in host
        if self.name.startswith("*."):
            return host.endswith(self.name[1:]) and len(host) >= len(self.name)
        return host == self.name


def _read(pattern: str) -> _Exemption | None:
    text = pattern.strip().lower()
    if text in ("*", "<local>"):
        return _Exemption(text)
    try:
        return _Exemption(network=ipaddress.ip_network(text.strip("[]"), strict=False))
    except ValueError:
        bare, _, end = text.rpartition(":")
    port = 0
    if bare:
        if not _PORT.fullmatch(end) or not 0 < int(end) < 65536:
            return None
        text, port = bare, int(end)
        try:
            return _Exemption(port=port, network=ipaddress.ip_network(text.strip("[]"), strict=False))
        except ValueError:
            if ":" in text:
                return None
    suffix = text.startswith(("*.", "."))
    name = plain(text.removeprefix("*").removeprefix("."))
    if not _is_host(name):
        return None
    return _Exemption(f"*.{name}" if suffix else name, port)


def plain(host: str) -> str:
    """A host's name as it is compared: small letters, no brackets, no last dot, Vietnamese names as DNS has them."""
    bare = host.strip("[]").rstrip(".").lower()
    if bare.isascii():
        return bare
    try:
        return bare.encode("idna").decode()
    except UnicodeError:
        return bare


def _is_host(host: str) -> bool:
    if _HOST.fullmatch(host) and len(host) < 254:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host

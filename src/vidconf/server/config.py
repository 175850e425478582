"""The server's settings: one TOML file, strict (an unknown key is an error that names it), plus what `serve` was told.

Read once at start, on any thread. `load` raises only `ConfigError`, whose text says what to do.
"""

from __future__ import annotations

import ipaddress
import math
import os
import ssl
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import platformdirs


class ConfigError(ValueError):
    """A setting is wrong; the text names it and says what to do."""


def default_data() -> Path:
    """Where the server keeps its database when `--data` is not given: `VIDCONF_DATA` (packages set it), else the user's own folder."""
    told = os.environ.get("VIDCONF_DATA", "")
    if told:
        return Path(told)
    return Path(platformdirs.user_data_dir("vidconf-server", appauthor=False))


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the certificate with its chain, and its key."""

    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """Where the SFU is. Without `url` the server starts its own relay."""

    url: str = ""
    """Public address of an external LiveKit, as clients reach it: `wss://sfu.example`. Empty: the built-in relay."""
    api_url: str = ""
    """Where the server itself calls it (`/twirp`), when that differs from `url`."""
    api_key: str = ""
    api_secret: str = ""
    udp_host: str = ""
    """The relay's media address. Empty: the address `serve` listens on."""
    udp_port: int = 0
    """The relay's one media port. 0: the same number as the HTTP port, or a free one where that is taken."""
    tcp_port: int = 0
    """The relay's TCP port of media, for clients that UDP does not reach. 0: the same number as of UDP, or a free one where that is
    taken (as it is by HTTP, where no `udp_port` is given). Through a firewall it has to be named."""
    announce: tuple[str, ...] = ()
    """Media addresses told to clients instead of the relay's own, where a router with address translation stands between."""
    ice_servers: tuple[dict[str, Any], ...] = ()
    """TURN servers, for clients that UDP does not reach: `{urls = ["turn:…", "turns:…"], username = "…", credential = "…"}`, or with
    `secret = "…"` (coturn's static-auth-secret) in place of the two: each participant then gets a password of his own."""
    relay: bool = True
    """False with no `url`: a server without media (tests, maintenance)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one visitor, one connection or one meeting may use."""

    failures_per_minute: int = 10
    """Wrong passwords, secrets, codes and tokens from one address. Successful joins never count."""
    commands_per_second: float = 20.0
    chat_per_second: float = 2.0
    changes_per_second: float = 2.0
    """What one delegate may add to a meeting's record for long (hands, names, devices); a moderator ten times as much."""
    message_bytes: int = 65536
    queue_frames: int = 512
    """Frames waiting for one control connection; more and it is dropped, to resume."""
    capacity: int = 500
    """Participants of one meeting."""


@dataclass(frozen=True, slots=True)
class Config:
    host: str = "127.0.0.1"
    port: int = 8080
    data: Path = field(default_factory=default_data)
    public_url: str = ""
    """What links show. Empty: the local URL."""
    behind_proxy: bool = False
    """A front on this machine or network ends TLS; `X-Forwarded-For` is believed."""
    proxies: tuple[str, ...] = ()
    """Where the front is, addresses or networks: nobody else's `X-Forwarded-For` is believed. Empty: whoever reaches the port is it."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages of other origins that may open the control socket. Native clients send no Origin."""
    presence_s: float = 30.0
    """How long a participant whose connection is lost stays in the meeting."""
    log_level: str = "info"
    tls: Tls | None = None
    media: MediaConfig = field(default_factory=MediaConfig)
    limits: Limits = field(default_factory=Limits)

    def local_url(self, port: int) -> str:
        """The address this machine reaches the server at, once the port is known."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"{'https' if self.tls else 'http'}://{host}:{port}"

    def loopback(self) -> bool:
        """Whether only this machine can reach the listening address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


_TABLES: dict[str, type] = {"tls": Tls, "media": MediaConfig, "limits": Limits}
_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,), "Path": (str,)}


ICE_KEYS = {"urls", "username", "credential", "secret"}


def _is_ice_server(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("urls"), list) or not item.keys() <= ICE_KEYS:
        return False
    if "secret" in item and (not item["secret"] or item.keys() & {"username", "credential"}):
        return False
    return all(isinstance(text, str) for text in (*item["urls"], *(item.get(key, "") for key in ICE_KEYS - {"urls"})))


def _address(text: str, *schemes: str) -> SplitResult | None:
    """The parts of an address with one of `schemes`, a host, and nothing odd in it; else None."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if good else None


def _value(path: str, declared: str, value: Any) -> Any:
    if declared == "tuple[str, ...]":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{path}: expected a list of texts")
        return tuple(value)
    if declared == "tuple[dict[str, Any], ...]":
        if not isinstance(value, list) or not all(_is_ice_server(item) for item in value):
            raise ConfigError(f'{path}: expected a list of tables like {{urls = ["turn:host"], secret = ""}}, or username and credential in place of secret')
        return tuple(value)
    kinds = _KINDS[declared]
    if not any(isinstance(value, kind) for kind in kinds) or (type(value) is bool and bool not in kinds):
        raise ConfigError(f"{path}: expected {'a path' if declared == 'Path' else declared}, not {value!r}")
    if declared == "Path":
        return Path(value).expanduser()
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}: expected a number, not {value!r}")
    return float(value) if declared == "float" else value


def _table(kind: type, values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    known = {f.name: f for f in fields(kind)}
    found: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in known:
            raise ConfigError(f"{path}: unknown key (known here: {', '.join(sorted(known))})")
        if not prefix and key in _TABLES:
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: expected a table, [{key}]")
            found[key] = _TABLES[key](**_table(_TABLES[key], value, f"{key}."))
        else:
            found[key] = _value(path, str(known[key].type), value)
    return found


def load(path: Path | None, **told: Any) -> Config:
    """The file's settings, overridden by what the command line says (`host`, `port`, `data`; None is not said)."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            with open(path, "rb") as file:
                values = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from None
    config = Config(**_table(Config, values))
    config = replace(config, **{key: value for key, value in told.items() if value is not None})
    _check(config)
    return config


def _check(config: Config) -> None:
    if not 0 <= config.port <= 65535:
        raise ConfigError("port: from 0 (any free one) to 65535")
    for name in ("udp_port", "tcp_port"):
        if not 0 <= getattr(config.media, name) <= 65535:
            raise ConfigError(f"media.{name}: from 0 to 65535")
    if config.log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError("log_level: debug, info, warning or error")
    for network in config.proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ConfigError(f"proxies: {network!r} is no address and no network such as 10.1.2.0/24") from None
    if config.proxies and not config.behind_proxy:
        raise ConfigError("proxies: only with behind_proxy = true")
    if config.presence_s < 1:
        raise ConfigError("presence_s: at least 1 second")
    for name in ("failures_per_minute", "commands_per_second", "chat_per_second", "changes_per_second", "message_bytes", "queue_frames", "capacity"):
        if getattr(config.limits, name) <= 0:
            raise ConfigError(f"limits.{name}: more than 0")
    if config.public_url:
        parts = _address(config.public_url, "http", "https")
        if parts is None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ConfigError("public_url: an origin such as https://meet.example.gov.vn, without a path")
    if config.tls is not None:
        if not config.tls.cert or not config.tls.key:
            raise ConfigError("[tls]: needs both cert and key, paths of PEM files")
        tls_context(config)
    if not config.loopback() and config.tls is None and not config.behind_proxy:
        raise ConfigError(
            f"host {config.host}: passwords and meetings must not travel in the clear. Either give [tls] cert and key in the config, "
            "or set behind_proxy = true when a front such as nginx ends TLS, or listen on 127.0.0.1"
        )
    media = config.media
    if media.url:
        if _address(media.url, "ws", "wss", "http", "https") is None:
            raise ConfigError("media.url: an address such as wss://sfu.example.gov.vn")
        if not media.api_key or not media.api_secret:
            raise ConfigError("[media]: url needs api_key and api_secret, as in LiveKit's `keys`")
        if len(media.api_secret) < 32:
            raise ConfigError("media.api_secret: at least 32 characters")
        if media.api_url and _address(media.api_url, "http", "https") is None:
            raise ConfigError("media.api_url: an address such as http://127.0.0.1:7880")


def tls_context(config: Config) -> ssl.SSLContext | None:
    """The certificate, loaded; None without [tls]. Raises ConfigError."""
    if config.tls is None:
        return None
    key = config.tls.key

    def passphrase() -> str:  # asked by OpenSSL, which would else ask the terminal
        raise ConfigError(f"[tls]: {key} is locked by a passphrase: give a key without one, readable by the server only")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls.cert, key, passphrase)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"[tls]: the certificate cannot be used: {error}") from None
    return context

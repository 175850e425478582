"""What a user pastes, or the system hands over, as a meeting's link: parsed as the hostile input it is. Pure; any thread.

    https://host[:port]/m/<code>[#k=<chair secret>]      vidconf://host[:port]/m/<code>[#k=…]      <code> with a known server

Always https; http only to this very machine. No options, no user names, no other path, no host that passes for another.
A host never used before comes back with `confirm` set: nothing may be asked of it before the user has said yes.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Collection, Iterable

from vidconf.client.state import JoinLink
from vidconf.meeting.names import skeleton

LINK_LIMIT = 2048
PASTE_LIMIT = 16_384
"""An invitation may be pasted whole; more is not looked at."""

LINK_ERRORS = (
    "link_empty", "link_too_long", "link_unclear", "link_scheme", "link_insecure", "link_userinfo", "link_options", "link_host",
    "link_lookalike", "link_path", "link_code", "link_no_server", "link_not_allowed",
)  # fmt: skip

_CODE = re.compile(r"[a-z0-9]{4,16}(-[a-z0-9]{1,16}){0,7}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{16,128}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LINK_WORD = re.compile(r"(?:https?|vidconf)://[^\s<>\"'“”]+", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_TRAILING = ".,;:!?)]}>\"'”»"
_AROUND = " \t\r\n.,;!<>()[]{}\"'“”«»"
"""What a sentence leaves around a link that is copied out of it."""


class LinkError(ValueError):
    """No link we follow. `code` is one of `LINK_ERRORS`; words: `error.<code>`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def parse_link(text: str, *, server: str = "", known: Collection[str] = (), allowed: Iterable[str] = ()) -> JoinLink:
    """The link in `text`. Raises `LinkError`.

    `server`: origin a bare code is meant for, "" when none. `known`: origins used before. `allowed`: hosts policy allows
    (`host`, `host:port`, `*.domain`), empty for all."""
    word = _the_link(text)
    if _SCHEME.match(word) is None or "://" not in word:
        link = _bare_code(word, server)
    else:
        link = _whole_link(word)
    if not is_allowed(link.origin, allowed):
        raise LinkError("link_not_allowed")
    if link.origin in known or link.origin == server:
        return link
    if any(_passes_for(link.origin, origin) for origin in {*known, server} - {""}):
        raise LinkError("link_lookalike")
    return JoinLink(link.origin, link.code, link.secret, confirm=True)


def parse_origin(text: str) -> str:
    """A server's address as typed (`meet.example.vn`, `https://…`) as an origin. Raises `LinkError`."""
    word = text.strip().rstrip("/")
    if not word:
        raise LinkError("link_empty")
    if len(word) > LINK_LIMIT:
        raise LinkError("link_too_long")
    scheme, mark, rest = word.partition("://")
    if not mark:
        scheme, rest = "", word
    if any(char in rest for char in "/?#\\@%") or any(_odd(char) for char in rest):
        raise LinkError("link_host")
    host, port = _host_port(rest)
    if scheme.lower() not in ("", "https", "http"):
        raise LinkError("link_scheme")
    if scheme.lower() == "http" and not is_loopback(host):
        raise LinkError("link_insecure")
    secure = scheme.lower() == "https" or (not scheme and not is_loopback(host))
    return _origin("https" if secure else "http", host, port)


def is_loopback(host: str) -> bool:
    """Whether `host` is this very machine."""
    bare = host.strip("[]")
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def is_allowed(origin: str, allowed: Iterable[str]) -> bool:
    """Whether one of the hosts policy allows (as `parse_link` takes them) is the origin's."""
    patterns = [pattern.strip().lower().removeprefix("https://").rstrip("/") for pattern in allowed if pattern.strip()]
    authority = origin.partition("://")[2]
    host = _split_port(authority)[0]
    named = any(pattern in (authority, host) or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in patterns)
    return named or not patterns


def shown_host(origin: str) -> str:
    """The host of an origin as a person reads it, port included."""
    host, port = _split_port(origin.partition("://")[2])
    return _readable(host) + (f":{port}" if port else "")


# ---- the parts ----------------------------------------------------------------------------------------------------------


def _the_link(text: str) -> str:
    """The one link in what was pasted: a whole invitation holds it somewhere."""
    if len(text) > PASTE_LIMIT:
        raise LinkError("link_too_long")
    trimmed = text.strip().strip(_AROUND)
    if not trimmed:
        raise LinkError("link_empty")
    if len(trimmed.split()) > 1:
        found = {word.rstrip(_TRAILING) for word in _LINK_WORD.findall(trimmed)}
        found = {word for word in found if "/m/" in word} or found
        if len(found) == 1:
            trimmed = found.pop()
        elif found:
            raise LinkError("link_unclear")
    if len(trimmed) > LINK_LIMIT:
        raise LinkError("link_too_long")
    return trimmed


def _bare_code(word: str, server: str) -> JoinLink:
    code = _code(word.replace(" ", ""))
    if not server:
        raise LinkError("link_no_server")
    return JoinLink(server, code)


def _whole_link(word: str) -> JoinLink:
    if any(_odd(char) for char in word):
        raise LinkError("link_path")
    scheme, _, rest = word.partition("://")
    scheme = scheme.lower()
    if scheme not in ("https", "http", "vidconf"):
        raise LinkError("link_scheme")
    rest, hash_, fragment = rest.partition("#")
    rest, question, _ = rest.partition("?")
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise LinkError("link_userinfo")
    host, port = _host_port(authority)
    if scheme == "http" and not is_loopback(host):
        raise LinkError("link_insecure")
    if question:
        raise LinkError("link_options")
    secret = ""
    if hash_:
        name, _, secret = fragment.partition("=")
        if name != "k" or not _SECRET.fullmatch(secret):
            raise LinkError("link_options")
    first, _, code = path.removesuffix("/").partition("/")
    if first != "m":
        raise LinkError("link_path")
    if scheme == "vidconf":  # the link's page on this machine speaks plain http, anywhere else https
        scheme = "http" if is_loopback(host) else "https"
    return JoinLink(_origin(scheme, host, port), _code(code), secret)


def _odd(char: str) -> bool:
    return char in "\\%" or char.isspace() or unicodedata.category(char)[0] in "CZ"


def _code(text: str) -> str:
    code = text.lower()
    if len(code) > 64 or not _CODE.fullmatch(code):
        raise LinkError("link_code")
    return code


def _split_port(authority: str) -> tuple[str, str]:
    if authority.startswith("["):
        host, end, rest = authority.partition("]")
        return (host + end, rest[1:]) if rest[:1] in ("", ":") else (authority, "")
    host, _, port = authority.partition(":")
    return host, port


def _host_port(authority: str) -> tuple[str, int | None]:
    """(host in lower case ASCII, port). Raises `LinkError`."""
    if len(authority) > 300:
        raise LinkError("link_host")
    raw, port_text = _split_port(authority)
    port: int | None = None
    if port_text or authority.endswith(":"):
        if not port_text.isascii() or not port_text.isdigit() or len(port_text) > 5 or not 0 < int(port_text) < 65536:
            raise LinkError("link_host")
        port = int(port_text)
    return _host(raw), port


def _host(raw: str) -> str:
    if raw.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(raw[1:-1])}]" if raw.endswith("]") and "%" not in raw else _no_host()
        except ValueError:
            raise LinkError("link_host") from None
    host = raw.lower().removesuffix(".")
    if not host.isascii():
        if unicodedata.normalize("NFKC", host) != host or not _one_script(host):
            raise LinkError("link_lookalike")
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise LinkError("link_host") from None
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise LinkError("link_host")
    if any(label.startswith("xn--") for label in labels):
        readable = _readable(host)
        if readable == host or not _one_script(readable):
            raise LinkError("link_lookalike")
    if labels[-1][0].isdigit():  # a number: only the plain form, 0x7f.1 and 2130706433 pass for nothing good
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise LinkError("link_host") from None
    return host


def _no_host() -> str:
    raise LinkError("link_host")


def _readable(host: str) -> str:
    """Punycode labels as letters; a label that is no good stays as it is."""
    if "xn--" not in host:
        return host
    try:
        return host.encode("ascii").decode("idna")
    except UnicodeError:
        return host


def _one_script(host: str) -> bool:
    """Latin letters only (Vietnamese ones too): no Cyrillic а among them, nor a whole name of another script."""
    return all(char in "-." or char.isdigit() or unicodedata.name(char, "").startswith(("LATIN SMALL", "COMBINING")) for char in host)


def _passes_for(origin: str, known: str) -> bool:
    """Whether a reader could take one host for the other: meet1 for meetl, or ă for a."""

    def shape(one: str) -> tuple[str, ...]:
        host = shown_host(one)
        bare = "".join(char for char in unicodedata.normalize("NFD", host) if unicodedata.category(char) != "Mn").replace("đ", "d")
        return tuple(skeleton(label.replace("rn", "m").replace("vv", "w")) for label in re.split(r"[.:-]", bare))

    return shown_host(origin) != shown_host(known) and _is_name(origin) and _is_name(known) and shape(origin) == shape(known)


def _is_name(origin: str) -> bool:
    host = _split_port(origin.partition("://")[2])[0]
    return not host.startswith("[") and not host.rpartition(".")[2].isdigit()


def _origin(scheme: str, host: str, port: int | None) -> str:
    default = 443 if scheme == "https" else 80
    return f"{scheme}://{host}" + ("" if port is None or port == default else f":{port}")

"""A TURN server as operators and administrators write it (RFC 7065). Standard library only; any thread."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

Transport = Literal["udp", "tcp", "tls"]
_URL = re.compile(r"(turns?):(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::([0-9]{1,5}))?(?:\?transport=(udp|tcp))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class TurnServer:
    """One URL of an ICE server's entry, with its name and password."""

    host: str
    port: int
    transport: Transport
    username: str = ""
    credential: str = ""


def read_url(url: str, username: str = "", credential: str = "") -> TurnServer | None:
    """`turn:host[:port][?transport=udp|tcp]` or `turns:…` (RFC 7065); None for anything else, TURN over DTLS among it."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host, port_text, transport = match.groups()
    port = int(port_text) if port_text else (5349 if scheme == "turns" else 3478)
    if not 0 < port < 65536 or (scheme == "turns" and transport == "udp"):
        return None
    kind: Transport = "tls" if scheme == "turns" else cast(Transport, transport or "udp")
    return TurnServer(host.strip("[]"), port, kind, username, credential)

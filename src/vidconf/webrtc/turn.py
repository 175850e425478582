"""TURN (RFC 8656) as a way for media: over UDP, over TCP, and over TLS with the operating system's certificate store.

Loop's thread. aioice speaks the protocol; here is what it leaves out: several servers, our own sockets (which may go through a
proxy), a certificate that is judged as the rest of the program judges them, and sending without a task for each packet.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import truststore
from aioice.turn import TurnClientTcpProtocol, TurnClientUdpProtocol, TurnTransport

from vidconf.webrtc.ice_tcp import MAX_WAITING, MOST_WAITING
from vidconf.webrtc.tunnel import dial

log = logging.getLogger("vidconf.transport")

MAX_SERVERS = 6
LIFETIME_S, CHANNEL_REFRESH_S = 600, 500
Transport = Literal["udp", "tcp", "tls"]
_URL = re.compile(r"(turns?):(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::([0-9]{1,5}))?(?:\?transport=(udp|tcp))?", re.ASCII)
_channel_head = struct.Struct("!HH")


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


def turn_servers(entries: Iterable[Mapping[str, Any]]) -> list[TurnServer]:
    """Of `{"urls", "username", "credential"}` entries those that can be used: UDP first, then TCP, then TLS, each in the order
    given, at most `MAX_SERVERS`. STUN servers are left out: who talks to a server needs nobody to tell his address."""
    found: list[TurnServer] = []
    for entry in entries:
        urls = entry.get("urls", ())
        for url in [urls] if isinstance(urls, str) else urls if isinstance(urls, list | tuple) else ():
            server = read_url(str(url), str(entry.get("username") or ""), str(entry.get("credential") or ""))
            if server is not None and server not in found:
                found.append(server)
    return sorted(found, key=lambda s: ("udp", "tcp", "tls").index(s.transport))[:MAX_SERVERS]


class Allocation:
    """An address on a TURN server, as a datagram transport. `relayed`, `mapped`: it, and ours as the server sees it."""

    def __init__(self, server: TurnServer, client: TurnClientTcpProtocol | TurnClientUdpProtocol, turn: TurnTransport) -> None:
        self.server, self._client, self._turn = server, client, turn
        self.relayed = cast("tuple[str, int]", turn.get_extra_info("sockname"))
        self.mapped = cast("tuple[str, int]", turn.get_extra_info("related_address"))

    def sendto(self, data: bytes | memoryview, address: tuple[str, int]) -> None:
        """At once where a channel is bound; the first packets to an address wait for that."""
        client = self._client
        transport = cast(Any, client.transport)
        if transport.is_closing():
            return
        channel = client.peer_to_channel.get(address)
        if channel is None or time.time() > client.channel_refresh_at.get(channel, 0):
            self._turn.sendto(bytes(data), address)
            return
        if self.server.transport == "udp":
            transport.sendto(_channel_head.pack(channel, len(data)) + data)
        elif transport.get_write_buffer_size() <= (MAX_WAITING if 128 <= data[0] < 192 else MOST_WAITING):
            # a stream's frames begin at multiples of four bytes (RFC 8656 §12.5)
            transport.write(_channel_head.pack(channel, len(data)) + data + bytes(-len(data) % 4))

    def is_closing(self) -> bool:
        return bool(self._client.transport.is_closing())

    def close(self) -> None:
        """Give the address back; the protocol's `connection_lost` is called afterwards."""
        self._turn.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._turn.get_extra_info(name, default)


async def allocate(server: TurnServer, make_protocol: Callable[[], asyncio.DatagramProtocol]) -> tuple[Allocation, asyncio.DatagramProtocol]:
    """Ask `server` for an address. Raises OSError (certificates included) and aioice's TransactionError. Cancel to give up."""
    loop = asyncio.get_running_loop()
    kinds: dict[str, Any] = {
        "username": server.username, "password": server.credential, "lifetime": LIFETIME_S, "channel_refresh_time": CHANNEL_REFRESH_S,
    }
    address = (server.host, server.port)
    client: TurnClientTcpProtocol | TurnClientUdpProtocol
    inner: asyncio.BaseTransport
    if server.transport == "udp":
        inner, client = await loop.create_datagram_endpoint(lambda: TurnClientUdpProtocol(address, **kinds), remote_addr=address)
        sock = inner.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    else:
        raw = await dial(server.host, server.port)
        try:
            tls = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if server.transport == "tls" else None
            inner, client = await loop.create_connection(
                lambda: TurnClientTcpProtocol(address, **kinds), sock=raw, ssl=tls, server_hostname=server.host if tls else None
            )
        except BaseException:
            raw.close()
            raise
    try:
        protocol = make_protocol()
        turn = TurnTransport(client)
        await turn._connect(protocol)
    except BaseException:
        inner.close()
        raise
    log.info("TURN over %s gave an address", server.transport)
    return Allocation(server, client, turn), protocol

"""TURN (RFC 8656) as a way for media: over UDP, over TCP, and over TLS with the certificates that the rest of the program believes.

Loop's thread. aioice speaks the protocol; here is what it leaves out: several servers, our own sockets (which may go through a
proxy), a certificate that is judged as the rest of the program judges them, and sending without a task for each packet.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from aioice.turn import TurnClientTcpProtocol, TurnClientUdpProtocol, TurnTransport

from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.sockets import open_datagram
from vidconf.network.turn_url import TurnServer, read_url
from vidconf.webrtc.ice_tcp import MAX_WAITING, MOST_WAITING
from vidconf.webrtc.tunnel import dial

log = logging.getLogger("vidconf.transport")

MAX_SERVERS = 6
LIFETIME_S, CHANNEL_REFRESH_S = 600, 500
_channel_head = struct.Struct("!HH")


def turn_servers(entries: Iterable[Mapping[str, Any]], network: NetworkOptions = DEFAULTS) -> list[TurnServer]:
    """Of `{"urls", "username", "credential"}` entries those that can be used: UDP first, then TCP, then TLS, each in the order
    given, at most `MAX_SERVERS`. STUN servers are left out: who talks to a server needs nobody to tell his address. The options'
    `turn_urls` come instead, with the first name and password that were given."""
    found: list[TurnServer] = []
    for entry in _ours(entries, network.turn_urls) if network.turn_urls else entries:
        urls = entry.get("urls", ())
        for url in [urls] if isinstance(urls, str) else urls if isinstance(urls, list | tuple) else ():
            server = read_url(str(url), str(entry.get("username") or ""), str(entry.get("credential") or ""))
            if server is not None and server not in found and (network.ice_transport != "relay_tls" or server.transport == "tls"):
                found.append(server)
    return sorted(found, key=lambda s: ("udp", "tcp", "tls").index(s.transport))[:MAX_SERVERS]


def _ours(entries: Iterable[Mapping[str, Any]], urls: Sequence[str]) -> list[Mapping[str, Any]]:
    given: Mapping[str, Any] = next((entry for entry in entries if entry.get("username")), {})
    return [{"urls": list(urls), "username": given.get("username"), "credential": given.get("credential")}]


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


async def allocate(
    server: TurnServer, make_protocol: Callable[[], asyncio.DatagramProtocol], network: NetworkOptions = DEFAULTS
) -> tuple[Allocation, asyncio.DatagramProtocol]:
    """Ask `server` for an address. Raises OSError (certificates included) and aioice's TransactionError. Cancel to give up."""
    kinds: dict[str, Any] = {
        "username": server.username, "password": server.credential, "lifetime": LIFETIME_S, "channel_refresh_time": CHANNEL_REFRESH_S,
    }
    address = (server.host, server.port)
    client: TurnClientTcpProtocol | TurnClientUdpProtocol
    inner: asyncio.BaseTransport
    if server.transport == "udp":
        inner, client = await open_datagram(lambda: TurnClientUdpProtocol(address, **kinds), network, remote=address)
        sock = inner.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    else:
        tls = network.ssl_context() if server.transport == "tls" else None
        inner, client = await dial(*address, lambda: TurnClientTcpProtocol(address, **kinds), network, tls=tls)
    try:
        protocol = make_protocol()
        turn = TurnTransport(client)
        await turn._connect(protocol)
    except BaseException:
        inner.close()
        raise
    log.info("TURN over %s gave an address", server.transport)
    return Allocation(server, client, turn), protocol

"""The relay's side of ICE-TCP (RFC 6544, passive): each connection is one more listener of the port, for clients without UDP.

Loop's thread. Frames of RFC 4571; what is in them goes the same way as a datagram. A connection that is no session's way for
`KNOWN_WITHIN_S` is ended, at its beginning or later, and only so many are held, so that strangers find nothing to fill: where all
are, the oldest that is nobody's makes room.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vidconf.webrtc.ice_tcp import FramedStream

if TYPE_CHECKING:
    from vidconf.webrtc.ice_lite import Port

log = logging.getLogger("vidconf.transport")

KNOWN_WITHIN_S = 10.0
MAX_STREAMS = 2000
MAX_STREAMS_OF_ADDRESS = 128
"""From one address, behind which a whole office may sit."""
BACKLOG = 128


class Stream(FramedStream):
    """One client's connection. Stands where a UDP listener stands: `sendto`."""

    def __init__(self, listeners: TcpListeners) -> None:
        super().__init__(self._take, self._over)
        self._listeners, self._port = listeners, listeners.port
        self.address: tuple[str, int, str] = ("", 0, "tcp")
        """As sessions know it: never the same as one of UDP."""
        self._due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        self.address = (str(peer[0]), int(peer[1]), "tcp")
        if not self._listeners.admit(self):
            self.abort()
            return
        self._look_later()

    def _take(self, data: bytes) -> None:
        session = self._port.by_address.get(self.address)
        if session is not None and data[0] > 19:
            session.received(data)
        elif data[0] < 2:
            self._port.checked(data, self.address, self)
        else:
            self._port.counters.unknown_address += 1

    @property
    def is_known(self) -> bool:
        """It is some session's way now."""
        return self.address in self._port.by_address

    def _look_later(self) -> None:
        self._due = asyncio.get_running_loop().call_later(KNOWN_WITHIN_S, self._look)

    def _look(self) -> None:
        if self.is_known:
            self._look_later()
        else:
            self.abort()

    def _over(self) -> None:
        if self._due is not None:
            self._due.cancel()
        self._listeners.forget(self)
        session = self._port.by_address.get(self.address)
        if session is not None:
            session.lose(self.address)


class TcpListeners:
    """`open` binds; `candidates` are what clients are told; `close` ends every connection."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.candidates: tuple[tuple[str, int], ...] = ()
        self._servers: list[asyncio.Server] = []
        self._streams: dict[Stream, None] = {}
        """The oldest first."""
        self._by_host: Counter[str] = Counter()

    async def open(self, addresses: Sequence[str], wanted: int, *, strict: bool) -> None:
        """Bind `wanted` on each address; where it is taken and not `strict`, any number that is free. Raises OSError."""
        loop = asyncio.get_running_loop()
        for number in (wanted,) if strict else (wanted, 0):
            sockets: list[socket.socket] = []
            try:
                for address in addresses:
                    sock = socket.create_server(
                        (address, number or (sockets[0].getsockname()[1] if sockets else 0)),
                        family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=BACKLOG,
                    )  # fmt: skip
                    sock.setblocking(False)
                    sockets.append(sock)
            except OSError:
                for sock in sockets:
                    sock.close()
                if strict or number == 0:
                    raise
                continue
            self._servers = [await loop.create_server(lambda: Stream(self), sock=sock) for sock in sockets]
            self.candidates = tuple((sock.getsockname()[0], sock.getsockname()[1]) for sock in sockets)
            return

    def admit(self, stream: Stream) -> bool:
        host = _household(stream.address[0])
        if self._by_host[host] >= MAX_STREAMS_OF_ADDRESS or (len(self._streams) >= MAX_STREAMS and not self._make_room()):
            self.port.counters.streams_refused += 1
            return False
        self._streams[stream] = None
        self._by_host[host] += 1
        return True

    def _make_room(self) -> bool:
        """End the oldest that is nobody's; False: all are somebody's."""
        for one in self._streams:
            if not one.is_known:
                self.forget(one)
                one.abort()
                return True
        return False

    def forget(self, stream: Stream) -> None:
        if stream in self._streams:
            del self._streams[stream]
            host = _household(stream.address[0])
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for stream in list(self._streams):
            stream.abort()


def _household(host: str) -> str:
    """Of whom connections are counted: an IPv4 address, or the /64 of an IPv6 one, which anybody has to choose from."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return host if address.version == 4 else address.packed[:8].hex()

"""Our side of ICE towards a server: UDP at once, and where that does not get through TCP and TURN, with nothing signalled for it.

Loop's thread. aioice's `Connection` with its gathering replaced. Three things follow from the other end being a server that
answers whoever checks it well: no STUN server is asked (it sees our address by itself), gathering takes no round trip (only
sockets are opened), and a way that is found later needs no new candidate told (it is peer-reflexive, RFC 8445 §7.3.1.3). So TCP
(RFC 6544) and TURN are tried only when UDP has not answered for `DIRECT_S`, and cost a join that does not need them nothing.
Rests on private names of aioice 0.13.0; what it is of `seams` is kept true by the same tests.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from aioice import Candidate, Connection, stun
from aioice import ice as aioice
from aioice.candidate import candidate_foundation, candidate_priority

from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.sockets import open_datagram
from vidconf.network.turn_url import TurnServer
from vidconf.webrtc.addresses import is_loopback, local_addresses
from vidconf.webrtc.ice_tcp import FramedStream
from vidconf.webrtc.tunnel import dial
from vidconf.webrtc.turn import allocate

log = logging.getLogger("vidconf.transport")

DIRECT_S = 0.8
"""How long UDP is waited for before other ways are tried beside it."""
APART_S = 0.25
"""Between the beginnings of two of those."""
LOOK_S = 0.05
WAY_S = 8.0
"""A way that is not open by then never will be."""
MAX_DATAGRAM = 4096
MAX_TCP = 4
"""TCP candidates of a server that are tried."""
UDP_BUFFER = 1 << 20
TURN_WAYS = {"udp": "turn_udp", "tcp": "turn_tcp", "tls": "turn_tls"}


class Way(aioice.StunProtocol):
    """One socket, stream or TURN address that checks and packets go by. `kind`: `udp`, `tcp`, `turn_udp`, `turn_tcp`, `turn_tls`.

    Packets of media go from here straight to `Agent.on_media`, without aioice's queue and a task; garbage stops here: aioice
    0.13.0 tries every datagram as STUN, lets struct.error out of a malformed one, and hands an empty one on to aiortc 1.16.0,
    whose receive loop indexes it and closes the connection.
    """

    def __init__(self, agent: Agent, kind: str, server: str = "") -> None:
        super().__init__(agent)
        self.agent, self.kind, self.server = agent, kind, server

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        data = cast(bytes, data)
        first = data[0] if data else 255
        if 128 <= first < 192:
            self.agent.on_media(data)
        elif first < 64 and len(data) <= MAX_DATAGRAM:
            try:
                super().datagram_received(data, addr)
            except Exception:
                self.agent.on_garbage()
        else:
            self.agent.on_garbage()

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        self._send(data, addr)

    def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
        self._send(bytes(message), addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        """A socket that the system took away is no place to send to: asyncio's raises AttributeError then."""
        if not self.transport.is_closing():
            self.transport.sendto(data, addr)


class Agent(Connection):
    """One of a peer's. `servers`: TURN, in the order to be tried. `relayed_only`: by TURN or not at all, and no address of this
    machine is told; the options may say so, too. `direct_s`: what UDP is given alone; 0 where it is known not to get through."""

    def __init__(
        self, servers: Sequence[TurnServer] = (), *, relayed_only: bool = False, direct_s: float = DIRECT_S,
        network: NetworkOptions = DEFAULTS,
    ) -> None:  # fmt: skip
        super().__init__(ice_controlling=False)
        self.network = network
        self.servers, self.relayed_only = tuple(servers), relayed_only or network.relayed_only
        self.direct_s = 0.0 if self.relayed_only else direct_s
        self.on_media: Callable[[bytes], None] = lambda data: None
        self.on_garbage: Callable[[], None] = lambda: None
        self._trying: set[asyncio.Task[None]] = set()

    @property
    def way(self) -> Way | None:
        """By which everything goes now; None before it is found and after it is lost."""
        pair = self._nominated.get(1)
        return cast(Way, pair.protocol) if pair is not None else None

    # ---- gathering
    async def gather_candidates(self) -> None:
        """Open a UDP socket for each address of this machine."""
        if self._local_candidates_start:
            return
        self._local_candidates_start = True
        for address in [] if self.relayed_only else local_addresses("::"):
            try:
                transport, way = await open_datagram(lambda: Way(self, "udp"), self.network, local=address)
            except OSError as error:        # an address that is being taken away, of an interface that is down; or no port is free
                log.log(logging.WARNING if self.network.udp_ports else logging.DEBUG, "no socket at one of the addresses: %s", error)
                continue
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER)
            host, port = transport.get_extra_info("sockname")[:2]
            way.local_candidate = _candidate("host", "udp", host, port)
            self._protocols.append(way)
            if not is_loopback(host):       # of no use to a server elsewhere, and one here sees where we come from
                self._local_candidates.append(way.local_candidate)
        self._local_candidates_end = True

    def _pair_remote_candidate(self, remote_candidate: Candidate) -> None:
        """Only what can meet: loopback with loopback, a stream or relayed address with what it was opened for."""
        here = is_loopback(remote_candidate.host)
        for way in self._protocols:
            local = way.local_candidate
            if local.can_pair_with(remote_candidate) and (here or not is_loopback(local.host)) and not self._find_pair(way, remote_candidate):
                self._check_list.append(aioice.CandidatePair(way, remote_candidate))

    # ---- connecting
    async def connect(self) -> None:
        """Find a way. Raises ConnectionError only when it is given up: candidates may come at any time."""
        others = asyncio.create_task(self._try_others(), name="other ways")
        try:
            await super().connect()
        finally:
            others.cancel()
            await asyncio.wait([others])
            self._drop_unused()

    async def close(self) -> None:
        for task in list(self._trying):
            task.cancel()
        if self._trying:
            await asyncio.wait(self._trying)
        await super().close()

    async def _try_others(self) -> None:
        """When UDP has had its time: TURN servers in their order and the server's TCP candidates, the ones that come late too."""
        await asyncio.sleep(self.direct_s)
        if self.way is not None:
            return
        servers, tried = list(self.servers), 0
        if self.direct_s:
            log.info("UDP does not answer: trying other ways")
        for step in itertools.count():
            if self.way is not None or self._closing:
                return
            if step % round(APART_S / LOOK_S) == 0 and servers:
                self._try(self._relay(servers.pop(0)))
            for candidate in [c for c in self._remote_candidates if _is_passive(c)][tried:MAX_TCP]:
                tried += 1
                if not self.relayed_only:
                    self._try(self._stream(candidate))
            await asyncio.sleep(LOOK_S)

    def _try(self, attempt: Any) -> None:
        task = asyncio.create_task(self._open(attempt), name="another way")
        self._trying.add(task)
        task.add_done_callback(self._trying.discard)

    async def _open(self, attempt: Any) -> None:
        try:
            async with asyncio.timeout(WAY_S):
                way: Way = await attempt
        except (OSError, TimeoutError, stun.TransactionError) as error:
            log.info("another way did not open: %s", str(error) or type(error).__name__)
            return
        if self._closing or self.way is not None:
            way.transport.close()
            return
        self._protocols.append(way)
        for candidate in self._remote_candidates:
            self._pair_remote_candidate(candidate)
        self.sort_check_list()
        for pair in self._check_list:
            if pair.protocol is way:
                self.check_start_task(pair)

    async def _stream(self, candidate: Candidate) -> Way:
        """A TCP connection to one candidate. Raises OSError."""
        address = (candidate.host, candidate.port)
        way = Way(self, "tcp", candidate.host)
        stream = FramedStream(lambda data: way.datagram_received(data, address), lambda: way.connection_lost(None))
        await dial(*address, lambda: stream, self.network)
        way.connection_made(cast(asyncio.BaseTransport, stream))
        host, port = stream.get_extra_info("sockname")[:2]
        way.local_candidate = _candidate("host", "tcp", host, port, tcptype="active")
        return way

    async def _relay(self, server: TurnServer) -> Way:
        """An address on a TURN server. Raises OSError, TransactionError."""
        allocation, protocol = await allocate(server, lambda: Way(self, TURN_WAYS[server.transport], server.host), self.network)
        way = cast(Way, protocol)
        way.transport = cast(asyncio.DatagramTransport, allocation)
        way.local_candidate = _candidate("relay", "udp", *allocation.relayed[:2])
        return way

    def _drop_unused(self) -> None:
        """Streams and TURN addresses that were not chosen are given back; UDP sockets cost nothing and may still be nominated."""
        for task in list(self._trying):
            task.cancel()
        chosen = self.way
        for way in [cast(Way, p) for p in self._protocols]:
            if chosen is not None and way is not chosen and way.kind != "udp":
                self._protocols.remove(way)
                way.transport.close()


def _is_passive(candidate: Candidate) -> bool:
    return candidate.transport.lower() == "tcp" and candidate.tcptype == "passive" and candidate.type == "host"


def _candidate(kind: str, transport: str, host: str, port: int, tcptype: str | None = None) -> Candidate:
    return Candidate(
        foundation=candidate_foundation(kind, transport, host), component=1, transport=transport,
        priority=candidate_priority(1, kind), host=host, port=port, type=kind, tcptype=tcptype,
    )  # fmt: skip

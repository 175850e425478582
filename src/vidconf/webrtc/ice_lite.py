"""The relay's side of ICE: ICE-lite (RFC 8445 §2.5) for many sessions on one UDP port (and one of TCP), and DTLS-SRTP over it.

Called by the relay, on its loop's thread. A session is found by the local half of STUN's USERNAME, later packets by their
source address. After DTLS is up, SRTP and SRTCP go straight from the socket to the session's handlers: no queue, no task, no
await a packet. Strangers cost a dictionary look-up: nothing is parsed further, computed or answered before the name is known.
The one thing a stranger may have is the answer to a plain binding request, by which `vidconf doctor` measures whether UDP gets
through, how long it takes and what is lost: never larger than what was asked with, and so many a second only.

STUN is written here by hand (RFC 8489), not with aioice: one request of the one method that exists for us is read in a
microsecond, while a flood must cost less than a forwarded packet.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Protocol

from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from pylibsrtp import Error as SrtpError

from vidconf.webrtc import seams
from vidconf.webrtc.addresses import local_addresses
from vidconf.webrtc.ice_lite_tcp import TcpListeners

log = logging.getLogger("vidconf.transport")

Address = tuple[str, int] | tuple[str, int, int, int] | tuple[str, int, str]

SOCKET_BUFFER_BYTES = 4 << 20
HANDSHAKE_QUEUE = 64
"""Datagrams of DTLS waiting for their session's task; SCTP of a burst of data included. What is over is lost, and sent again."""
CERTIFICATE_S = 7 * 86400.0
ADDRESS_HELD_S = 10.0
PROBES_PER_S = 1000
"""Plain binding requests answered in a second, from everywhere."""
PROBES_PER_S_AND_ADDRESS = 100
"""And from one address: ten who measure at once behind one router."""
PROBE_SLOTS = 1 << 10

_MAGIC = b"\x21\x12\xa4\x42"
_BINDING_REQUEST, _BINDING_ANSWER = b"\x00\x01", b"\x01\x01"
_USERNAME, _INTEGRITY, _XOR_MAPPED, _USE_CANDIDATE, _FINGERPRINT = 0x0006, 0x0008, 0x0020, 0x0025, 0x8028
_FINGERPRINT_XOR = 0x5354554E


@dataclass(slots=True)
class PortCounters:
    """What a UDP port has seen. Everything a stranger can cause ends in one of these."""

    checks: int = 0
    """STUN checks answered."""
    stun_refused: int = 0
    """STUN that is malformed, not a binding request, of an unknown name or wrongly signed."""
    unknown_address: int = 0
    """Packets from an address that no check came from, and what is no protocol of ours."""
    srtp_refused: int = 0
    """Packets that do not decrypt, repeat, or come before DTLS is up."""
    faults: int = 0
    """Decrypted packets that a handler raised on: each is a bug."""
    unsent: int = 0
    """Packets that the socket or SRTP did not take."""
    moves: int = 0
    """Sessions that came to another address."""
    probes: int = 0
    """Plain binding requests answered."""
    probes_refused: int = 0
    """Those over the limit, or too small for their answer."""
    streams_refused: int = 0
    """TCP connections over the limit."""

    def as_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class Check:
    """A binding request, read as far as it must be: by whom, whether it nominates, and what its signature covers."""

    name: bytes
    nominates: bool
    transaction: bytes
    integrity_at: int


def read_check(data: bytes) -> Check | None:
    """A STUN binding request with USERNAME and MESSAGE-INTEGRITY; None for anything else. Verifies nothing."""
    size = len(data)
    if size < 20 or data[:2] != _BINDING_REQUEST or data[4:8] != _MAGIC or size != 20 + (data[2] << 8 | data[3]):
        return None
    at, name, nominates = 20, b"", False
    while at + 4 <= size:
        kind, length = data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]
        if at + 4 + length > size:
            return None
        if kind == _USERNAME:
            name = data[at + 4 : at + 4 + length]
        elif kind == _USE_CANDIDATE:
            nominates = True
        elif kind == _INTEGRITY:
            return Check(name, nominates, data[8:20], at) if length == 20 and name else None
        at += 4 + (length + 3 & ~3)
    return None


def is_signed(data: bytes, check: Check, password: bytes) -> bool:
    """RFC 8489 §14.5: HMAC-SHA1 of what comes before it, the length counted as if the attribute were the last."""
    at = check.integrity_at
    covered = data[:2] + (at + 4).to_bytes(2, "big") + data[4:at]
    return hmac.compare_digest(hmac.digest(password, covered, "sha1"), data[at + 4 : at + 24])


def is_probe(data: bytes) -> bool:
    """Whether this, which is no check of a session's, is a whole binding request without a name."""
    size = len(data)
    if size < 20 or data[:2] != _BINDING_REQUEST or data[4:8] != _MAGIC or size != 20 + (data[2] << 8 | data[3]):
        return False
    at = 20
    while at + 4 <= size:
        if data[at] << 8 | data[at + 1] in (_USERNAME, _INTEGRITY):
            return False
        at += 4 + ((data[at + 2] << 8 | data[at + 3]) + 3 & ~3)
    return at == size


def _mapped_address(address: Address, mask: bytes) -> bytes:
    """The attribute XOR-MAPPED-ADDRESS."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    value = bytes((0, 1 if ip.version == 4 else 2)) + (address[1] ^ 0x2112).to_bytes(2, "big")
    value += bytes(a ^ b for a, b in zip(ip.packed, mask, strict=False))
    return _XOR_MAPPED.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def write_plain_answer(transaction: bytes, address: Address) -> bytes:
    """The answer to a probe: XOR-MAPPED-ADDRESS and nothing else, 32 bytes (44 for IPv6)."""
    body = _mapped_address(address, _MAGIC + transaction)
    return _BINDING_ANSWER + len(body).to_bytes(2, "big") + _MAGIC + transaction + body


def write_answer(transaction: bytes, address: Address, password: bytes) -> bytes:
    """The binding answer: XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY, FINGERPRINT."""
    mask = _MAGIC + transaction
    body = _mapped_address(address, mask)
    head = _BINDING_ANSWER + (len(body) + 24).to_bytes(2, "big") + mask
    body += b"\x00\x08\x00\x14" + hmac.digest(password, head + body, "sha1")
    head = _BINDING_ANSWER + (len(body) + 8).to_bytes(2, "big") + mask
    crc = (binascii.crc32(head + body) ^ _FINGERPRINT_XOR) & 0xFFFFFFFF
    return head + body + _FINGERPRINT.to_bytes(2, "big") + b"\x00\x04" + crc.to_bytes(4, "big")


class Sender(Protocol):
    """What answers leave by: an address of the UDP port, or a client's stream."""

    @property
    def sendto(self) -> Callable[[bytes | memoryview, Address], object]: ...


class _Listener(asyncio.DatagramProtocol):
    """One address of the port."""

    def __init__(self, port: Port, sock: socket.socket) -> None:
        self.port, self.socket = port, sock
        self.sendto = sock.sendto
        # The same table for all addresses, bound here to spare a look-up a packet.
        self._by_address = port.by_address

    def datagram_received(self, data: bytes, addr: Address) -> None:
        session = self._by_address.get(addr)
        if session is not None and data and data[0] > 19:
            session.received(data)
        elif data and data[0] < 2:
            self.port.checked(data, addr, self)
        else:
            self.port.counters.unknown_address += 1

    def error_received(self, exc: Exception) -> None:
        self.port.counters.unsent += 1


class Port:
    """One UDP port. A wildcard host is bound address by address, so that each answer leaves by the address it was asked at."""

    def __init__(self) -> None:
        self.sessions: dict[bytes, LiteSession] = {}
        """By the ufrag that we chose."""
        self.by_address: dict[Address, LiteSession] = {}
        """Where a session's valid checks last came from: at most one address a session."""
        self.counters = PortCounters()
        self.candidates: tuple[tuple[str, int], ...] = ()
        """(address, port) to tell the clients."""
        self.tcp_candidates: tuple[tuple[str, int], ...] = ()
        """The same of TCP."""
        self.port = 0
        self._tcp = TcpListeners(self)
        self._probes_at, self._probes = 0, 0
        self._probes_from = bytearray(PROBE_SLOTS)
        self._transports: list[asyncio.DatagramTransport] = []
        self._certificate: tuple[float, RTCCertificate] | None = None

    @classmethod
    async def open(cls, host: str, port: int, announce: Iterable[str] = (), tcp_port: int = 0) -> Port:
        """Bind `host` (0.0.0.0 and :: mean every address this machine has now) and `port` (0: any that is free on all).

        `announce` are the addresses told to clients instead, behind a router that forwards the ports. `tcp_port`: for clients
        without UDP; 0: the same number, or another where that is taken. Raises OSError.
        """
        self = cls()
        loop = asyncio.get_running_loop()
        addresses = local_addresses(host)
        for sock in _bind(addresses, port):
            transport, _ = await loop.create_datagram_endpoint(lambda sock=sock: _Listener(self, sock), sock=sock)  # type: ignore[misc]
            self._transports.append(transport)
            self.port = sock.getsockname()[1]
            self.candidates += ((sock.getsockname()[0], self.port),)
        try:
            await self._tcp.open(addresses, tcp_port or self.port, strict=bool(tcp_port))
        except OSError:
            await self.close()
            raise
        announced = list(announce)
        self.candidates = tuple((address, self.port) for address in announced) or self.candidates
        bound = self._tcp.candidates
        self.tcp_candidates = tuple((address, bound[0][1]) for address in announced) or bound
        return self

    def certificate(self) -> RTCCertificate:
        """One for all sessions of a week: making one takes longer than the rest of a join."""
        now = time.monotonic()
        if self._certificate is None or now - self._certificate[0] > CERTIFICATE_S:
            self._certificate = (now, RTCCertificate.generateCertificate())
        return self._certificate[1]

    def checked(self, data: bytes, address: Address, listener: Sender) -> None:
        """A STUN message has come."""
        check = read_check(data)
        if check is None and is_probe(data):
            self._probed(data, address, listener)
            return
        session = self.sessions.get(check.name.partition(b":")[0]) if check is not None else None
        if check is None or session is None or not is_signed(data, check, session.password_bytes):
            self.counters.stun_refused += 1
            return
        self.counters.checks += 1
        session.checked_at = now = time.monotonic()
        try:
            listener.sendto(write_answer(check.transaction, address, session.password_bytes), address)
        except OSError:
            self.counters.unsent += 1
        # Trust where the check comes from, not the candidate: Pion, for one, sends from another of its host's addresses.
        # But an address that another session lives at is not to be had by a spoofed check.
        other = self.by_address.get(address)
        if other is not None and other is not session and now - other.checked_at < ADDRESS_HELD_S:
            self.counters.stun_refused += 1
            return
        if session.address is None or (check.nominates and (address != session.address or listener is not session.listener)):
            session.move(address, listener)

    def _probed(self, data: bytes, address: Address, listener: Sender) -> None:
        """Answer, within limits that hold under any flood: a counter for all and one for each of some slots that addresses are
        hashed to, all begun anew each second. Spoofed addresses find no memory to fill, and nobody gets back more than was sent."""
        second = int(time.monotonic())
        if second != self._probes_at:
            self._probes_at, self._probes, self._probes_from = second, 0, bytearray(PROBE_SLOTS)
        slot = hash(address[0]) % PROBE_SLOTS
        if self._probes >= PROBES_PER_S or self._probes_from[slot] >= PROBES_PER_S_AND_ADDRESS or len(data) < 44:
            self.counters.probes_refused += 1
            return
        self._probes += 1
        self._probes_from[slot] += 1
        self.counters.probes += 1
        try:
            listener.sendto(write_plain_answer(data[8:20], address), address)
        except OSError:
            self.counters.unsent += 1

    async def close(self) -> None:
        for session in list(self.sessions.values()):
            await session.close()
        for transport in self._transports:
            transport.close()
        self._tcp.close()


def _bind(addresses: list[str], port: int) -> list[socket.socket]:
    """A socket an address, all on one port. Our own sockets: uvloop's transport hides the one that can `sendto` at once."""
    for attempt in range(20):
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                sock = socket.socket(family, socket.SOCK_DGRAM)
                sockets.append(sock)
                for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                    sock.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BUFFER_BYTES)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setblocking(False)
                sock.bind((address, port if port or len(sockets) == 1 else sockets[0].getsockname()[1]))
        except OSError:
            for sock in sockets:
                sock.close()
            if port or attempt == 19:
                raise
            continue
        return sockets
    raise OSError("no UDP port is free on all addresses")


class LiteSession:
    """One peer connection of the relay. Stands where aiortc's RTCIceTransport would be under RTCDtlsTransport."""

    role, state = "controlled", "completed"

    def __init__(self, port: Port, on_rtp: Callable[[bytes], None], on_rtcp: Callable[[bytes], None]) -> None:
        self.port, self._on_rtp, self._on_rtcp = port, on_rtp, on_rtcp
        self.ufrag, self.password = secrets.token_hex(6), secrets.token_hex(16)
        self.password_bytes = self.password.encode()
        self.address: Address | None = None
        self.listener: Sender | None = None
        self.checked_at = 0.0
        """Monotonic time of the last valid check: consent, RFC 7675."""
        self.dtls = RTCDtlsTransport(self, [port.certificate()])  # type: ignore[arg-type]
        self.closed = False
        self._reached = asyncio.Event()
        self._handshake: asyncio.Queue[bytes] = asyncio.Queue(HANDSHAKE_QUEUE)
        self._sendto: Callable[[bytes | memoryview, Address], object] | None = None
        self._media: seams.Protect | None = None
        self.send: Callable[[int, int, int, int, bytes], None] = self._not_up
        """(first 16 bits, sequence, timestamp, ssrc, payload): protect and send one RTP packet now. What the socket cannot take
        is lost, as on any network. Set anew with each address: a closure spares the hot path its look-ups."""
        self._protect_rtcp: Callable[[bytes], bytes] | None = None
        self._unprotect: Callable[[bytes], bytes] | None = None
        self._unprotect_rtcp: Callable[[bytes], bytes] | None = None
        port.sessions[self.ufrag.encode()] = self

    # ---- what RTCDtlsTransport asks of an ICE transport

    async def _recv(self) -> bytes:
        return await self._handshake.get()

    async def _send(self, data: bytes) -> None:
        if self._sendto is not None and self.address is not None:
            try:
                self._sendto(data, self.address)
            except OSError:
                self.port.counters.unsent += 1

    # ---- connecting

    def fingerprint(self) -> str:
        """Our certificate's, as the description says it."""
        found = next(f for f in self.dtls.getLocalParameters().fingerprints if f.algorithm == "sha-256")
        return f"{found.algorithm} {found.value}"

    async def connect(self, fingerprints: Iterable[tuple[str, str]], dtls_role: str, timeout_s: float) -> bool:
        """Wait for the client's first check, then do DTLS as `server` or `client`. False when it fails or takes too long."""
        seams.set_dtls_role(self.dtls, dtls_role)
        wanted = RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint(algorithm=a, value=v) for a, v in fingerprints])
        try:
            async with asyncio.timeout(timeout_s):
                await self._reached.wait()
                await self.dtls.start(wanted)
        except TimeoutError:
            return False
        if self.dtls.state != "connected" or self.closed:
            return False
        rx, tx = seams.receive_session(self.dtls), seams.send_session(self.dtls)
        assert rx is not None
        assert tx is not None
        self._unprotect, self._unprotect_rtcp = rx.unprotect, rx.unprotect_rtcp
        self._media, self._protect_rtcp = seams.protect_in_place(tx), tx.protect_rtcp
        self._prepare()
        return True

    @property
    def is_up(self) -> bool:
        return self._media is not None and self.dtls.state == "connected"

    def move(self, address: Address, listener: Sender) -> None:
        """The client is at `address` now, first found or changed: a new network costs nothing but this."""
        if self.address is not None:
            self.port.counters.moves += 1
            if self.port.by_address.get(self.address) is self:
                del self.port.by_address[self.address]
        self.port.by_address[address] = self
        self.address, self.listener, self._sendto = address, listener, listener.sendto
        self._prepare()
        self._reached.set()

    def lose(self, address: Address) -> None:
        """The stream to `address` has ended; the client may come by another way."""
        if self.address == address:
            self.port.by_address.pop(address, None)
            self.address = self.listener = self._sendto = None
            self._prepare()

    def _prepare(self) -> None:
        protect, sendto, address, counters = self._media, self._sendto, self.address, self.port.counters
        if protect is None or sendto is None or address is None:
            self.send = self._not_up
            return

        def send(word: int, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> None:
            try:
                sendto(protect(word, sequence, timestamp, ssrc, payload), address)
            except (OSError, SrtpError):
                counters.unsent += 1

        self.send = send

    def _not_up(self, word: int, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> None:
        self.port.counters.unsent += 1

    # ---- packets

    def received(self, data: bytes) -> None:
        """A datagram from this session's address that is not STUN."""
        first = data[0]
        if 127 < first < 192 and len(data) > 11:
            try:
                if 192 <= data[1] <= 223:
                    self._on_rtcp(self._unprotect_rtcp(data))  # type: ignore[misc]
                else:
                    self._on_rtp(self._unprotect(data))  # type: ignore[misc]
            except SrtpError:
                self.port.counters.srtp_refused += 1
            except Exception as error:  # one packet's trouble must not end the port; a bug shows in the counter and the log
                if self._unprotect is None:
                    self.port.counters.srtp_refused += 1
                    return
                self.port.counters.faults += 1
                if self.port.counters.faults in (1, 10, 100, 1000):
                    log.exception("a packet could not be handled: %s", type(error).__name__)
        elif 19 < first < 64 and not self._handshake.full():
            self._handshake.put_nowait(data)
        else:
            self.port.counters.unknown_address += 1

    def send_rtcp(self, packet: bytes) -> None:
        """Protect and send one RTCP compound now."""
        try:
            self._sendto(self._protect_rtcp(packet), self.address)  # type: ignore[misc, arg-type]
        except (OSError, SrtpError, TypeError):
            self.port.counters.unsent += 1

    def forget_incoming(self, ssrc: int) -> None:
        """Drop SRTP's state of an SSRC that is nobody's: a client inventing SSRCs must not fill the memory."""
        seams.remove_stream(seams.receive_session(self.dtls), ssrc)

    def forget_outgoing(self, ssrc: int) -> None:
        """The same for one that we sent."""
        seams.remove_stream(seams.send_session(self.dtls), ssrc)

    async def close(self) -> None:
        """Say goodbye and let go of the address. May be called twice."""
        if self.closed:
            return
        self.closed = True
        self.port.sessions.pop(self.ufrag.encode(), None)
        await self.dtls.stop()
        if self.address is not None and self.port.by_address.get(self.address) is self:
            del self.port.by_address[self.address]
        self._sendto = self._media = self._protect_rtcp = None
        self._prepare()

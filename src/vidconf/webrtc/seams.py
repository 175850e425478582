"""What touches private names of aiortc and aioice, with `ice_agent` and `turn`, and no other file. Debt by design.

Each entry says the version it was read in, why it is needed, and the test that fails when it is no longer true
(tests/unit/webrtc/test_peer.py, TestSeams). Loop's thread only.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import struct
import time
from collections.abc import Callable
from typing import Any

from aioice import stun
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport, RTCSctpTransport
from pylibsrtp import Error as SrtpError
from pylibsrtp import Session
from pylibsrtp._binding import ffi, lib

from vidconf.webrtc.ice_agent import Agent

log = logging.getLogger("vidconf.transport")

MAX_DATAGRAM = 4096
DATA_WINDOW = 1 << 20
OnRtp = Callable[[bytes, float], None]
OnRtcp = Callable[[bytes, float], None]


def set_ice_controlling(ice: RTCIceTransport, controlling: bool) -> None:
    """aiortc 1.16.0: RTCIceTransport has no public way to say the ICE role before `start`."""
    ice._connection.ice_controlling = controlling


def set_dtls_role(dtls: RTCDtlsTransport, role: str) -> None:
    """aiortc 1.16.0: left to itself it derives the DTLS role from the ICE role; the descriptions decide it."""
    dtls._set_role(role)


def receive_session(dtls: RTCDtlsTransport) -> Session | None:
    """aiortc 1.16.0: the SRTP session for packets coming in, None before the handshake; for a reader without queues."""
    return dtls._rx_srtp


def send_session(dtls: RTCDtlsTransport) -> Session | None:
    """aiortc 1.16.0: the SRTP session for packets going out, None before the handshake."""
    return dtls._tx_srtp


Protect = Callable[[int, int, int, int, bytes], "memoryview | bytes"]
"""(first 16 bits, sequence, timestamp, ssrc, payload) -> the SRTP packet, good until the next call of any such function."""

_MAX_PAYLOAD = 2000
_media_head = struct.Struct("!HHII")
_shared = ffi.new("unsigned char[]", 12 + _MAX_PAYLOAD + 256)
_shared_size = ffi.new("int *")


def protect_in_place(session: Session) -> Protect:
    """Write a packet's header and payload into one buffer and encrypt it there; for the relay, which sends each payload to
    many. All on one thread: the buffer is shared. Raises pylibsrtp.Error; a payload over 2,000 bytes is such an error.

    pylibsrtp 1.0.0: `Session.protect` copies a packet in, out and allocates for its length, 2 of the 8 µs that sending one
    costs. Its `_srtp` and `_binding` are private; where they are not as expected, the public way is taken.
    """
    view, size, pack, pack_into = memoryview(ffi.buffer(_shared)), _shared_size, _media_head.pack, _media_head.pack_into
    handle = getattr(session, "_srtp", None)
    if handle is None:
        return lambda word, sequence, timestamp, ssrc, body: session.protect(pack(word, sequence, timestamp, ssrc) + body)
    context, protect = handle[0], lib.srtp_protect

    def in_place(word: int, sequence: int, timestamp: int, ssrc: int, body: bytes) -> memoryview:
        end = 12 + len(body)
        if end > _MAX_PAYLOAD:
            raise SrtpError("packet is too large")
        pack_into(view, 0, word, sequence, timestamp, ssrc)
        view[12:end] = body
        size[0] = end
        if protect(context, _shared, size):
            raise SrtpError("srtp_protect failed")
        return view[: size[0]]

    return in_place


Unprotect = Callable[[bytes], bytes]
"""An SRTP or SRTCP packet -> the plain one. Raises pylibsrtp.Error."""


def unprotect_in_place(session: Session) -> tuple[Unprotect, Unprotect]:
    """For RTP and for RTCP, in a buffer of the session's own and without giving up the interpreter: decrypting takes a microsecond
    or two, getting the interpreter back beside busy threads up to half a millisecond.

    pylibsrtp 1.0.0: `Session.unprotect` gives it up, allocates for the length, and raises ValueError for a packet over its buffer.
    Its `_srtp` and `_binding` are private; where they are not as expected, the public way is taken.
    """
    handle = getattr(session, "_srtp", None)
    if handle is None:
        return session.unprotect, session.unprotect_rtcp
    context = ctypes.c_void_p(int(ffi.cast("uintptr_t", handle[0])))
    buffer, length = ctypes.create_string_buffer(MAX_DATAGRAM), ctypes.c_int()
    view = memoryview(buffer).cast("B")
    start, size = ctypes.c_void_p(ctypes.addressof(buffer)), ctypes.c_void_p(ctypes.addressof(length))
    made: list[Unprotect] = []
    for name in ("srtp_unprotect", "srtp_unprotect_rtcp"):
        address = int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
        function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(address)

        # `session` as a default: the context lives as long as it
        def unprotect(data: bytes, function: Any = function, session: Session = session) -> bytes:
            count = len(data)
            if count > MAX_DATAGRAM:
                raise SrtpError("packet is too large")
            view[:count] = data
            length.value = count
            if function(context, start, size):
                raise SrtpError("not a packet of this session")
            return buffer[: length.value]  # type: ignore[return-value]  # of a char array a slice is bytes

        made.append(unprotect)
    return made[0], made[1]


def remove_stream(session: Session | None, ssrc: int) -> None:
    """pylibsrtp 1.0.0 (public there; beside the two above because their sessions are not): forget one SSRC's state, which
    libsrtp otherwise keeps for every SSRC ever seen. Unknown ones are ignored."""
    if session is not None:
        with contextlib.suppress(SrtpError):
            session.remove_stream(ssrc)


def quiet_aioice() -> None:
    """aioice 0.13.0: a socket error of one pair (host unreachable) is logged with a traceback; it is ordinary."""
    logging.getLogger("aioice").setLevel(logging.ERROR)


def gatherer_over(agent: Agent) -> RTCIceGatherer:
    """aiortc 1.16.0: the gatherer makes a connection of its own and takes no other; RTCIceTransport takes it from there."""
    gatherer = RTCIceGatherer(iceServers=[])
    gatherer._connection = agent
    return gatherer


async def check_s(ice: RTCIceTransport) -> float | None:
    """How long the far end takes to answer one connectivity check, seconds; None when it does not within half a second.

    aioice 0.13.0: its own consent checks need half a minute to notice a loss, tell no time, and cannot be asked.
    """
    connection = ice._connection
    pair = connection._nominated.get(1)
    if pair is None or connection.remote_password is None:
        return None
    request = connection.build_request(pair, nominate=False)
    key, began = connection.remote_password.encode(), time.monotonic()
    try:
        await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
    except (stun.TransactionError, OSError):
        return None
    return time.monotonic() - began


class PacketTransport(RTCDtlsTransport):
    """DTLS-SRTP that hands every decrypted packet on as bytes, with its arrival in monotonic seconds.

    aiortc 1.16.0: `_handle_rtp_data` and `_handle_rtcp_data` are awaited in the receive loop and an exception in them
    closes the transport; so the handlers are plain, short, and whatever they raise costs that packet only. `ice_agent`
    goes round that loop; the overrides stay for what still comes through it.
    """

    def __init__(self, ice: RTCIceTransport, on_rtp: OnRtp, on_rtcp: OnRtcp) -> None:
        super().__init__(ice, [RTCCertificate.generateCertificate()])
        self._on_rtp, self._on_rtcp = on_rtp, on_rtcp
        self.faults = self.malformed = 0
        """Packets that a handler could not take; datagrams that were no packets at all."""
        self.last_packet_at = time.monotonic()
        self._unprotect: Unprotect | None = None
        self._unprotect_rtcp: Unprotect | None = None

    def take(self, data: bytes) -> None:
        """One SRTP or SRTCP datagram from the socket. Not ours, repeated or forged: counted and dropped."""
        if self._unprotect is None or self._unprotect_rtcp is None:
            if self._rx_srtp is None:
                return      # before the handshake's end
            self._unprotect, self._unprotect_rtcp = unprotect_in_place(self._rx_srtp)
        if len(data) < 8:
            return
        control = 192 <= data[1] <= 223
        try:
            packet = self._unprotect_rtcp(data) if control else self._unprotect(data)
        except SrtpError:
            self.malformed += 1
            return
        now = self.last_packet_at = time.monotonic()
        try:
            if control:
                self._on_rtcp(packet, now)
            else:
                self._on_rtp(packet, now)
        except Exception:
            self._fault("RTCP" if control else "RTP")

    def note_garbage(self) -> None:
        """A datagram came that is no packet of any protocol here."""
        self.malformed += 1

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        now = self.last_packet_at = time.monotonic()
        try:
            self._on_rtp(data, now)
        except Exception:
            self._fault("RTP")

    async def _handle_rtcp_data(self, data: bytes) -> None:
        now = self.last_packet_at = time.monotonic()
        try:
            self._on_rtcp(data, now)
        except Exception:
            self._fault("RTCP")

    def _fault(self, kind: str) -> None:
        self.faults += 1
        if self.faults in (1, 10, 100) or self.faults % 1000 == 0:
            log.exception("a %s packet could not be handled (%d so far)", kind, self.faults)

    def send_packet(self, packet: bytes) -> bool:
        """Protect and send one RTP or RTCP packet at once. False when the transport is not up.

        aiortc 1.16.0: `_send_rtp` is a coroutine whose only await is aioice's `sendto`, which does not wait for anything
        on UDP; a task a packet would cost more than the packet.
        """
        session = self._tx_srtp
        if session is None or self.state != "connected":
            return False
        kind = packet[1]
        data = session.protect_rtcp(packet) if 192 <= kind <= 223 else session.protect(packet)
        return send_datagram(self.transport, data)


class DataTransport(RTCSctpTransport):
    """SCTP that holds only so much of what the other side has begun and never ends.

    aiortc 1.16.0: the window that it advertises (1 MB) is counted but not kept: a peer that goes on sending pieces of one message
    without its last fills the memory as fast as the line is. Over the window only the piece that was waited for is still taken,
    up to twice of it; what is dropped here was not acknowledged, and an honest peer sends it again."""

    async def _receive_data_chunk(self, chunk: Any) -> None:
        window = self._advertised_rwnd
        last = self._last_received_tsn
        expected = last is not None and chunk.tsn == (last + 1) % (1 << 32)
        if window - len(chunk.user_data) < (-DATA_WINDOW if expected else 0):
            self._sack_needed = True
            return
        await super()._receive_data_chunk(chunk)


def send_datagram(ice: RTCIceTransport, data: bytes) -> bool:
    """aioice 0.13.0: `Connection.sendto` takes the nominated pair and hands the datagram to its protocol; for each way of
    `ice_agent` that is this one call. False when no pair is nominated (any longer)."""
    pair = ice._connection._nominated.get(1)
    if pair is None:
        return False
    transport = pair.protocol.transport
    if transport is None or transport.is_closing():
        return False
    transport.sendto(data, pair.remote_addr)
    return True

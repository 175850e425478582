"""STUN by hand against aioice's, ICE-lite and DTLS-SRTP over a real socket with our own peer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from vidconf.relay import description
from vidconf.rtp.packets import build_rtp
from vidconf.webrtc.addresses import local_addresses
from vidconf.webrtc.description import Section
from vidconf.webrtc.ice_lite import (
    PROBES_PER_S,
    PROBES_PER_S_AND_ADDRESS,
    LiteSession,
    Port,
    is_probe,
    is_signed,
    read_check,
    write_answer,
    write_plain_answer,
)
from vidconf.webrtc.peer import Peer

TRANSACTION = bytes(range(12))


def request(name: str = "ours:theirs", password: bytes = b"secret", nominate: bool = True) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id=TRANSACTION)
    message.attributes["USERNAME"] = name
    message.attributes["PRIORITY"] = 5
    message.attributes["ICE-CONTROLLING"] = 77
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password)
    message.add_fingerprint()
    return bytes(message)


@pytest.mark.parametrize("nominate", [True, False])
def test_reads_what_aioice_writes(nominate: bool) -> None:
    data = request(nominate=nominate)
    check = read_check(data)
    assert check is not None
    assert (check.name, check.nominates, check.transaction) == (b"ours:theirs", nominate, TRANSACTION)
    assert is_signed(data, check, b"secret")
    assert not is_signed(data, check, b"another")
    changed = data[:30] + bytes((data[30] ^ 1,)) + data[31:]
    again = read_check(changed)
    assert again is None or not is_signed(changed, again, b"secret")


@pytest.mark.parametrize("address", [("192.0.2.7", 40000), ("2001:db8::7", 40000, 0, 0)])
def test_aioice_reads_what_we_write(address: tuple[str, int]) -> None:
    data = write_answer(TRANSACTION, address, b"secret")
    message = stun.parse_message(data)  # raises when the fingerprint is wrong
    assert message.check_message_integrity(b"secret")
    assert message.message_class == stun.Class.RESPONSE
    assert message.attributes["XOR-MAPPED-ADDRESS"] == address[:2]


def test_a_mapped_address_is_answered_as_ipv4() -> None:
    data = write_answer(TRANSACTION, ("::ffff:192.0.2.7", 4000, 0, 0), b"secret")
    assert stun.parse_message(data).attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.7", 4000)


def plain(software: str | None = "a program with a long name, padded", **attributes: object) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id=TRANSACTION)
    message.attributes.update({name: value for name, value in {"SOFTWARE": software, **attributes}.items() if value is not None})
    return bytes(message)


@pytest.mark.parametrize("address", [("192.0.2.7", 40000), ("2001:db8::7", 40000, 0, 0)])
def test_a_plain_answer_is_read_by_aioice_and_is_smaller_than_what_asks_for_it(address: tuple[str, int]) -> None:
    data = write_plain_answer(TRANSACTION, address)
    message = stun.parse_message(data)
    assert (message.message_class, message.transaction_id) == (stun.Class.RESPONSE, TRANSACTION)
    assert message.attributes == {"XOR-MAPPED-ADDRESS": address[:2]}
    assert len(data) <= 44


def test_only_a_whole_request_without_a_name_is_a_probe() -> None:
    assert is_probe(plain())
    assert is_probe(plain(None))
    assert not is_probe(request())
    assert not is_probe(plain(USERNAME="ours:theirs"))
    assert not is_probe(plain()[:-4])
    assert not is_probe(plain() + bytes(4))
    assert not is_probe(b"\x01\x01" + plain()[2:])
    assert not is_probe(b"")


@given(st.binary(max_size=200), st.integers(0, 100), st.integers(0, 255))
def test_whatever_comes_is_read_or_refused(noise: bytes, at: int, value: int) -> None:
    read_check(noise)
    read_check(b"\x00\x01" + len(noise).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + TRANSACTION + noise)
    data = bytearray(request())
    data[at % len(data)] = value
    check = read_check(bytes(data))
    assert check is None or check.integrity_at + 24 <= len(data)
    read_check(bytes(data[: at % len(data)]))
    for one in (noise, bytes(data), b"\x00\x01" + len(noise).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + TRANSACTION + noise):
        assert not is_probe(one) or read_check(one) is None


def test_a_wildcard_is_bound_address_by_address() -> None:
    assert local_addresses("192.0.2.1") == ["192.0.2.1"]
    found = local_addresses("0.0.0.0")
    assert "127.0.0.1" in found
    assert "0.0.0.0" not in found
    assert all(":" not in a for a in found)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    opened = await Port.open("127.0.0.1", 0)
    yield opened
    await opened.close()


async def ask(port: Port, data: bytes, sock: socket.socket) -> bytes | None:
    sock.sendto(data, ("127.0.0.1", port.port))
    loop = asyncio.get_running_loop()
    try:
        return await asyncio.wait_for(loop.sock_recv(sock, 2048), 0.3)
    except TimeoutError:
        return None


def a_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


async def test_strangers_get_no_answer_and_leave_no_trace(port: Port) -> None:
    session = LiteSession(port, lambda data: None, lambda data: None)
    with a_socket() as sock:
        for data in (b"", b"\x00", request("nobody:x"), request(f"{session.ufrag}:x", b"wrong"), b"\x80" + bytes(40), b"\x16" + bytes(40)):
            assert await ask(port, data, sock) is None
    assert port.by_address == {}
    assert session.address is None
    assert port.counters.stun_refused == 3
    assert port.counters.unknown_address == 3


async def test_a_stranger_may_measure_the_way(port: Port) -> None:
    with a_socket() as sock:
        data = plain()
        answer = await ask(port, data, sock)
        assert answer is not None
        assert len(answer) <= len(data)
        assert stun.parse_message(answer).attributes == {"XOR-MAPPED-ADDRESS": sock.getsockname()}
        assert await ask(port, plain(None), sock) is None  # smaller than its answer could be: nothing to gain by asking
    assert (port.counters.probes, port.counters.probes_refused, port.counters.stun_refused) == (1, 1, 0)
    assert port.by_address == {}


async def test_probes_are_answered_so_many_a_second_only(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("vidconf.webrtc.ice_lite.time.monotonic", lambda: now[0])
    sent: list[object] = []

    class Listener:
        @staticmethod
        def sendto(data: bytes, address: object) -> int:
            sent.append(address)
            return len(data)

    for _ in range(2 * PROBES_PER_S_AND_ADDRESS):
        port.checked(plain(), ("192.0.2.1", 4000), Listener)  # type: ignore[arg-type]
    assert len(sent) == PROBES_PER_S_AND_ADDRESS
    for number in range(3 * PROBES_PER_S):
        port.checked(plain(), (f"198.51.{number // 250}.{number % 250}", 4000), Listener)  # type: ignore[arg-type]
    assert len(sent) == PROBES_PER_S
    assert port.counters.probes_refused == 2 * PROBES_PER_S_AND_ADDRESS + 3 * PROBES_PER_S - PROBES_PER_S
    now[0] += 1
    port.checked(plain(), ("192.0.2.1", 4000), Listener)  # type: ignore[arg-type]
    assert len(sent) == PROBES_PER_S + 1


async def test_a_nomination_moves_the_session_and_a_mere_check_does_not(port: Port) -> None:
    session = LiteSession(port, lambda data: None, lambda data: None)
    key = session.password.encode()
    with a_socket() as first, a_socket() as second, a_socket() as third:
        answer = await ask(port, request(f"{session.ufrag}:x", key, nominate=False), first)
        assert answer is not None
        assert stun.parse_message(answer).check_message_integrity(key)
        assert stun.parse_message(answer).attributes["XOR-MAPPED-ADDRESS"] == first.getsockname()
        assert session.address == first.getsockname()
        assert await ask(port, request(f"{session.ufrag}:x", key, nominate=False), second)
        assert session.address == first.getsockname()
        assert await ask(port, request(f"{session.ufrag}:x", key), second)
        assert session.address == second.getsockname()
        assert list(port.by_address) == [second.getsockname()]
        # Nobody takes over the address of a living session.
        other = LiteSession(port, lambda data: None, lambda data: None)
        assert await ask(port, request(f"{other.ufrag}:x", other.password.encode()), second)
        assert port.by_address[second.getsockname()] is session
        assert await ask(port, request(f"{other.ufrag}:x", other.password.encode()), third)
        assert other.address == third.getsockname()
    await session.close()
    await other.close()
    assert port.by_address == {}
    assert port.sessions == {}


async def test_srtp_before_dtls_is_counted_and_a_failing_handler_costs_its_packet_only(port: Port) -> None:
    def fail(data: bytes) -> None:
        raise RuntimeError("a bug")

    session = LiteSession(port, fail, lambda data: None)
    session.received(b"\x80" + bytes(30))
    assert port.counters.srtp_refused == 1
    session._unprotect = lambda data: data
    session.received(b"\x80" + bytes(30))
    assert port.counters.faults == 1
    session.send(0x8000, 1, 2, 3, bytes(30))  # not up: counted, not raised
    assert port.counters.unsent == 1
    await session.close()
    await session.close()


async def test_no_check_no_connection(port: Port) -> None:
    session = LiteSession(port, lambda data: None, lambda data: None)
    assert not await session.connect([("sha-256", "AA:BB")], "server", 0.05)
    await session.close()


async def test_dtls_srtp_with_our_own_peer_and_the_seams_it_stands_on(port: Port) -> None:
    """aiortc's private `_set_role`, `_rx_srtp`, `_tx_srtp` and duck-typed transport: fails when they are no longer so."""
    got: list[bytes] = []
    back: list[bytes] = []
    session = LiteSession(port, got.append, lambda data: None)
    peer = Peer("publisher", [], lambda data, now: back.append(data), lambda data, now: None)
    peer.sections.append(Section("audio", "1", "cid", 77))

    async def answer(sdp: str, offer_id: int) -> None:
        offer = description.read(sdp)
        transport = description.Transport(session.ufrag, session.password, session.fingerprint(), port.candidates)
        connecting.append(asyncio.create_task(session.connect(offer.fingerprints, "server", 15)))
        peer.accept(description.write_answer(offer, transport, 1), offer_id)

    connecting: list[asyncio.Task[bool]] = []
    await peer.offer(answer)
    assert await connecting[0]
    await asyncio.wait_for(peer.connected.wait(), 15)
    assert session.is_up
    packet = build_rtp(111, 5, 6, 77, True, b"sound")
    peer.send(packet)
    assert isinstance(session._media(0x806F, 8, 6, 79, b"x"), memoryview)  # pylibsrtp's private parts are as expected
    session.send(0x806F, 9, 6, 78, b"back")
    session.send(0x806F, 10, 6, 78, bytes(3000))
    assert port.counters.unsent == 1
    for _ in range(1000):
        if got and back:
            break
        await asyncio.sleep(0.01)
    assert got == [packet]
    assert [data[12:] for data in back] == [b"back"]
    peer.send(packet)
    for _ in range(1000):
        if port.counters.srtp_refused:
            break
        await asyncio.sleep(0.01)
    assert port.counters.srtp_refused == 1  # a repeat
    assert len(got) == 1
    session.forget_incoming(77)
    session.forget_incoming(78)
    session.forget_outgoing(78)
    peer.send(packet)
    for _ in range(1000):
        if len(got) > 1:
            break
        await asyncio.sleep(0.01)
    assert len(got) == 2  # its state was forgotten
    await peer.close()
    await session.close()

"""Our own peer at the relay's TCP port where it has no UDP; and who else may knock there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from vidconf.relay import description
from vidconf.rtp.packets import build_rtp
from vidconf.webrtc import ice_agent, ice_lite_tcp
from vidconf.webrtc.description import Section
from vidconf.webrtc.ice_lite import LiteSession, Port
from vidconf.webrtc.ice_tcp import framed
from vidconf.webrtc.peer import Peer


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    opened = await Port.open("127.0.0.1", 0)
    yield opened
    await opened.close()
    await asyncio.sleep(0.05)


async def settled(condition: Callable[[], object], timeout_s: float = 5) -> bool:
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return bool(condition())


async def connected(port: Port, got: list[bytes], back: list[bytes]) -> tuple[LiteSession, Peer]:
    session = LiteSession(port, got.append, lambda data: None)
    peer = Peer("publisher", [], lambda data, now: back.append(data), lambda data, now: None, direct_s=0.05)
    peer.sections.append(Section("audio", "1", "cid", 77))
    connecting: list[asyncio.Task[bool]] = []

    async def answer(sdp: str, offer_id: int) -> None:
        offer = description.read(sdp)
        transport = description.Transport(session.ufrag, session.password, session.fingerprint(), port.candidates, port.tcp_candidates)
        connecting.append(asyncio.create_task(session.connect(offer.fingerprints, "server", 15)))
        peer.accept(description.write_answer(offer, transport, 1), offer_id)

    await peer.offer(answer)
    assert await connecting[0]
    async with asyncio.timeout(10):
        await peer.connected.wait()
    return session, peer


async def test_sound_by_tcp_and_its_end(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_agent, "local_addresses", lambda host: [])
    got: list[bytes] = []
    back: list[bytes] = []
    session, peer = await connected(port, got, back)
    assert peer.way == "tcp"
    assert port.tcp_candidates == (("127.0.0.1", port.port),), "the same number as of UDP where it is free"
    packet = build_rtp(111, 5, 6, 77, True, b"sound")
    peer.send(packet)
    session.send(0x806F, 9, 6, 78, b"back")
    assert await settled(lambda: got == [packet] and [data[12:] for data in back] == [b"back"])
    assert await settled(lambda: peer.rtt_s is not None)
    peer.agent.way.transport.close()
    assert await settled(lambda: session.address is None)
    assert session.ufrag.encode() in port.sessions, "it may come by another way"
    session.send(0x806F, 10, 6, 78, b"to nobody")
    assert port.counters.unsent == 1
    async with asyncio.timeout(5):
        await peer.failed.wait()
    await peer.close()
    await session.close()


async def test_udp_is_preferred(port: Port) -> None:
    session, peer = await connected(port, [], [])
    assert peer.way == "udp"
    await asyncio.sleep(0.2)
    assert not port._tcp._streams
    await peer.close()
    await session.close()


async def test_strangers(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_lite_tcp, "KNOWN_WITHIN_S", 0.3)
    monkeypatch.setattr(ice_lite_tcp, "MAX_STREAMS_OF_ADDRESS", 20)
    sockets = [socket.create_connection(port.tcp_candidates[0]) for _ in range(30)]
    assert await settled(lambda: port.counters.streams_refused == 10)
    noise = (b"", b"GET / HTTP/1.1\r\n\r\n", framed(b"\x00\x01" + bytes(18)), framed(b"\x80" * 40), framed(b"\x16" * 40), b"\xff\xff", framed(b"\x01"))
    for one, said in zip(sockets, noise * 5, strict=False):
        with contextlib.suppress(OSError):
            one.sendall(said)
    assert await settled(lambda: not port._tcp._streams, 3), "who is nobody's is ended"
    assert not port._tcp._by_host
    for one in sockets:
        one.close()


async def test_a_way_that_was_left_is_ended_too(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has a session could otherwise leave one stream after the other open behind it."""
    monkeypatch.setattr(ice_lite_tcp, "KNOWN_WITHIN_S", 0.2)
    monkeypatch.setattr(ice_agent, "local_addresses", lambda host: [])
    session, peer = await connected(port, [], [])
    stream = next(iter(port._tcp._streams))
    await asyncio.sleep(0.5)
    assert list(port._tcp._streams) == [stream], "it is in use"
    session.move(("127.0.0.1", 9), stream)
    assert await settled(lambda: not port._tcp._streams, 2)
    await peer.close()
    await session.close()


async def test_strangers_do_not_keep_others_out(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_lite_tcp, "MAX_STREAMS", 5)
    monkeypatch.setattr(ice_agent, "local_addresses", lambda host: [])
    before = [socket.create_connection(port.tcp_candidates[0]) for _ in range(5)]
    assert await settled(lambda: len(port._tcp._streams) == 5)
    session, peer = await connected(port, [], [])
    assert peer.way == "tcp"
    after = [socket.create_connection(port.tcp_candidates[0]) for _ in range(20)]
    await asyncio.sleep(0.2)
    assert len(port._tcp._streams) == 5
    assert session.address is not None, "and nobody is put out by them"
    for one in (*before, *after):
        one.close()
    await peer.close()
    await session.close()


def test_who_has_a_whole_network_of_ipv6_is_counted_once() -> None:
    household = ice_lite_tcp._household
    assert household("2001:db8:1:2::5") == household("2001:db8:1:2:ffff::9") != household("2001:db8:1:3::5")
    assert household("192.0.2.1") != household("192.0.2.2")


async def test_a_number_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        opened = await Port.open("127.0.0.1", number)
        assert opened.port == number
        assert opened.tcp_candidates[0][1] not in (0, number)
        await opened.close()
        with pytest.raises(OSError):
            await Port.open("127.0.0.1", 0, tcp_port=number)
    opened = await Port.open("127.0.0.1", 0, ["203.0.113.5"])
    assert opened.tcp_candidates == (("203.0.113.5", opened.port),)
    await opened.close()
    await asyncio.sleep(0.05)

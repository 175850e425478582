"""Two of our peers, one over the other's descriptions, on loopback; and the private names that `seams` rests on."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator
from typing import Any

import aioice
import aiortc
import pytest
from aiortc import RTCDtlsTransport, RTCIceTransport
from aiortc.rtcsctptransport import DataChunk
from pylibsrtp import Error as SrtpError
from pylibsrtp import Policy, Session

from vidconf.network.options import NetworkOptions
from vidconf.rtp.packets import build_rtp, parse_rtp
from vidconf.rtp.rtcp import Pli
from vidconf.webrtc import peer as peer_module
from vidconf.webrtc import seams
from vidconf.webrtc.addresses import is_loopback, local_addresses
from vidconf.webrtc.description import DescriptionError, Section
from vidconf.webrtc.ice_agent import Agent
from vidconf.webrtc.peer import Peer

PACKET = build_rtp(96, 1, 2, 3333, True, b"payload")


class Pair:
    def __init__(self) -> None:
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.back: list[bytes] = []
        self.publisher = Peer("publisher", [], lambda data, now: None, lambda data, now: self.back.append(data))
        self.subscriber = Peer("subscriber", [], self._on_rtp, lambda data, now: self.rtcp.append(data))
        self.raises = False

    def _on_rtp(self, data: bytes, now: float) -> None:
        if self.raises:
            raise RuntimeError("a handler that fails")
        self.rtp.append(data)

    async def negotiate(self) -> None:
        async def send(sdp: str, offer_id: int) -> None:
            await self.subscriber.answer(sdp, lambda answer: self.publisher.accept(answer, offer_id))

        await self.publisher.offer(send)

    async def connect(self) -> Pair:
        self.publisher.sections.append(Section("video", "1", "cid", 3333))
        await self.negotiate()
        await asyncio.wait_for(asyncio.gather(self.publisher.connected.wait(), self.subscriber.connected.wait()), 8)
        return self

    async def close(self) -> None:
        await asyncio.gather(self.publisher.close(), self.subscriber.close())


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    yield made
    await made.close()


async def settled(condition: Any, timeout_s: float = 10) -> bool:
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return bool(condition())


async def test_packets_go_both_ways(pair: Pair) -> None:
    await pair.connect()
    assert pair.publisher.send(PACKET)
    assert await settled(lambda: pair.rtp == [PACKET])
    assert parse_rtp(pair.rtp[0]).payload == b"payload"
    assert pair.subscriber.send(Pli(1, 3333).to_bytes())
    assert await settled(lambda: pair.back == [Pli(1, 3333).to_bytes()])


async def test_negotiating_again_changes_sections_and_not_the_connection(pair: Pair) -> None:
    await pair.connect()
    ice = pair.publisher.ice
    for number in range(2, 5):
        pair.publisher.sections.append(Section("audio", str(number), f"cid{number}", number))
    await asyncio.gather(*(pair.negotiate() for _ in range(5)))
    assert pair.publisher.ice is ice
    assert pair.publisher.remote is not None
    assert len(pair.publisher.remote.media) == 5
    assert pair.publisher.send(PACKET)
    assert await settled(lambda: pair.rtp == [PACKET])


async def test_a_handler_that_raises_costs_one_packet(pair: Pair) -> None:
    await pair.connect()
    pair.raises = True
    pair.publisher.send(PACKET)
    assert await settled(lambda: pair.subscriber.dtls.faults == 1)
    pair.raises = False
    pair.publisher.send(build_rtp(96, 2, 2, 3333, True, b"after"))
    assert await settled(lambda: len(pair.rtp) == 1)
    assert not pair.subscriber.failed.is_set()


async def test_garbage_on_the_socket_costs_nothing(pair: Pair) -> None:
    await pair.connect()
    candidates = [c for c in pair.subscriber.gatherer.getLocalCandidates() if ":" not in c.ip]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for candidate in candidates:
            for datagram in (b"", b"\0", b"\0" * 20, b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"x" * 12, b"\x00\x01\xff\xff" + b"\x21\x12\xa4\x42" * 6,
                             b"\x16\xfe\xfd" + b"z" * 40, b"\x80" * 60, b"\x80\xc8" + b"\0" * 30, b"\x01" * 3000, bytes(range(256))):  # fmt: skip
                stranger.sendto(datagram, (candidate.ip, candidate.port))
    assert await settled(lambda: pair.subscriber.dtls.malformed > 0)
    pair.publisher.send(PACKET)
    assert await settled(lambda: pair.rtp == [PACKET])
    assert not pair.subscriber.failed.is_set()


async def test_the_other_sides_farewell_is_noticed(pair: Pair) -> None:
    await pair.connect()
    await pair.publisher.close()
    await asyncio.wait_for(pair.subscriber.failed.wait(), 10)


@pytest.mark.timeout(40)
async def test_a_dead_way_is_noticed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes and nothing answers, as behind a pulled plug: the silence is counted from its beginning, and ends it at last."""
    monkeypatch.setattr(peer_module, "LOST_AFTER_S", 4.0)
    await pair.connect()
    await asyncio.sleep(2.5)
    assert pair.subscriber.silent_s() < 1.6, "a quiet way is asked"
    began = asyncio.get_running_loop().time()
    for peer in (pair.publisher, pair.subscriber):
        for protocol in peer.ice._connection._protocols:
            protocol.datagram_received = lambda data, address: None
    assert await settled(lambda: pair.subscriber.silent_s() > 2, 4)
    assert 0.5 < asyncio.get_running_loop().time() - began < 2.3
    assert not pair.subscriber.failed.is_set(), "it may come back"
    await asyncio.wait_for(pair.subscriber.failed.wait(), 12)
    assert 2 < asyncio.get_running_loop().time() - began < 6


async def test_a_way_that_comes_back_is_heard_again(pair: Pair) -> None:
    await pair.connect()
    held = pair.subscriber.ice._connection._protocols
    for protocol in held:
        protocol.datagram_received = lambda data, address: None
    assert await settled(lambda: pair.subscriber.silent_s() > 2, 5)
    for protocol in held:
        del protocol.datagram_received
    assert await settled(lambda: pair.subscriber.silent_s() < 0.5, 2)
    pair.publisher.send(PACKET)
    assert await settled(lambda: pair.rtp == [PACKET])
    assert not pair.subscriber.failed.is_set()


async def test_the_round_trip_of_the_medias_own_way_is_known(pair: Pair) -> None:
    assert pair.subscriber.rtt_s is None
    await pair.connect()
    assert await settled(lambda: pair.subscriber.rtt_s is not None and pair.publisher.rtt_s is not None)
    assert 0 < (pair.subscriber.rtt_s or 0) < 0.3
    loop = asyncio.get_running_loop()
    for protocol in pair.publisher.ice._connection._protocols:
        known = protocol.datagram_received
        protocol.datagram_received = lambda data, address, known=known: loop.call_later(0.2, known, data, address)
    assert await settled(lambda: (pair.subscriber.rtt_s or 0) > 0.1), pair.subscriber.rtt_s
    assert not pair.subscriber.failed.is_set()


async def test_a_quiet_way_is_no_dead_way(pair: Pair) -> None:
    await pair.connect()
    await asyncio.sleep(3)
    assert not pair.subscriber.failed.is_set()
    assert not pair.publisher.failed.is_set()


async def test_a_data_channel(pair: Pair) -> None:
    channel = pair.publisher.open_channel("_reliable")
    said: list[Any] = []
    pair.subscriber.sctp.on("datachannel", lambda theirs: theirs.on("message", said.append))
    await pair.connect()
    assert await settled(lambda: channel.readyState == "open")
    channel.send("hello")
    assert await settled(lambda: said == ["hello"])


async def test_close_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    pair = await Pair().connect()
    await pair.close()
    await pair.close()
    assert not pair.publisher.send(PACKET)
    assert await settled(lambda: not asyncio.all_tasks() - before), asyncio.all_tasks() - before


async def test_close_before_anything_began() -> None:
    before = asyncio.all_tasks()
    pair = Pair()
    await pair.close()
    with pytest.raises(ConnectionError):
        await pair.negotiate()
    assert await settled(lambda: not asyncio.all_tasks() - before)


async def test_hostile_descriptions_and_candidates(pair: Pair) -> None:
    with pytest.raises(DescriptionError):
        await pair.subscriber.answer("v=0\r\nm=nonsense", lambda answer: None)
    for line in ("candidate:x", "candidate:1 1 udp notanumber 127.0.0.1 5 typ host", "\0", "candidate:1 1 udp 1 not.an.address 5 typ host"):
        try:
            await pair.subscriber.add_candidate(line)
        except DescriptionError:
            continue
    for _ in range(500):
        await pair.subscriber.add_candidate("candidate:1 1 udp 1 127.0.0.1 9 typ host")
    assert pair.subscriber._candidates <= 64


async def described(network: NetworkOptions) -> list[str]:
    """All that a peer that offers and one that answers say to the server."""
    said: list[str] = []
    offering, answering = (Peer(name, [], lambda data, now: None, lambda data, now: None, network=network) for name in ("publisher", "subscriber"))
    offering.sections.append(Section("video", "1", "cid", 3333))

    async def send(sdp: str, offer_id: int) -> None:
        said.append(sdp)
        await answering.answer(sdp, said.append)
        offering.accept(said[-1], offer_id)

    await offering.offer(send)
    assert len(said) == 2
    for peer in (offering, answering):
        assert bool(peer.agent._protocols) is not network.relayed_only, "nor is a socket open for it"
        await peer.close()
    return said


@pytest.mark.parametrize("transport", ["relay", "relay_tls"])
async def test_where_all_goes_by_turn_no_address_is_told(transport: Any) -> None:
    mine = [address for address in local_addresses("::") if not is_loopback(address)]
    assert mine
    assert any(address in sdp for sdp in await described(NetworkOptions()) for address in mine), "else they are"
    for sdp in await described(NetworkOptions(ice_transport=transport)):
        assert "a=candidate" not in sdp
        assert not [address for address in mine if address in sdp]


class TestSeams:
    """Each fails when a new aiortc or aioice no longer is what `seams` was written for."""

    def test_versions(self) -> None:
        assert aiortc.__version__.startswith("1.16.")
        assert aioice.__version__.startswith("0.13.")

    async def test_private_names(self) -> None:
        agent = Agent()
        ice = RTCIceTransport(seams.gatherer_over(agent))
        assert ice._connection is agent
        seams.set_ice_controlling(ice, True)
        assert ice.role == "controlling"
        seams.set_ice_controlling(ice, False)
        assert ice.role == "controlled"
        connection = ice._connection
        assert isinstance(connection._protocols, list)
        assert isinstance(connection._nominated, dict)
        assert list(inspect.signature(connection.build_request).parameters) == ["pair", "nominate"]
        dtls = seams.PacketTransport(ice, lambda data, now: None, lambda data, now: None)
        seams.set_dtls_role(dtls, "client")
        assert dtls._role == "client"
        assert seams.receive_session(dtls) is None
        assert seams.send_session(dtls) is None

    async def test_packets_are_decrypted_as_pylibsrtp_does(self) -> None:
        key = bytes(range(28))
        kinds = {"srtp_profile": Policy.SRTP_PROFILE_AEAD_AES_128_GCM, "key": key}
        sender = Session(Policy(ssrc_type=Policy.SSRC_ANY_OUTBOUND, **kinds))
        receiver = Session(Policy(ssrc_type=Policy.SSRC_ANY_INBOUND, **kinds))
        rtp, rtcp = seams.unprotect_in_place(receiver)
        assert receiver.unprotect not in (rtp, rtcp), "the private names are there"
        for number, size in enumerate((0, 1, 1000, 1300)):
            packet = build_rtp(96, number, 2, 3333, True, bytes(size))
            protected = sender.protect(packet)
            assert rtp(protected) == packet
            with pytest.raises(SrtpError):
                rtp(protected)                                      # repeated
        report = Pli(1, 3333).to_bytes()
        assert rtcp(sender.protect_rtcp(report)) == report
        for garbage in (b"", b"\x80", bytes(12), b"\x80" * 60, bytes(seams.MAX_DATAGRAM), bytes(seams.MAX_DATAGRAM + 1), bytes(70_000)):
            for unprotect in (rtp, rtcp):
                with pytest.raises(SrtpError):
                    unprotect(garbage)
        spoilt = bytearray(sender.protect(build_rtp(96, 9, 2, 3333, True, b"payload")))
        spoilt[14] ^= 1
        with pytest.raises(SrtpError):
            rtp(bytes(spoilt))

    def test_overridden_methods_still_exist(self) -> None:
        assert list(inspect.signature(RTCDtlsTransport._handle_rtp_data).parameters) == ["self", "data", "arrival_time_ms"]
        assert list(inspect.signature(RTCDtlsTransport._handle_rtcp_data).parameters) == ["self", "data"]
        received = aioice.ice.StunProtocol.datagram_received
        assert list(inspect.signature(received).parameters) == ["self", "data", "addr"]

    @pytest.mark.parametrize("gap", [0, 1])
    async def test_a_message_that_never_ends_does_not_fill_the_memory(self, pair: Pair, gap: int) -> None:
        """`gap`: whether the pieces follow one another, or the first of them never comes."""
        await pair.connect()
        sctp = pair.subscriber.sctp
        sctp._last_received_tsn = 99
        for n in range(4000):
            piece = DataChunk(flags=2 if n == 0 else 0)
            piece.tsn, piece.stream_id, piece.stream_seq, piece.protocol, piece.user_data = 100 + gap + n, 1, 0, 53, bytes(1100)
            await sctp._receive_data_chunk(piece)
        held = sum(len(piece.user_data) for stream in sctp._inbound_streams.values() for piece in stream.reassembly)
        assert 900_000 < held <= (1 if gap else 2) * (1 << 20), "an honest megabyte is taken, a flood is not"
        assert len(sctp._sack_misordered) <= 1000

    async def test_honest_data_still_comes_through(self, pair: Pair) -> None:
        got: list[bytes] = []
        pair.subscriber.sctp.on("datachannel", lambda channel: channel.on("message", got.append))
        channel = pair.publisher.open_channel("_reliable")
        await pair.connect()
        assert await settled(lambda: channel.readyState == "open")
        for n in range(40):
            channel.send(bytes([n]) * 60_000)
        assert await settled(lambda: len(got) == 40)
        assert got == [bytes([n]) * 60_000 for n in range(40)]

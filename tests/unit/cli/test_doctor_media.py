"""The way of sound and picture, measured at the relay's own port and at ports that lose, delay, refuse or are far away."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from aioice import stun as aioice_stun
from fakes import strangers
from fakes.strangers import Authority
from hypothesis import given
from hypothesis import strategies as st

from vidconf.cli import doctor_media
from vidconf.cli.doctor_media import LARGE_BYTES, SMALL_BYTES, Way, measure, question, read_answer, read_turn_url, turn, udp
from vidconf.webrtc.ice_lite import Port, is_probe, read_check, write_answer, write_plain_answer


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same questions in half the time."""
    monkeypatch.setattr(doctor_media, "EVERY_S", 0.05)
    monkeypatch.setattr(doctor_media, "LAST_S", 0.6)


# ---- on the wire ----


@pytest.mark.parametrize("size", [SMALL_BYTES, LARGE_BYTES])
def test_a_question_is_stun_of_its_size_and_nobody_s_check(size: int) -> None:
    transaction, data = question(size)
    assert len(data) == size
    message = aioice_stun.parse_message(data)
    assert (message.message_class, message.message_method, message.transaction_id) == (aioice_stun.Class.REQUEST, aioice_stun.Method.BINDING, transaction)
    assert is_probe(data)
    assert read_check(data) is None


@pytest.mark.parametrize("address", [("192.0.2.7", 40000), ("2001:db8::7", 40000, 0, 0)])
def test_answers_are_read(address: tuple[str, int]) -> None:
    transaction = bytes(range(12))
    assert read_answer(write_plain_answer(transaction, address)) == (transaction, address[0])
    assert read_answer(write_answer(transaction, address, b"secret")) == (transaction, address[0])
    assert read_answer(write_plain_answer(transaction, address)[:-1]) is None
    assert read_answer(question(SMALL_BYTES)[1]) is None


@given(st.binary(max_size=120), st.integers(0, 43), st.integers(0, 255))
def test_whatever_comes_is_read_or_left(noise: bytes, at: int, value: int) -> None:
    data = bytearray(write_plain_answer(bytes(12), ("2001:db8::7", 4000, 0, 0)))
    data[at] = value
    for one in (noise, bytes(data), b"\x01\x01" + len(noise).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + noise):
        read = read_answer(one)
        assert read is None or len(read[0]) == 12


def test_a_way_s_figures() -> None:
    way = Way("h", 1, sent=20, rtts_ms=[float(k) for k in range(19)])
    assert (way.answered, way.loss_percent, way.percentile_ms(50), way.percentile_ms(95)) == (19, 5.0, 9.0, 18.0)
    assert (Way("h", 1).loss_percent, Way("h", 1).percentile_ms(50)) == (100.0, 0.0)


# ---- measured ----


async def test_the_relay_s_own_port() -> None:
    port = await Port.open("127.0.0.1", 0)
    try:
        way = await measure("127.0.0.1", port.port)
        assert (way.sent, way.answered, way.large_sent, way.large_answered, way.refused) == (20, 20, 5, 5, False)
        assert way.own_address == "127.0.0.1"
        assert 0 < way.percentile_ms(50) < 500
        assert port.counters.probes == 25
        found = await udp(port.candidates)
        assert found.detail["loss_percent"] == 0
        assert found.detail["addresses"] == [f"127.0.0.1:{port.port}"]
        # nothing of the network's: only this machine's own lateness could make it less than good
        assert found.result in ("through", "busy", "uneven"), found
    finally:
        await port.close()


async def result_of(delay_s: Callable[[int, int], float | None], monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """(status, result) at a port that answers so. What this machine itself is late by is no part of it."""
    real = Way.as_detail
    monkeypatch.setattr(Way, "as_detail", lambda way: {**real(way), "late_ms": 0.0})
    async with strangers.stun(delay_s) as port:
        found = await udp([("127.0.0.1", port)])
    assert found.code == "doctor.media.udp"
    return found.status, found.result


async def test_loss_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await result_of(lambda number, size: None if number % 5 == 1 else 0.0, monkeypatch) == ("warning", "loss")


async def test_large_packets_that_never_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await result_of(lambda number, size: None if size > 500 else 0.0, monkeypatch) == ("warning", "large_lost")


async def test_a_far_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await result_of(lambda number, size: 0.4, monkeypatch) == ("warning", "slow")


async def test_an_uneven_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await result_of(lambda number, size: 0.3 if number % 8 == 3 else 0.0, monkeypatch) == ("warning", "uneven")


async def test_nothing_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await result_of(lambda number, size: None, monkeypatch) == ("failure", "blocked")


async def test_a_busy_pc_does_not_blame_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Way.as_detail
    monkeypatch.setattr(Way, "as_detail", lambda way: {**real(way), "late_ms": 180.0})
    async with strangers.stun(lambda number, size: 0.3 if number % 8 == 3 else 0.0) as port:
        found = await udp([("127.0.0.1", port)])
    assert (found.status, found.result) == ("warning", "busy")


async def test_this_program_s_own_lateness_is_seen() -> None:
    async with strangers.stun(lambda number, size: 0.0) as port:
        measuring = asyncio.create_task(measure("127.0.0.1", port))
        await asyncio.sleep(0.3)
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.4
        while loop.time() < until:  # the loop is held up, as a busy machine would
            pass
        way = await measuring
    assert max(way.late_ms) > 200


async def test_nobody_at_the_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    found = await udp([("127.0.0.1", port)])
    assert (found.status, found.result) == ("failure", "nobody")


async def test_one_good_address_of_several_is_enough() -> None:
    async with strangers.stun(lambda number, size: None) as deaf, strangers.stun(lambda number, size: 0.0) as good:
        found = await udp([("127.0.0.1", deaf), ("2001:db8::1", 9), ("127.0.0.1", good)])
    assert found.detail["port"] == good
    assert found.status != "failure"


async def test_answers_nobody_asked_for_count_for_nothing() -> None:
    """From the port that was asked, but to other questions, twice, or after a mangling."""

    class Liar(strangers.Stun):
        def _answer(self, data: bytes, addr: object) -> None:
            for wrong in (data[:8] + os.urandom(12) + data[20:], data[:-1], b"", b"\x00" * 40):
                super()._answer(wrong, addr)
            super()._answer(data, addr)
            super()._answer(data, addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Liar(lambda number, size: 0.0), local_addr=("127.0.0.1", 0))
    try:
        way = await measure("127.0.0.1", transport.get_extra_info("sockname")[1], count=6, large=2)
    finally:
        transport.close()
    assert (way.sent, way.answered, way.large_answered) == (6, 6, 2)


# ---- TURN ----


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("turn:turn.example", ("turn.example", 3478, "udp")),
        ("turn:turn.example:80?transport=tcp", ("turn.example", 80, "tcp")),
        ("turns:turn.example:443?transport=tcp", ("turn.example", 443, "tls")),
        ("turns:turn.example", ("turn.example", 5349, "tls")),
        ("stun:192.0.2.4:3478", ("192.0.2.4", 3478, "udp")),
        ("turns:turn.example?transport=udp", None),
        ("turn:turn.example?transport=quic", None),
        ("turn:turn.example:99999", None),
        ("turn:", None),
        ("http://turn.example", None),
        ("", None),
        ("turn:a b", ("a b", 3478, "udp")),
    ],
)
def test_turn_urls_are_read_as_the_engine_reads_them(url: str, read: tuple[str, int, str] | None) -> None:
    found = read_turn_url(url)
    assert (None if found is None else (found.host, found.port, found.transport)) == read


async def test_turn_over_udp() -> None:
    port = await Port.open("127.0.0.1", 0)
    try:
        found = await turn(f"turn:127.0.0.1:{port.port}")
    finally:
        await port.close()
    assert (found.status, found.result, found.detail["transport"]) == ("ok", "answers", "udp")


async def test_turn_over_tcp_and_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    async with strangers.tcp(strangers.stun_over_tcp) as plain, strangers.tcp(strangers.stun_over_tcp, authority.server()) as secure:
        found = await turn(f"turn:127.0.0.1:{plain}?transport=tcp")
        assert (found.status, found.detail["transport"]) == ("ok", "tcp")
        found = await turn(f"turns:127.0.0.1:{secure}?transport=tcp")
        assert (found.status, found.result) == ("warning", "untrusted")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        found = await turn(f"turns:127.0.0.1:{secure}?transport=tcp")
        assert (found.status, found.detail["transport"]) == ("ok", "tls")


async def test_turn_servers_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_media, "TURN_S", 0.8)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"\xff" * 100)
        await writer.drain()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    async with strangers.tcp(strangers.silent) as silent, strangers.tcp(babble) as babbling:
        for url in (
            f"turn:127.0.0.1:{closed}?transport=tcp", f"turn:127.0.0.1:{silent}?transport=tcp", f"turn:127.0.0.1:{babbling}?transport=tcp",
            f"turns:127.0.0.1:{babbling}?transport=tcp", f"turn:127.0.0.1:{closed}", "turn:no-such-host.invalid", f"turns:127.0.0.1:{silent}",
        ):  # fmt: skip
            found = await turn(url)
            assert (found.status, found.result) == ("warning", "silent"), url
    assert (await turn("http://turn.example")).result == "unusable"

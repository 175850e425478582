"""Frames of RFC 4571, whatever pieces a stream cuts them into; and a stream as a datagram transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.webrtc.ice_tcp import MAX_FRAME, MAX_WAITING, MOST_WAITING, FramedStream, FrameError, Unframer, framed


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=40))
def test_however_it_is_cut(datagrams: list[bytes], cuts: list[int]) -> None:
    stream, found, frames, n = b"".join(map(framed, datagrams)), [], Unframer(), 0
    while stream:
        size, n = cuts[n % len(cuts)], n + 1
        found += frames.feed(stream[:size])
        stream = stream[size:]
    assert found == datagrams


def test_the_length_is_two_bytes_first() -> None:
    assert framed(b"ab") == b"\x00\x02ab"
    with pytest.raises(FrameError):
        framed(bytes(65536))


@given(st.binary(max_size=300))
def test_a_hostile_stream_holds_no_more_than_a_frame(noise: bytes) -> None:
    frames = Unframer()
    try:
        for at in range(0, len(noise), 7):
            for one in frames.feed(noise[at : at + 7]):
                assert 0 < len(one) <= MAX_FRAME
    except FrameError:
        return
    assert len(frames._held) <= MAX_FRAME + 2


def test_an_impossible_length_ends_it() -> None:
    with pytest.raises(FrameError):
        Unframer().feed(b"\xff\xff" + bytes(10))


async def test_a_slow_stream_loses_media_and_keeps_the_rest() -> None:
    """The far end reads nothing: packets of media are dropped at the limit, a check still goes into the queue."""
    taken = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0, limit=1024)
    lost: list[int] = []
    stream = FramedStream(lambda data: None, lambda: lost.append(1))
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: stream, *server.sockets[0].getsockname())
    for _ in range(20_000):
        stream.sendto(b"\x80" + bytes(1200))
    await asyncio.sleep(0.05)
    assert stream.dropped > 0
    waiting = transport.get_write_buffer_size()
    assert waiting < MAX_WAITING + 4096
    stream.sendto(b"\x00\x01" + bytes(18))
    assert transport.get_write_buffer_size() == waiting + 22
    assert not stream.is_closing()
    stream.abort()
    await asyncio.sleep(0.01)
    assert lost == [1]
    assert stream.is_closing()
    stream.sendto(b"\x80after the end")
    taken.set()
    await asyncio.sleep(0.05)
    server.close()


async def test_nonsense_from_the_far_end_closes_it() -> None:
    lost = asyncio.Event()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    got: list[Any] = []
    await asyncio.get_running_loop().create_connection(lambda: FramedStream(got.append, lost.set), *server.sockets[0].getsockname())
    async with asyncio.timeout(3):
        await lost.wait()
    assert got == []
    server.close()


async def test_who_does_not_read_is_not_kept_answers_for() -> None:
    over = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0, limit=1024)
    stream = FramedStream(lambda data: None, lambda: None)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: stream, *server.sockets[0].getsockname())
    for _ in range(200):
        for _ in range(1000):
            stream.sendto(b"\x01\x01" + bytes(98))
        await asyncio.sleep(0)
    assert transport.get_write_buffer_size() <= MOST_WAITING + 4096
    assert stream.dropped > 0
    stream.abort()
    over.set()
    await asyncio.sleep(0.05)
    server.close()

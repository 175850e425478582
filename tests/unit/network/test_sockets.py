"""Ports of a range and marked packets, on real sockets: asked of the system, and seen by who receives them."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.sockets import open_datagram
from vidconf.webrtc.ice_agent import Agent
from vidconf.webrtc.tunnel import dial

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.SelectorEventLoop]
if sys.platform != "win32":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)
on_both_loops = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"][: len(LOOPS)])
Work = Callable[[], Awaitable[None]]


def run(loop: Callable[[], asyncio.AbstractEventLoop], work: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


def free_range(count: int) -> tuple[int, int]:
    """So many ports in a row that nobody has now."""
    for first in range(42_000, 60_000, 97):
        held = []
        try:
            for port in range(first, first + count):
                held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                held[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for one in held:
                one.close()
        return first, first + count - 1
    raise AssertionError("no ports")


def ports(first: int, last: int, **more: Any) -> NetworkOptions:
    return NetworkOptions(udp_port_min=first, udp_port_max=last, **more)


@on_both_loops
def test_only_ports_of_the_range(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """All of them are used, each once; then there is none, and that is an error that says so."""
    first, last = free_range(4)

    async def work() -> None:
        opened = [(await open_datagram(asyncio.DatagramProtocol, ports(first, last), local="127.0.0.1"))[0] for _ in range(4)]
        assert sorted(t.get_extra_info("sockname")[1] for t in opened) == list(range(first, last + 1))
        with pytest.raises(OSError) as error:
            await open_datagram(asyncio.DatagramProtocol, ports(first, last), local="127.0.0.1")
        assert error.value.errno == errno.EADDRINUSE
        for transport in opened:
            transport.close()
        await asyncio.sleep(0.01)

    run(loop, work)


@on_both_loops
def test_one_that_speaks_to_one_server(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """As to a TURN server over UDP: from a port of the range, too."""
    first, last = free_range(3)

    async def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(3)
            for network in (ports(first, last), DEFAULTS):
                transport, _ = await open_datagram(asyncio.DatagramProtocol, network, remote=server.getsockname())
                transport.sendto(b"hello")
                data, (_, port) = await asyncio.to_thread(server.recvfrom, 100)
                assert data == b"hello"
                assert (first <= port <= last) is (network is not DEFAULTS)
                transport.close()
                await asyncio.sleep(0.01)

    run(loop, work)


async def test_an_address_that_is_not_ours_is_no_matter_of_ports() -> None:
    with pytest.raises(OSError) as error:
        await open_datagram(asyncio.DatagramProtocol, ports(40_000, 65_000), local="192.0.2.1")
    assert error.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell a receiver no mark")
@on_both_loops
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_receiver_sees_the_mark(loop: Callable[[], asyncio.AbstractEventLoop], address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    async def work() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as receiver:
            try:
                receiver.bind((address, 0))
            except OSError:
                pytest.skip(f"{address} is none of this machine's")
            if family == socket.AF_INET6:
                receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            else:
                receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            receiver.settimeout(3)
            for dscp in (46, 0, 34):
                transport, _ = await open_datagram(asyncio.DatagramProtocol, NetworkOptions(dscp=dscp), local=address)
                transport.sendto(b"media", receiver.getsockname()[:2])
                _, told, _, _ = await asyncio.to_thread(receiver.recvmsg, 100, 100)
                marks = [int.from_bytes(data, sys.byteorder) for _, kind, data in told if kind in (socket.IP_TOS, socket.IPV6_TCLASS)]
                assert marks == [dscp << 2]
                transport.close()
                await asyncio.sleep(0.01)

    run(loop, work)


@on_both_loops
def test_a_stream_is_marked_before_it_is_opened(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            transport, _ = await dial(*server.getsockname(), asyncio.Protocol, NetworkOptions(dscp=34))
            assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 34 << 2
            transport.abort()
            await asyncio.sleep(0.01)

    run(loop, work)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows takes no mark")
@on_both_loops
def test_every_socket_of_an_agent(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    first, last = free_range(40)

    async def work() -> None:
        agent = Agent(network=ports(first, last, dscp=46))
        await agent.gather_candidates()
        assert agent._protocols
        for way in agent._protocols:
            sock = way.transport.get_extra_info("socket")
            six = sock.family == socket.AF_INET6
            level, name = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if six else (socket.IPPROTO_IP, socket.IP_TOS)
            assert sock.getsockopt(level, name) == 46 << 2
            assert first <= way.local_candidate.port <= last
        assert all(first <= candidate.port <= last for candidate in agent.local_candidates)
        await agent.close()

    run(loop, work)


async def test_a_range_that_is_full_leaves_other_ways(caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and nothing breaks: TCP and TURN remain."""
    first, _ = free_range(1)
    held = []
    try:
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            held.append(socket.socket(family, socket.SOCK_DGRAM))
            if family == socket.AF_INET6:
                held[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            held[-1].bind((address, first))
        agent = Agent(network=ports(first, first))
        await agent.gather_candidates()
        assert agent.local_candidates == []
        assert "no port of the range is free" in caplog.text
        await agent.close()
    finally:
        for one in held:
            one.close()

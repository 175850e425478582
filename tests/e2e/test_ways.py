"""Ways that are cut, closed and changed under a participant, in network namespaces, at both kinds of SFU, with a real TURN server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aioice.stun import TransactionFailed
from e2e.livekitproc import token, until
from e2e.netns import CLIENT, CLIENT_ELSEWHERE, SERVER, SERVER6, Net
from e2e.sfuproc import made
from e2e.test_engine_sfu import Ours
from e2e.turnproc import SECRET, Turn

from vidconf.engine import api
from vidconf.server.turn import ice_servers_for
from vidconf.webrtc.turn import allocate, turn_servers


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as made_net:
        yield made_net


@pytest.fixture(params=["livekit", "relay"])
def far(request: pytest.FixtureRequest, net: Net, tmp_path: Path) -> Iterator[Any]:
    """An SFU in the server's network."""
    server = made(request.param, tmp_path, SERVER, net.prefix("server"))
    with net.inside("server"):
        server.start()
    yield server
    server.stop()


class Two:
    """Ours in the client's network, and one who looks on from the server's."""

    def __init__(self, net: Net, sfu: Any, ice_servers: tuple[dict[str, Any], ...] = ()) -> None:
        self.net, self.sfu, self.ice_servers = net, sfu, ice_servers
        self.ours, self.listener = Ours(sfu, "ours"), Ours(sfu, "listener")

    async def start(self) -> None:
        with self.net.inside("server"):
            await self.listener.start()
            self.listener.publish()
            self.listener.join()
            assert await until(lambda: self.listener.state() == "connected", 8)
            # it would look at the addresses of whichever network this thread is in
            self.listener.engine.session.stay._addresses.stop()
        with self.net.inside("client"):
            await self.ours.start()
            self.ours.publish()
            self.ours.engine.send(api.Join(self.sfu.url, token("room", "ours"), self.ice_servers))
            assert await until(self.both_ways, 20), (self.ours.report(), self.listener.report(), self.ours.events)

    def both_ways(self) -> bool:
        return self.ours.frames("listener") > 5 and self.ours.heard("listener") and self.listener.frames("ours") > 5 and self.listener.heard("ours")

    async def flows_again(self, timeout_s: float) -> bool:
        """Pictures both ways, newer than now."""
        mine, theirs = self.ours.frames("listener"), self.listener.frames("ours")

        def more() -> bool:
            there, here = self.listener.frames("ours"), self.ours.frames("listener")
            # a track that came anew counts from nothing
            return (there if there < theirs else there - theirs) > 3 and (here if here < mine else here - mine) > 3

        return await until(more, timeout_s)

    async def close(self) -> None:
        await self.ours.close()
        await self.listener.close()


@pytest.mark.timeout(60)
async def test_a_black_out_of_five_seconds(net: Net, far: Any) -> None:
    """It is told within two seconds and a bit, and over as soon as the way is: by the old connection, nobody left or came."""
    two = Two(net, far)
    await two.start()
    with net.inside("client"):
        connection = two.ours.engine.session._connection
        net.cut()
        began = time.monotonic()
        assert await until(lambda: two.ours.state() == "reconnecting", 4)
        assert time.monotonic() - began < 3
        await asyncio.sleep(5 - (time.monotonic() - began))
        net.mend()
        began = time.monotonic()
        assert await until(lambda: two.ours.state() == "connected", 3), two.ours.events[-5:]
        assert await two.flows_again(3), (two.ours.report(), two.listener.report())
        print(f"back after {time.monotonic() - began:.2f} s")
        if two.ours.engine.session._connection is connection:
            assert two.ours.engine.session.reconnects == 0
    await two.close()


@pytest.mark.timeout(60)
async def test_another_address(net: Net, far: Any) -> None:
    """The cable is pulled and Wi-Fi comes: told at once, and back within three seconds of the new address."""
    two = Two(net, far)
    await two.start()
    with net.inside("client"):
        two.ours.engine.send(api.MuteSource("microphone", True))
        for before, after in ((CLIENT, CLIENT_ELSEWHERE), (CLIENT_ELSEWHERE, CLIENT)):
            began = time.monotonic()
            net.take_address(before)
            assert await until(lambda: two.ours.state() == "reconnecting", 2)
            assert time.monotonic() - began < 2
            net.give_address(after)
            began = time.monotonic()
            assert await until(lambda: two.ours.state() == "connected", 3), two.ours.events[-5:]
            assert await two.flows_again(3), (two.ours.report(), two.listener.report())
            assert time.monotonic() - began < 3
            print(f"back after {time.monotonic() - began:.2f} s")
        assert two.ours.engine.session.publications["microphone"].stream.packets == 0, "it was muted and stays it"
    await two.close()


@contextlib.contextmanager
def running(net: Net, kind: str, folder: Path, host: str = SERVER) -> Iterator[Any]:
    server = made(kind, folder, host, net.prefix("server"))
    with net.inside("server"):
        server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["livekit", "relay"])
async def test_udp_is_blocked(net: Net, kind: str, tmp_path: Path) -> None:
    """From the beginning, and in the middle: the picture comes by TCP, in bounded time."""
    with running(net, kind, tmp_path) as sfu:
        net.cut(only="udp")
        two = Two(net, sfu)
        await two.start()
        assert two.ours.engine.session._connection.way == "tcp"
        net.mend()
        with net.inside("client"):
            two.ours.engine.send(api.Leave())
            assert await until(lambda: two.ours.state() == "closed", 3)
            two.ours.publish()
            two.ours.join()
            assert await until(lambda: two.ours.state() == "connected" and two.ours.engine.session._connection.way == "udp", 8)
            net.cut(only="udp")
            assert await until(lambda: two.ours.state() == "reconnecting", 4)
            assert await until(lambda: two.ours.state() == "connected" and two.ours.engine.session._connection.way == "tcp", 8)
            assert await two.flows_again(4)
        await two.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("kind", "how"), [("relay", "udp"), ("relay", "tcp"), ("livekit", "tls")])
async def test_turn(net: Net, kind: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SFU's own ports are closed to us, or all of UDP: a TURN server is the only way, with a password made from a secret."""
    with running(net, kind, tmp_path) as sfu, net.inside("server"), Turn(tmp_path, SERVER, net.prefix("server"), by_secret=True) as turn:
        monkeypatch.setenv("SSL_CERT_FILE", str(turn.authority.certificate))
        monkeypatch.setattr("vidconf.webrtc.ice_agent.MAX_TCP", 0)
        entry = {"urls": turn.entry(how)["urls"], "secret": SECRET}
        net.cut(only="udp", port=sfu.udp if how == "udp" else 0)
        two = Two(net, sfu, tuple(ice_servers_for("p1", [entry], time.time())))
        await two.start()
        assert two.ours.engine.session._connection.way == f"turn_{how}"
        await two.close()


async def test_turn_whose_certificate_nobody_knows_is_not_used(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with net.inside("server"), Turn(tmp_path, SERVER, net.prefix("server")) as turn:
        (server,) = turn_servers([turn.entry("tls")])
        with pytest.raises(ssl.SSLCertVerificationError):
            await allocate(server, asyncio.DatagramProtocol)
        monkeypatch.setenv("SSL_CERT_FILE", str(turn.authority.certificate))
        allocation, _ = await allocate(server, asyncio.DatagramProtocol)
        assert allocation.relayed[0] == SERVER
        allocation.close()
        (wrong,) = turn_servers([{**turn.entry("udp"), "credential": "another"}])
        with pytest.raises(TransactionFailed):
            await allocate(wrong, asyncio.DatagramProtocol)
        await asyncio.sleep(0.1)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["livekit", "relay"])
async def test_nothing_but_ipv6(kind: str, tmp_path: Path) -> None:
    with Net(v4=False, v6=True) as net, running(net, kind, tmp_path, SERVER6) as sfu:
        two = Two(net, sfu)
        await two.start()
        assert two.ours.engine.session._connection.way == "udp"
        await two.close()

"""What administrators may say about the network, obeyed by the whole program at once, and by every packet that leaves its PC.

`vidconf serve` and coturn stand in another network with certificates that only an authority in a file vouches for; the proxy between is
spoken to in TLS. What the bot sends is read off its network's cable.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.botproc import BotProcess
from e2e.livekitproc import until
from e2e.netns import ROUTER, SERVER, Net
from e2e.serverproc import ServeProcess, vidconf
from e2e.sfuproc import running
from e2e.test_engine_sfu import Ours
from e2e.turnproc import SECRET, Turn
from fakes.connect_proxy import ConnectProxy

from vidconf.engine import api

ALL_FRAMES, OUTGOING, IPV4, TCP = 0x0003, 4, b"\x08\x00", 6
DSCP = 46


@dataclass(frozen=True, slots=True)
class Sent:
    """One packet's head."""

    protocol: int
    to: str
    port: int
    tos: int


class Cable:
    """Notes what leaves by the client's network. Made inside it."""

    def __init__(self) -> None:
        self.sent: set[Sent] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("c", ALL_FRAMES))
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        frame, (_, _, kind, *_) = self._socket.recvfrom(65535)
        if kind == OUTGOING and frame[12:14] == IPV4:
            head = frame[14:]
            body = head[4 * (head[0] & 15) :]
            self.sent.add(Sent(head[9], socket.inet_ntoa(head[16:20]), int.from_bytes(body[2:4], "big"), head[1]))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@pytest.mark.timeout(90)
async def test_turn_over_tls_by_a_proxy_in_tls_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with Net() as net, net.inside("server"):
        turn = Turn(tmp_path, SERVER, net.prefix("server"), by_secret=True)
        context = turn.authority.server((SERVER, ROUTER))
        pem, authority = tmp_path / "server.pem", str(turn.authority.certificate)
        # the server names one that is not there: its name and password count, its address does not
        settings = f'[media]\nice_servers = [{{urls = ["turns:192.0.2.1:443", "turn:{SERVER}:{turn.port}"], secret = "{SECRET}"}}]\n'
        with turn, ServeProcess(tmp_path, f'host = "{SERVER}"\n[tls]\ncert = "{pem}"\nkey = "{pem}"\n{settings}') as server:
            made = vidconf("meeting", "create", "--title", "Office", "--no-lobby", "--data", str(server.data), "--json")
            assert made.returncode == 0, made.stderr
            link = json.loads(made.stdout)["link"]
            inside = BotProcess(link, "--name", "Inside", "--seconds", "30", "--ca-file", authority)
            net.shut()
            with net.inside("router"):
                async with ConnectProxy(host=ROUTER, ports=(server.port, turn.tls), tls=context) as proxy:
                    with net.inside("client"):
                        cable = Cable()
                        office = BotProcess(
                            link, "--name", "Office", "--seconds", "6", "--proxy", proxy.url, "--ice-transport", "relay_tls",
                            "--turn-url", f"turns:{SERVER}:{turn.tls}", "--ca-file", authority, "--dscp", str(DSCP),
                        )  # fmt: skip
                    report = await office.report()
                    cable.close()
            await inside.stop()
    assert report["ended"] == "done"
    assert report["way"] == "turn_tls"
    assert any(track["kind"] == "video" and track["frames"] > 20 for track in report["tracks"])
    assert any(track["kind"] == "audio" and track["packets"] > 50 for track in report["tracks"])
    assert {(one.protocol, one.to, one.port) for one in cable.sent} == {(TCP, ROUTER, proxy.port)}, "no packet to anywhere else"
    assert DSCP << 2 in {one.tos for one in cable.sent}, "media's stream is marked"
    opened = {target for target, status in proxy.asked if status == 200}
    assert opened == {f"{SERVER}:{server.port}", f"{SERVER}:{turn.tls}"}


@pytest.mark.timeout(60)
async def test_where_only_turn_may_be_used_and_nobody_names_one_it_is_over_at_once(tmp_path: Path) -> None:
    async with running("relay", tmp_path) as sfu:
        ours = await Ours(sfu).start()
        ours.engine.send(api.SetNetwork(ice_transport="relay"))
        ours.join()
        assert await until(lambda: api.StateChanged("closed", "no_turn") in ours.events, 8), ours.events
        ours.engine.send(api.SetNetwork())
        ours.join()
        assert await until(lambda: ours.state() == "connected", 8), "and with another word of the administrator's it goes on"
        await ours.close()

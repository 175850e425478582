"""What strangers are told of media, over a real HTTP server; and what the relay's child says of itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from vidconf.server import probe
from vidconf.server.relay_child import _addresses

HERE, LAN, V6 = ("127.0.0.1", 7882), ("192.0.2.4", 7882), ("2001:db8::4", 7882)


async def told(
    url: str, relay: bool, port: Sequence[tuple[str, int]] | None, ice_servers: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    app = web.Application()
    app.add_routes(probe.routes(url, relay, lambda: port, ice_servers))
    async with TestClient(TestServer(app)) as client, client.get("/api/v1/media/where") as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        found: dict[str, Any] = await response.json()
    return found


async def test_the_relays_addresses_and_the_clock() -> None:
    found = await told("wss://meet.example", True, [LAN, V6, HERE])
    assert abs(found.pop("time") - time.time()) < 5
    assert found == {
        "media": "relay", "up": True, "url": "wss://meet.example", "ice_servers": [],
        "udp": [{"host": "192.0.2.4", "port": 7882}, {"host": "2001:db8::4", "port": 7882}], "tcp": [],
    }  # fmt: skip


async def test_loopback_is_told_where_there_is_nothing_else() -> None:
    assert (await told("ws://127.0.0.1:8080", True, [HERE]))["udp"] == [{"host": "127.0.0.1", "port": 7882}]


@pytest.mark.parametrize("nothing", [None, ()])
async def test_a_relay_that_is_not_up(nothing: Any) -> None:
    found = await told("wss://meet.example", True, nothing)
    assert (found["media"], found["up"], found["udp"]) == ("relay", False, [])


async def test_an_sfu_of_others_and_none() -> None:
    found = await told("wss://sfu.example", False, [LAN])
    assert (found["media"], found["up"], found["udp"]) == ("external", True, [])
    found = await told("", False, None)
    assert (found["media"], found["up"]) == ("none", False)


async def test_of_turn_servers_only_the_addresses_are_told() -> None:
    servers = [
        {"urls": ["turn:turn.example:3478?transport=udp", "turns:turn.example:443?transport=tcp"], "username": "u", "credential": "secret"},
        {"urls": "stun:stun.example"},
        {"urls": None},
        {},
    ]
    found = await told("wss://meet.example", True, [LAN], servers)
    assert found["ice_servers"] == ["turn:turn.example:3478?transport=udp", "turns:turn.example:443?transport=tcp", "stun:stun.example"]
    assert "secret" not in str(found)
    many = await told("wss://meet.example", True, [LAN], [{"urls": [f"stun:{n}.example" for n in range(100)]}])
    assert len(many["ice_servers"]) == probe.ICE_URLS


@pytest.mark.parametrize(
    ("line", "addresses"),
    [
        (b"media 192.0.2.4:7882 [2001:db8::4]:7882\n", (LAN, V6)),
        (b"media\n", ()),
        (b"", ()),
        (b"\n", ()),
        (b"something 192.0.2.4:7882\n", ()),
        (b"media 192.0.2.4: :7 x 192.0.2.4:port \xff\n", ()),
    ],
)
def test_what_a_relay_says_of_its_port_is_read_or_left(line: bytes, addresses: tuple[tuple[str, int], ...]) -> None:
    assert _addresses(line) == addresses

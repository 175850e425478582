"""Where the server says media is: the doctor's look at its clock, the media's door, its UDP addresses, TCP and TURN."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fakes import strangers
from fakes.strangers import says
from unit.cli.doctor_room import Found, looked, result, server, where

from vidconf.cli import doctor_media
from vidconf.cli.findings import Finding
from vidconf.network.options import NetworkOptions
from vidconf.webrtc.ice_lite import Port

pytestmark = pytest.mark.usefixtures("doctor_alone")


@pytest.mark.parametrize(("off_s", "wanted"), [(0, ("ok", "in_step")), (90, ("warning", "behind")), (-7200, ("warning", "ahead"))])
async def test_the_clock(off_s: float, wanted: tuple[str, str]) -> None:
    async with server(lambda at: where(url=f"ws://127.0.0.1:{at}", time=time.time() + off_s)) as origin:
        found = await looked(origin)
    assert result(found, "server.clock") == wanted
    assert abs(found["doctor.server.clock"].detail["offset_s"] - off_s) < 3


async def test_an_older_server_does_not_say_where_media_is() -> None:
    async with server(where=None) as origin:
        found = await looked(origin)
    assert result(found, "media.where") == ("warning", "older")
    assert result(found, "server.clock") == ("ok", "in_step"), "by the Date of its answers"
    assert "doctor.media.udp" not in found


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"media": "none"}, ("failure", "none")),
        ({"up": False}, ("failure", "media_unavailable")),
        ({"up": "yes"}, ("failure", "media_unavailable")),
        ({"media": "external"}, ("ok", "external")),
    ],
)
async def test_what_media_there_is(changes: dict[str, Any], wanted: tuple[str, str]) -> None:
    async with server(lambda at: where(url=f"ws://127.0.0.1:{at}", **changes)) as origin:
        assert result(await looked(origin), "media.where") == wanted


@pytest.mark.parametrize(("status", "wanted"), [(401, ("ok", "door")), (404, ("failure", "not_passed_on")), (200, ("failure", "not_passed_on")), (503, ("failure", "media_unavailable"))])
async def test_the_media_s_door(status: int, wanted: tuple[str, str]) -> None:
    async with server(rtc=says("/rtc/validate", "x", status)) as origin:
        assert result(await looked(origin), "media.signalling") == wanted


@pytest.mark.parametrize("url", [None, 7, "", "ws://meet.example", "http://127.0.0.1", "javascript:alert(1)", "wss://", "wss://[::", "ws://127.0.0.1:99999", "w" * 600])
async def test_a_media_address_that_is_none_is_not_gone_to(url: Any) -> None:
    async with server(lambda at: where(url=url)) as origin:
        assert found_failure(await looked(origin), "media.signalling")


def found_failure(found: Found, name: str) -> bool:
    return found[f"doctor.{name}"].status == "failure"


@pytest.mark.parametrize(
    "udp",
    [None, "x", 7, {"host": "127.0.0.1"}, [7, None, [], {}], [{"host": "meet.example", "port": 9}], [{"host": "127.0.0.1", "port": True}],
     [{"host": "127.0.0.1", "port": 0}], [{"host": "127.0.0.1", "port": 65536}], [{"host": "127.0.0.1", "port": "9"}], [{"host": None, "port": 9}]],
)  # fmt: skip
async def test_addresses_that_are_none_are_not_asked(udp: Any) -> None:
    async with server(lambda at: where(url=f"ws://127.0.0.1:{at}", udp=udp)) as origin:
        assert result(await looked(origin), "media.udp") == ("warning", "unmeasured")


async def test_so_many_addresses_and_no_more_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    async def measured(addresses: list[tuple[str, int]], options: NetworkOptions) -> Finding:
        asked.extend(addresses)
        return Finding("doctor.media.udp", "ok", "through")

    turned: list[str] = []

    async def turn(url: str, tls: Any) -> Finding:
        turned.append(url)
        return Finding("doctor.media.turn", "warning", "unusable", {"url": url})

    monkeypatch.setattr(doctor_media, "udp", measured)
    monkeypatch.setattr(doctor_media, "turn", turn)
    udp = [{"host": f"192.0.2.{number}", "port": 9} for number in range(100)]
    urls = [f"turn:192.0.2.{number}" for number in range(100)]
    async with server(lambda at: where(url=f"ws://127.0.0.1:{at}", udp=udp, ice_servers=[7, None, *urls])) as origin:
        await looked(origin)
    assert asked == [("192.0.2.0", 9), ("192.0.2.1", 9), ("192.0.2.2", 9), ("192.0.2.3", 9)]
    assert len(turned) <= doctor_media.TURN_URLS


@pytest.mark.parametrize(("transport", "wanted"), [("tcp", ("warning", "turn_instead")), ("udp", ("failure", "blocked"))])
async def test_turn_helps_where_udp_is_shut(transport: str, wanted: tuple[str, str]) -> None:
    async with strangers.stun(lambda number, size: None) as shut, strangers.tcp(strangers.stun_over_tcp) as turn_port:
        told = where(udp=[{"host": "127.0.0.1", "port": shut}], ice_servers=[f"turn:127.0.0.1:{turn_port}?transport={transport}"])
        async with server(lambda at: {**told, "url": f"ws://127.0.0.1:{at}"}) as origin:
            found = await looked(origin)
    assert result(found, "media.udp") == wanted
    assert found["doctor.media.turn"].status == ("ok" if transport == "tcp" else "warning")


async def test_tcp_helps_where_udp_is_shut() -> None:
    """A relay's own TCP port, asked as a meeting would ask it; a port where something else listens is no way."""
    relay = await Port.open("127.0.0.1", 0)
    async with strangers.stun(lambda number, size: None) as shut, strangers.tcp(strangers.stun_over_tcp) as other:
        for port, wanted in ((relay.tcp_candidates[0][1], ("warning", "tcp_instead")), (other, ("failure", "blocked"))):
            told = where(udp=[{"host": "127.0.0.1", "port": shut}], tcp=[7, {"host": "127.0.0.1", "port": port}])
            async with server(lambda at, told=told: {**told, "url": f"ws://127.0.0.1:{at}"}) as origin:
                assert result(await looked(origin), "media.udp") == wanted
    await relay.close()


async def test_where_only_turn_may_be_used_only_turn_is_asked() -> None:
    """Nothing is sent to the media port; a TURN server that does not answer, or none at all, is a failure then."""
    async with strangers.tcp(strangers.stun_over_tcp) as turn_port:
        udp = [{"host": "127.0.0.1", "port": 9}]
        for options, named, wanted in (
            (NetworkOptions(ice_transport="relay"), [f"turn:127.0.0.1:{turn_port}?transport=tcp", "stun:127.0.0.1:9"], ("ok", "answers")),
            (NetworkOptions(ice_transport="relay", turn_urls=(f"turn:127.0.0.1:{turn_port}?transport=tcp",)), [], ("ok", "answers")),
            (NetworkOptions(ice_transport="relay"), ["turn:127.0.0.1:9?transport=tcp"], ("failure", "silent")),
            (NetworkOptions(ice_transport="relay_tls"), [f"turn:127.0.0.1:{turn_port}?transport=tcp"], ("failure", "none")),
        ):
            async with server(lambda at, named=named: where(url=f"ws://127.0.0.1:{at}", udp=udp, ice_servers=named)) as origin:
                found = await looked(origin, options=options)
            assert result(found, "media.udp") == ("ok", "not_used")
            assert result(found, "media.turn") == wanted
            assert found["doctor.media.turn"].as_json()["text"]

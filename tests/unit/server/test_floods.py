"""What one visitor or participant may make the server do: connections, joins and commands that nobody refuses, only too many of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from e2e.control_client import open_socket
from unit.server.conftest import House, Serving

from vidconf.server import app, control, rest, web
from vidconf.server.control import SLOW


async def test_a_seat_that_says_hello_again_and_again_is_slowed_down(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await house.meeting(lobby=False)
    seat = await house.anybody.join(made["code"], "An")
    other = await (await house.anybody.join(made["code"], "Bình")).connect()
    for _ in range(control.HELLO_BURST):
        await (await seat.connect()).close()
    refused = await open_socket(house.anybody)
    await refused.say({"id": 0, "do": "hello", "token": seat.session_token, "protocol": 1, "client": "t", "resume_from": None})
    await refused.until(lambda: refused.closed is not None or refused.frames)
    assert (refused.closed, refused.frames) == (SLOW, [])
    await other.done("chat", text="nghe rõ")  # who sits beside it is not concerned
    later = time.monotonic() + 2 / control.HELLOS_PER_S
    monkeypatch.setattr(control.time, "monotonic", lambda: later)
    again = await seat.connect()
    monkeypatch.undo()
    await again.close()
    await other.close()


async def test_commands_by_rest_are_no_way_past_the_sockets_limits(serving: Serving) -> None:
    async with serving(limits={"chat_per_second": 1.0, "commands_per_second": 4.0}) as house:
        made = await house.meeting(lobby=False)
        member = await house.account("an")
        await member.join(made["code"], "An")
        said = [await member.command(made["id"], "chat", text=f"{n}") for n in range(8)]
        assert said[0].status == 200
        assert (said[-1].status, said[-1].code) == (429, "too_many_requests")
        assert said[-1].headers["Retry-After"] == "1"
        raised = [await member.command(made["id"], "raise_hand" if n % 2 else "lower_hand") for n in range(16)]
        assert raised[-1].status == 429
        chair = [await house.chair(made).command(made["id"], "lock" if n % 2 else "unlock") for n in range(20)]
        assert {one.status for one in chair} == {200}  # scripts of those in charge work as fast as they like


async def test_new_guests_from_one_address_are_limited_but_not_a_whole_ministry(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "GUESTS_BURST", 12)
    async with serving(limits={"capacity": 6}, behind_proxy=True) as house:
        made = await house.meeting()

        async def knock(address: str, **more: Any) -> Any:
            body = {"code": made["code"], "name": "Khách", **more}
            return await house.anybody.post("/api/v1/join", body, headers={"X-Forwarded-For": address})

        first = await knock("203.0.113.5")
        codes = [(await knock("203.0.113.5")).code for _ in range(12)]
        assert codes[-1] == "too_many_requests"
        assert (await knock("203.0.113.5", badge=first.body["badge"])).status == 200  # who has a seat comes back to it
        assert (await knock("198.51.100.7")).code == "full"  # another address is not slowed down by it
        assert len((await house.server.rooms.get(made["id"])).state.participants) == 6


async def test_who_opens_a_connection_and_says_nothing_is_hung_up_on(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FIRST_REQUEST_S", 0.5)
    async with serving() as house:
        silent = await asyncio.open_connection("127.0.0.1", house.server.port)
        slow = await asyncio.open_connection("127.0.0.1", house.server.port)
        slow[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        made = await house.meeting(lobby=False)
        busy = await (await house.anybody.join(made["code"], "An")).connect()
        async with asyncio.timeout(5):
            assert await silent[0].read() == b""
            assert b"200" not in await slow[0].read()
        await busy.done("raise_hand")
        for _, writer in (silent, slow):
            writer.close()
        await busy.close()


async def test_a_body_that_never_comes_is_not_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    writer.write(b"POST /api/v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\nConnection: close\r\n\r\n{")
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()

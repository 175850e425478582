"""What one visitor or participant may make the server do: connections, joins and commands that nobody refuses, only too many of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from argon2 import PasswordHasher
from e2e.control_client import open_socket
from unit.server.conftest import House, Serving

from vidconf.server import app, control, rest, web
from vidconf.server.control import SLOW
from vidconf.server.limits import Buckets


async def test_a_seat_that_says_hello_again_and_again_is_slowed_down(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await house.meeting(lobby=False)
    assert (control.HELLOS_PER_S, control.HELLO_BURST) == (0.5, 30)
    per_s, burst = 0.2, 5  # a busy machine takes longer than two seconds for thirty connections
    house.server.control.hellos = Buckets(per_s, burst + 1)
    seat = await house.anybody.join(made["code"], "An")
    other = await (await house.anybody.join(made["code"], "Bình")).connect()
    for _ in range(burst + 1):
        await (await seat.connect()).close()
    refused = await open_socket(house.anybody)
    await refused.say({"id": 0, "do": "hello", "token": seat.session_token, "protocol": 1, "client": "t", "resume_from": None})
    await refused.until(lambda: refused.closed is not None or refused.frames)
    assert (refused.closed, refused.frames) == (SLOW, [])
    await other.done("chat", text="nghe rõ")  # who sits beside it is not concerned
    later = time.monotonic() + 2 / per_s
    monkeypatch.setattr(control.time, "monotonic", lambda: later)
    again = await seat.connect()
    monkeypatch.undo()
    await again.close()
    await other.close()


async def test_commands_by_rest_are_no_way_past_the_sockets_limits(serving: Serving) -> None:
    async with serving(limits={"chat_per_second": 0.2, "commands_per_second": 1.0}) as house:
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


async def test_one_delegate_does_not_fill_the_record_for_ever(serving: Serving) -> None:
    async with serving(limits={"changes_per_second": 0.1}) as house:
        made = await house.meeting(lobby=False)
        an, binh = [await (await house.anybody.join(made["code"], name)).connect() for name in ("An", "Bình")]
        for n in range(3):  # thirty seconds' worth at once is nothing bad
            await an.done("rename", name=f"An {n}")
        for do, more in (("rename", {"name": "Ấn"}), ("set_source", {"source": "camera", "state": "on"}), ("raise_hand", {})):
            answer = await an.ask(do, **more)
            assert answer["refused"] == "too_many_changes", do
            assert 1 <= answer["detail"]["wait_s"] <= 10
        await an.done("rename", name="An 2")  # what changes nothing is no change
        await an.done("chat", text="nói thì được")  # the chat has limits of its own
        await binh.done("raise_hand")  # who sits beside it is not concerned
        assert (await house.chair(made).command(made["id"], "lower_hand", participant=binh.me)).status == 200
        await an.done("leave")  # nobody is kept in
        await an.close()
        await binh.close()


async def test_by_rest_it_is_the_same_limit(serving: Serving) -> None:
    async with serving(limits={"changes_per_second": 0.1}) as house:
        made = await house.meeting(lobby=False)
        member = await house.account("an")
        an = await (await member.join(made["code"], "An")).connect()
        for n in range(3):
            await an.done("rename", name=f"An {n}")
        refused = await member.command(made["id"], "rename", name="Ấn")
        assert (refused.status, refused.code) == (409, "too_many_changes")
        await an.close()


async def test_who_was_too_quick_can_still_be_silent(serving: Serving) -> None:
    async with serving(limits={"changes_per_second": 0.1}) as house:
        made = await house.meeting(lobby=False)
        an = await (await house.anybody.join(made["code"], "An")).connect()
        for source in ("microphone", "camera"):
            await an.done("set_source", source=source, state="on")
        await an.done("raise_hand")
        for source, state in (("microphone", "muted"), ("microphone", "off"), ("camera", "off")):
            await an.done("set_source", source=source, state=state)
        assert (await an.ask("set_source", source="microphone", state="muted"))["refused"] == "too_many_changes", "a step up"
        await an.close()


async def test_a_moderator_works_through_a_whole_hall(serving: Serving) -> None:
    async with serving(limits={"changes_per_second": 0.1}) as house:
        made = await house.meeting(lobby=False)
        seat = await house.anybody.join(made["code"], "Thư ký")
        await house.chair(made).command(made["id"], "set_role", participant=seat.participant, role="secretary")
        secretary = await seat.connect()
        answers = [await secretary.ask("lock" if n % 2 == 0 else "unlock") for n in range(30)]
        assert all("ok" in one for one in answers)
        await secretary.close()


async def test_guessing_at_once_is_no_way_past_the_limit(serving: Serving) -> None:
    async with serving(limits={"failures_per_minute": 4}) as house:
        await house.account("an")
        guess = {"name": "an", "password": "đoán một lần"}
        replies = await asyncio.gather(*(house.anybody.post("/api/v1/auth/login", guess) for _ in range(30)))
        assert sorted(reply.status for reply in replies) == [401] * 4 + [429] * 26
        assert (await house.anybody.post("/api/v1/auth/login", {"name": "an", "password": "mật khẩu dài"})).status == 429


async def test_passwords_of_one_address_do_not_keep_the_others_waiting(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "SIGNING_IN", 3)
    async with serving(behind_proxy=True) as house:
        await house.account("an")
        house.server.accounts._hasher = PasswordHasher(time_cost=1, memory_cost=16384)  # long enough for the others to come meanwhile

        async def login(name: str, address: str) -> Any:
            sent = {"name": name, "password": "mật khẩu dài"}
            return await house.anybody.post("/api/v1/auth/login", sent, headers={"X-Forwarded-For": address})

        many = asyncio.gather(*(login(f"nobody {n}", "203.0.113.5") for n in range(20)))
        assert (await login("an", "198.51.100.7")).status == 200
        replies = await many
        assert {reply.status for reply in replies} == {401, 429}
        assert {(reply.code, reply.headers["Retry-After"]) for reply in replies if reply.status == 429} == {("too_many_requests", "2")}
        assert (await login("an", "203.0.113.5")).status == 200, "they are done"


async def test_one_person_does_not_join_for_ever(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "JOINS_BURST", 5)
    monkeypatch.setattr(rest, "JOINS_PER_S", 0.1)
    async with serving(limits={"changes_per_second": 100.0}) as house:
        made = await house.meeting(lobby=False)
        body = {"code": made["code"], "name": "Khách"}
        guest = {**body, "badge": (await house.anybody.post("/api/v1/join", body)).body["badge"]}
        member = await house.account("an")
        for bearer, sent, before in ((house.anybody, guest, 1), (member, body, 0)):
            replies = [await bearer.post("/api/v1/join", sent) for _ in range(12)]
            assert [reply.status for reply in replies[: 5 - before]] == [200] * (5 - before)
            assert (replies[-1].status, replies[-1].code, replies[-1].headers["Retry-After"]) == (429, "too_many_requests", "2")
        assert (await house.anybody.post("/api/v1/join", body)).status == 200  # another guest, from the same address


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

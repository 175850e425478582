"""A disabled account is out of its meetings within seconds, whoever disabled it; nobody else notices more than its going."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from e2e.control_client import open_socket, until
from unit.server.conftest import House, Serving
from unit.server.test_gate import GATE, MEDIA, token

from vidconf.server import expulsion
from vidconf.server.accounts import Accounts
from vidconf.server.control import NOT_VALID
from vidconf.server.storage import Storage

SOON_S = 4.0
"""Less than `LOOK_S`: nobody has waited for the next look."""


def place(house: House, meeting: str, participant: str) -> str:
    room = house.server.rooms.peek(meeting)
    assert room is not None
    return room.state.participants[participant].place


async def test_who_is_disabled_is_out_at_once(serving: Serving) -> None:
    async with serving(media=MEDIA) as house:
        made = await house.meeting(lobby=False)
        member, other = await house.account("an"), await house.account("binh")
        seat = await member.join(made["code"], "An")
        an, binh = await seat.connect(), await (await other.join(made["code"], "Bình")).connect()
        media = house.anybody.with_bearer(token(f"{an.me}.1", f"{made['id']}.1"))
        assert (await media.get(GATE)).status == 200
        assert (await house.admin.post("/api/v1/accounts/an/disable")).status == 200
        async with asyncio.timeout(SOON_S):
            await binh.event("removed", participant=an.me)
            await until(lambda: an.closed is not None)
        assert an.closed == NOT_VALID
        assert [one["participant"] for one in an.events if one["ev"] == "removed"] == [an.me], "it was told before it was closed"
        assert (await media.get(GATE)).status == 403
        again = await open_socket(house.anybody)
        assert (await again.hello(seat.session_token))["error"] == "bad_token"
        assert (await member.post("/api/v1/join", {"code": made["code"], "name": "An"})).status == 401
        await binh.done("chat", text="vẫn họp")
        for socket in (an, binh, again):
            await socket.close()


async def test_who_waits_in_the_lobby_is_out_too(house: House) -> None:
    made = await house.meeting()
    waiting = await (await (await house.account("an")).join(made["code"], "An")).connect()
    await house.admin.post("/api/v1/accounts/an/disable")
    async with asyncio.timeout(SOON_S):
        await until(lambda: waiting.closed is not None)
    assert place(house, made["id"], waiting.me) == "removed"
    await waiting.close()


async def test_it_does_not_matter_who_disabled_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a second server, or the command line, does: only the database knows."""
    monkeypatch.setattr(expulsion, "LOOK_S", 0.1)
    house.server.accounts.disabled.set()  # from now on it looks as often as that
    made = await house.meeting(lobby=False)
    an = await (await (await house.account("an")).join(made["code"], "An")).connect()
    elsewhere = await Accounts.open(house.server.storage, None)
    await elsewhere.disable("an")
    elsewhere.close()
    async with asyncio.timeout(SOON_S):
        await until(lambda: an.closed is not None)
    assert place(house, made["id"], an.me) == "removed"
    await an.close()


async def test_the_last_chair_goes_like_one_who_was_lost(house: House) -> None:
    organiser = await house.account("an", "organiser")
    made = (await organiser.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})).body
    chair = await (await organiser.join(made["code"], "An")).connect()
    guest = await (await house.anybody.join(made["code"], "Khách")).connect()
    await house.admin.post("/api/v1/accounts/an/disable")
    async with asyncio.timeout(SOON_S):
        assert (await guest.event("left", participant=chair.me))["reason"] == "lost"
        await until(lambda: chair.closed is not None)
    assert (await organiser.post("/api/v1/join", {"code": made["code"], "name": "An"})).status == 401
    assert guest.closed is None
    for socket in (chair, guest):
        await socket.close()


async def test_who_was_disabled_while_no_server_ran_is_out_when_one_does(serving: Serving, tmp_path: Path) -> None:
    async with serving() as house:
        made = await house.meeting(lobby=False)
        seat = await (await house.account("an")).join(made["code"], "An")
        guest = await house.anybody.join(made["code"], "Khách")
        sockets = [await one.connect() for one in (seat, guest)]
    for socket in sockets:
        await socket.close()
    storage = await Storage.open(tmp_path)
    between = await Accounts.open(storage, None)
    await between.disable("an")
    between.close()
    await storage.close()
    async with serving() as house:
        await until(lambda: house.server.rooms.peek(made["id"]) and place(house, made["id"], seat.participant) == "removed")
        assert place(house, made["id"], guest.participant) == "admitted"
        again = await open_socket(house.anybody)
        assert (await again.hello(seat.session_token))["error"] == "bad_token"
        await again.close()

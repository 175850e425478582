"""The SFU's door: who is in the room now may pass, whoever was put out may not, however fresh the token."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from e2e.control_client import Seat
from livekit import api
from unit.server.conftest import House, Serving

from vidconf.server import gate
from vidconf.server.config import MediaConfig

SECRET = "a secret of the tests that is long enough"
# An SFU nobody runs: the door is asked, not the SFU.
MEDIA = MediaConfig(url="ws://127.0.0.1:1", api_key="key", api_secret=SECRET)
GATE = "/api/v1/media/gate"


def token(identity: str, room: str, secret: str = SECRET, **grants: Any) -> str:
    """As LiveKit itself renews one."""
    video = api.VideoGrants(**{"room_join": True, "room": room, **grants})
    return api.AccessToken("key", secret).with_identity(identity).with_grants(video).to_jwt()


async def asked(house: House, bearer: str) -> int:
    reply = await house.anybody.with_bearer(bearer).get(GATE)
    assert reply.headers["Cache-Control"] == "no-store"
    return reply.status


async def let_in(house: House, made: dict[str, Any], name: str = "An", **more: Any) -> Seat:
    seat = await house.anybody.join(made["code"], name, **more)
    await house.chair(made).command(made["id"], "admit", participant=seat.participant)
    return seat


async def test_only_who_is_in_the_room_now_passes(serving: Serving) -> None:
    async with serving(media=MEDIA) as house:
        made = await house.meeting()
        chair, room = house.chair(made), f"{made['id']}.1"
        seat = await house.anybody.join(made["code"], "An")
        fresh = token(f"{seat.participant}.1", room)
        assert await asked(house, fresh) == 403, "in the lobby"
        await chair.command(made["id"], "admit", participant=seat.participant)
        assert await asked(house, fresh) == 403, "not connected yet: no such session"
        socket = await seat.connect()
        assert await asked(house, fresh) == 200
        for identity in (f"{seat.participant}.2", f"{seat.participant}.0", seat.participant, "ghost.1", f"{seat.participant}.1.1"):
            assert await asked(house, token(identity, room)) in (401, 403), identity
        for other in (f"{made['id']}.2", f"{made['id']}.0", made["id"], "m0.1", "x" * 300 + ".1", "\ud7ff.1", "'.1"):
            assert await asked(house, token(f"{seat.participant}.1", other)) in (401, 403), other
        await socket.close()


@pytest.mark.parametrize("do", ["remove", "to_lobby", "ban"])
async def test_who_was_put_out_does_not_pass_with_any_token(serving: Serving, do: str) -> None:
    async with serving(media=MEDIA) as house:
        made = await house.meeting()
        seat = await let_in(house, made)
        socket = await seat.connect()
        before = token(f"{seat.participant}.1", f"{made['id']}.1")
        assert await asked(house, before) == 200
        assert (await house.chair(made).command(made["id"], do, participant=seat.participant)).status == 200
        assert await asked(house, before) == 403
        for epoch in (1, 2):
            assert await asked(house, token(f"{seat.participant}.1", f"{made['id']}.{epoch}")) == 403, "renewed by the SFU"
        await socket.close()


async def test_leaving_and_the_end_close_the_door(serving: Serving) -> None:
    async with serving(media=MEDIA) as house:
        made = await house.meeting()
        seats = [await let_in(house, made, name) for name in ("An", "Bình")]
        sockets = [await seat.connect() for seat in seats]
        tokens = [token(f"{seat.participant}.1", f"{made['id']}.1") for seat in seats]
        await sockets[0].done("leave")
        assert [await asked(house, each) for each in tokens] == [403, 200]
        await house.chair(made).command(made["id"], "end")
        assert [await asked(house, each) for each in tokens] == [403, 403]
        for socket in sockets:
            await socket.close()


async def test_a_ban_moves_everybody_to_a_new_room(serving: Serving) -> None:
    async with serving(media=MEDIA) as house:
        made = await house.meeting()
        stays, goes = await let_in(house, made, "Ở lại"), await let_in(house, made, "Ra đi")
        socket = await stays.connect()
        assert await asked(house, token(f"{stays.participant}.1", f"{made['id']}.1")) == 200
        await house.chair(made).command(made["id"], "ban", participant=goes.participant)
        assert (await socket.event("epoch_changed"))["epoch"] == 2
        assert await asked(house, token(f"{stays.participant}.1", f"{made['id']}.1")) == 403
        assert await asked(house, token(f"{stays.participant}.1", f"{made['id']}.2")) == 200
        await socket.close()


async def test_tokens_that_are_none_are_401(serving: Serving) -> None:
    async with serving(media=MEDIA) as house:
        made = await house.meeting()
        seat = await let_in(house, made)
        socket = await seat.connect()
        identity, room = f"{seat.participant}.1", f"{made['id']}.1"
        for bad in ("", "x", "a.b.c", token(identity, room, "another secret that is long enough"), token(identity, room, room_join=False),
                    seat.session_token, made["chair_token"], house.admin.bearer, "x" * 7000):  # fmt: skip
            assert await asked(house, bad) == 401
        await socket.close()


async def test_nginx_may_ask_with_the_original_address(serving: Serving) -> None:
    async with serving(media=MEDIA) as house:
        made = await house.meeting()
        seat = await let_in(house, made)
        socket = await seat.connect()
        good, bad = token(f"{seat.participant}.1", f"{made['id']}.1"), token("ghost.1", f"{made['id']}.1")

        async def status(original: str = "", bearer: str = "") -> int:
            headers = {"X-Original-URI": original} if original else {}
            return (await house.anybody.with_bearer(bearer).get(GATE, headers=headers)).status

        assert await status(f"/rtc?auto_subscribe=1&access_token={good}") == 200
        assert await status(f"/rtc/validate?access_token={quote(good)}&x=1") == 200
        assert await status("/rtc", good) == 200
        assert await status(f"/rtc?access_token={bad}") == 403
        assert await status(f"/rtc?access_token={good}", bad) == 403, "the header is what the SFU believes, too"
        assert await status(f"/rtc?access_token={bad}&access_token={good}") == 403
        for odd in ("/rtc", "http://[", "/rtc?" + "&".join(f"a{n}=1" for n in range(200)), "/rtc?access_token=%ff%00", "?" * 3000):
            assert await status(odd) == 401, odd
        await socket.close()


async def test_a_lobby_has_no_token_and_without_an_sfu_there_is_none_for_anybody(serving: Serving) -> None:
    async with serving(media=MEDIA) as house:
        made = await house.meeting()
        waiting = await (await house.anybody.join(made["code"], "Đợi")).connect()
        assert (await waiting.ask("media"))["refused"] == "in_lobby"
        inside = await (await let_in(house, made)).connect()
        began = time.monotonic()
        answer = await inside.ask("media")
        assert (answer["error"], time.monotonic() - began < 6) == ("media_unavailable", True)
        assert answer["ref"]
        for socket in (waiting, inside):
            await socket.close()


async def test_webhooks_are_signed_or_refused(serving: Serving) -> None:
    async with serving(media=MEDIA) as house:
        for headers in ({}, {"Authorization": "x"}, {"Authorization": token("p.1", "m.1")}):
            reply = await house.anybody.ask("POST", "/api/v1/media/webhook", raw=b"{}", headers=headers)
            assert reply.status == 401


async def test_who_joins_the_media_again_and_again_is_slowed_down(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (gate.JOINS_PER_S, gate.JOIN_BURST) == (0.5, 10)
    monkeypatch.setattr(gate, "JOINS_PER_S", 0.1)  # a busy machine takes longer than two seconds for ten requests
    async with serving(media=MEDIA) as house:
        made = await house.meeting(lobby=False)
        seats = [await house.anybody.join(made["code"], name) for name in ("An", "Bình")]
        sockets = [await seat.connect() for seat in seats]
        an, binh = (house.anybody.with_bearer(token(f"{seat.participant}.1", f"{made['id']}.1")) for seat in seats)
        assert [(await an.get(GATE)).status for _ in range(gate.JOIN_BURST)] == [200] * gate.JOIN_BURST
        slowed = await an.get(GATE)
        assert (slowed.status, slowed.headers["Retry-After"]) == (429, str(int(1 / gate.JOINS_PER_S)))
        assert slowed.headers["Access-Control-Allow-Origin"] == "*", "a page must be able to read it"
        assert (await binh.get(GATE)).status == 200, "who sits beside it is not concerned"
        assert 'vidconf_media_door_total{answer="slowed"} 1.0' in (await house.anybody.get("/metrics")).body
        later = time.monotonic() + 1 / gate.JOINS_PER_S
        monkeypatch.setattr(gate.time, "monotonic", lambda: later)
        assert [(await an.get(GATE)).status for _ in range(2)] == [200, 429]
        monkeypatch.undo()
        for socket in sockets:
            await socket.close()

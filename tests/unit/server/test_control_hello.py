"""The control socket of a real server: who may open it, hello, and resuming after a loss."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest
from e2e.control_client import Api, open_socket, until
from unit.server.conftest import House, Serving
from unit.server.control_room import HELLO, held, room_of, up_to_date

from vidconf.server import control as control_module

# ---- hello -----------------------------------------------------------------------------------------------------------


async def test_hello_is_answered_by_what_one_may_see(house: House) -> None:
    made, chair = await held(house)
    answer = chair.frames[0]
    assert set(answer) == {"re", "ok"}
    assert answer["ok"]["seq"] == answer["ok"]["snapshot"]["seq"] == room_of(house, made).state.seq
    assert (answer["ok"]["participant"], answer["ok"]["meeting"]) == (chair.me, made["id"])
    await up_to_date(house, made, chair)
    assert not chair.events, "what happened before is in the snapshot"
    await chair.close()


async def test_who_says_nothing_is_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert control_module.HELLO_S == 5.0
    monkeypatch.setattr(control_module, "HELLO_S", 0.2)
    socket = await open_socket(house.anybody)
    assert await socket.ended(3) == 4010
    assert house.server.control.counts["no_hello"] == 1
    socket = await open_socket(house.anybody)
    for _ in range(5):
        await socket.raw.ping()  # alive is not enough
        await asyncio.sleep(0.03)
    assert await socket.ended(3) == 4010


BAD_HELLOS: list[tuple[dict[str, Any], str, int]] = [
    (HELLO, "bad_token", 4003),
    ({**HELLO, "token": "x" * 5000}, "bad_token", 4003),
    ({**HELLO, "token": ""}, "malformed", 4000),
    ({**HELLO, "token": None}, "malformed", 4000),
    ({**HELLO, "token": "x" * 9000}, "malformed", 4000),
    ({**HELLO, "protocol": 2}, "protocol_version", 4000),
    ({**HELLO, "protocol": 0}, "protocol_version", 4000),
    ({**HELLO, "protocol": "1"}, "malformed", 4000),
    ({**HELLO, "resume_from": -1}, "malformed", 4000),
    ({**HELLO, "resume_from": "41"}, "malformed", 4000),
    ({**HELLO, "client": {"a": 1}}, "malformed", 4000),
    ({"id": 0, "do": "lock"}, "malformed", 4000),
    ({"id": 0, "do": "fly"}, "malformed", 4000),
    ({"id": 0}, "malformed", 4000),
]


@pytest.mark.parametrize(("frame", "code", "close"), BAD_HELLOS)
async def test_a_bad_hello_is_answered_by_code_and_closed(house: House, frame: dict[str, Any], code: str, close: int) -> None:
    socket = await open_socket(house.anybody)
    await socket.say(frame)
    assert await socket.ended(3) == close
    [answer] = socket.frames
    assert (answer["re"], answer["error"], len(answer["ref"]) >= 8) == (0, code, True)


@pytest.mark.parametrize("text", ["", "hello", "[]", "null", '{"id": NaN}', '{"id": -1, "do": "hello"}', "[" * 50_000, '{"do": "hello"}', "\x00"])
async def test_what_is_no_frame_is_closed_at_once(house: House, text: str) -> None:
    socket = await open_socket(house.anybody)
    await socket.raw.send_str(text)
    assert await socket.ended(3) == 4000
    assert socket.frames == []


async def test_guessing_session_tokens_is_slowed_down_and_connecting_is_not(serving: Serving) -> None:
    async with serving(limits={"failures_per_minute": 1}) as house:
        made = await house.meeting(lobby=False)
        for n in range(25):
            await (await (await house.anybody.join(made["code"], f"Người {n}")).connect()).close()
        seat = await house.anybody.join(made["code"], "An")
        for _ in range(20):
            socket = await open_socket(house.anybody)
            await socket.hello("vcs_guess")
            assert await socket.ended() == 4003
        socket = await open_socket(house.anybody)
        await socket.say({**HELLO, "token": seat.session_token})
        assert await socket.ended() == 4000
        assert socket.frames == []


async def test_who_is_out_of_the_meeting_is_told_where_it_stands(house: House) -> None:
    made, chair = await held(house)
    for do, place in (("remove", "removed"), ("ban", "banned")):
        seat = await house.anybody.join(made["code"], f"Người {place}")
        await chair.done(do, participant=seat.participant)
        socket = await open_socket(house.anybody)
        answer = await socket.hello(seat.session_token)
        assert (answer["refused"], answer["detail"]["place"]) == ("not_in_meeting", place)
        assert await socket.ended() == 4003
    seat = await house.anybody.join(made["code"], "Người bị từ chối")
    await chair.done("deny", participant=seat.participant, reason="Không có trong danh sách")
    answer = await (await open_socket(house.anybody)).hello(seat.session_token)
    assert (answer["refused"], answer["detail"]["place"]) == ("not_in_meeting", "denied")
    await chair.close()


async def status_of(api: Api, headers: dict[str, str]) -> int:
    """101, or what the handshake was refused with."""
    try:
        socket = await open_socket(api, headers=headers, read=False)
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    await socket.raw.close()
    return 101


async def test_pages_of_other_origins_cannot_open_the_socket(serving: Serving) -> None:
    async with serving(allowed_origins=("https://portal.example",), public_url="https://meet.example") as house:
        host = house.server.local_url.removeprefix("http://")
        statuses = {origin: await status_of(house.anybody, {"Origin": origin}) for origin in (
            f"http://{host}", "https://portal.example", "https://meet.example",
            "https://evil.example", "http://portal.example", "https://portal.example.evil", "https://portal.example:444", "null", "",
            "file://", "http://[", "https://meet.example/path", f"http://{host}.evil", f"http://evil@{host}",
        )}  # fmt: skip
        assert [status for status in statuses.values()] == [101, 101, 101] + [403] * 11, statuses
        assert await status_of(house.anybody, {}) == 101, "programs send none"


async def test_what_is_no_websocket_is_told_so(house: House) -> None:
    reply = await house.anybody.get("/api/v1/control")
    assert (reply.status, reply.code, reply.headers["Upgrade"]) == (426, "websocket_wanted", "websocket")


# ---- resuming --------------------------------------------------------------------------------------------------------


async def test_a_connection_resumes_with_what_it_missed(house: House) -> None:
    made, chair = await held(house, lobby=False)
    seat = await house.anybody.join(made["code"], "An")
    first = await seat.connect()
    await up_to_date(house, made, first)
    own = first.view
    await first.cut()
    await house.anybody.join(made["code"], "Bình")
    await chair.done("chat", text="Xin mời các đồng chí")
    second = await open_socket(house.anybody)
    second.view, second.seen = own, first.seen
    answer = await second.hello(seat.session_token, resume_from=first.seen)
    assert answer["ok"]["snapshot"] is None
    await up_to_date(house, made, second)
    assert second.snapshots == 0
    assert [one["ev"] for one in second.events][-1] == "connected"
    assert {"admitted", "chat_sent"} <= {one["ev"] for one in second.events}
    await second.close()
    await chair.close()


async def test_with_nothing_missed_nothing_is_sent_but_ones_own_coming(house: House) -> None:
    made, chair = await held(house)
    seen = chair.seen
    token = (await house.chair(made).join(made["code"], "Chủ trì khác")).session_token
    await up_to_date(house, made, chair)
    await chair.close()
    other = await open_socket(house.anybody)
    other.view, other.seen = None, room_of(house, made).state.seq
    answer = await other.hello(token, resume_from=other.seen)
    assert answer["ok"]["snapshot"] is None
    assert [one["ev"] for one in other.events if one.get("participant") == answer["ok"]["participant"]] in ([], ["connected"])
    assert seen < other.seen
    await other.close()


@pytest.mark.parametrize("resume_from", [0, 1, 10**15])
async def test_a_long_gap_or_an_impossible_one_is_bridged_by_a_snapshot(house: House, monkeypatch: pytest.MonkeyPatch, resume_from: int) -> None:
    monkeypatch.setattr("vidconf.server.room.RECENT", 5)
    made, chair = await held(house)
    for n in range(8):
        await chair.done("lock" if n % 2 == 0 else "unlock")
    seat = await house.chair(made).join(made["code"], "Chủ trì khác")
    socket = await open_socket(house.anybody)
    answer = await socket.hello(seat.session_token, resume_from=resume_from)
    assert answer["ok"]["snapshot"] is not None
    await up_to_date(house, made, socket, chair)
    await socket.close()
    await chair.close()


@pytest.mark.parametrize("change", ["admit", "to_lobby", "role"])
async def test_where_rights_changed_meanwhile_a_snapshot_comes(house: House, change: str) -> None:
    made, chair = await held(house)
    seat = await house.anybody.join(made["code"], "An")
    if change != "admit":
        await chair.done("admit", participant=seat.participant)
    socket = await seat.connect()
    await up_to_date(house, made, socket)
    seen = socket.seen
    await socket.cut()
    if change == "role":
        await chair.done("set_role", participant=seat.participant, role="secretary")
    else:
        await chair.done(change, participant=seat.participant)
    again = await open_socket(house.anybody)
    answer = await again.hello(seat.session_token, resume_from=seen)
    assert answer["ok"]["snapshot"] is not None
    await up_to_date(house, made, again)
    await again.close()
    await chair.close()


async def test_a_connection_resumes_at_the_next_process(serving: Serving) -> None:
    async with Api("") as outside:
        async with serving() as house:
            outside.url = house.server.local_url
            made = await house.meeting(lobby=False)
            seat = await outside.join(made["code"], "An")
            socket = await seat.connect()
            await socket.done("chat", text="trước")
            await up_to_date(house, made, socket)
        assert await socket.ended() == 1012
        assert [signal["signal"] for signal in socket.signals] == ["draining"]
        async with serving() as house:
            outside.url = house.server.local_url
            again = await open_socket(outside)
            again.view, again.seen = socket.view, socket.seen
            answer = await again.hello(seat.session_token, resume_from=socket.seen)
            assert answer["ok"]["snapshot"] is None
            await again.done("chat", text="sau")
            await up_to_date(house, made, again)
            assert again.view is not None
            assert [message.text for message in again.view.chat] == ["trước", "sau"]
            await again.close()


async def test_a_second_hello_with_the_same_token_takes_the_place_of_the_first(house: House) -> None:
    made, chair = await held(house, lobby=False)
    seat = await house.anybody.join(made["code"], "An")
    first = await seat.connect()
    second = await seat.connect()
    assert await first.ended() == 4001
    assert [signal["signal"] for signal in first.signals] == ["replaced"]
    await second.done("chat", text="tôi đây")
    await chair.event("chat_sent")
    sessions = [one["session"] for one in chair.events if one["ev"] == "connected"]
    assert sessions == [1, 2]
    assert "disconnected" not in [one["ev"] for one in chair.events], "it was there all the time"
    own = room_of(house, made).state.participants[seat.participant]
    assert (own.connected, own.session) == (True, 2)
    await second.close()
    await chair.event("disconnected", participant=seat.participant)
    await chair.close()


async def test_many_hellos_with_one_token_leave_one_connection(house: House) -> None:
    made = await house.meeting(lobby=False)
    seat = await house.anybody.join(made["code"], "An")
    sockets = [await open_socket(house.anybody) for _ in range(8)]
    await asyncio.gather(*(socket.say({**HELLO, "token": seat.session_token}) for socket in sockets))
    await until(lambda: sum(socket.closed is None for socket in sockets) == 1 and seat.participant in room_of(house, made).watchers)
    assert Counter(socket.closed for socket in sockets) == {4001: 7, None: 1}
    [left] = [socket for socket in sockets if socket.closed is None]
    await left.done("chat", text="tôi đây")
    assert room_of(house, made).state.participants[seat.participant].connected
    await left.close()

"""Whole meetings on a real `vidconf serve`: who knocks, who is let in, who may do what, by socket and by REST alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from e2e.control_client import Api, Seat, Socket, open_socket
from e2e.serverproc import ServeProcess


@pytest.fixture(scope="module")
def server(shared_server: ServeProcess) -> ServeProcess:
    return shared_server


class Held:
    """A meeting and its chair, connected."""

    def __init__(self, admin: Api, made: dict[str, Any], chair: Socket) -> None:
        self.made, self.chair, self.id = made, chair, str(made["id"])
        self.anybody, self.script = admin.with_bearer(""), admin.with_bearer(made["chair_token"])
        self.sockets = [chair]

    async def knock(self, name: str, **more: Any) -> tuple[Seat, Socket]:
        seat = await self.anybody.join(self.made["code"], name, **more)
        socket = await seat.connect()
        self.sockets.append(socket)
        return seat, socket

    async def come(self, name: str, **more: Any) -> Socket:
        """Knock, be let in."""
        _, socket = await self.knock(name, **more)
        await self.chair.done("admit", participant=socket.me)
        await socket.event("admitted", participant=socket.me)
        return socket

    async def state(self) -> dict[str, Any]:
        return await self.script.state(self.id)

    async def person(self, who: str) -> dict[str, Any]:
        state = await self.state()
        return next(p for p in (*state["participants"], *state["lobby"]) if p["id"] == who)


async def hold(admin: Api, **fields: Any) -> Held:
    reply = await admin.post("/api/v1/meetings", {"title": "Giao ban tháng", **fields})
    assert reply.status == 201, reply
    made = reply.body
    # As the chair's program does it: the link's secret for a ticket, the ticket into the join.
    secret = made["chair_link"].partition("#k=")[2]
    anybody = admin.with_bearer("")
    ticket = (await anybody.post(f"/api/v1/meetings/by-code/{made['code']}/chair", {"secret": secret})).body["ticket"]
    return Held(admin, made, await (await anybody.join(made["code"], "Chủ trì", ticket=ticket)).connect())


@pytest.fixture
async def held(admin: Api) -> AsyncIterator[Held]:
    meeting = await hold(admin)
    yield meeting
    for socket in meeting.sockets:
        await socket.close()


# ---- the lobby -------------------------------------------------------------------------------------------------------


async def test_who_knocks_sees_nobody_and_gets_no_media_until_admitted(held: Held) -> None:
    other = await held.come("Đã Ở Trong")
    seat, waiting = await held.knock("Người Đợi")
    assert seat.state == "lobby"
    knocked = await held.chair.event("knocked", participant=seat.participant)
    assert (knocked["participant_name"], knocked["guest"]) == ("Người Đợi", True)
    assert "knocked" not in [one["ev"] for one in other.events], "who is no moderator does not see the lobby"
    assert waiting.view is not None
    assert list(waiting.view.participants) == [seat.participant]
    assert (await waiting.ask("media"))["refused"] == "in_lobby"
    await held.chair.done("chat", text="không phải cho người đợi")
    said = json.dumps(waiting.frames, ensure_ascii=False)
    assert not [word for word in ("Đã Ở Trong", "Chủ trì", other.me, "không phải cho", "access_token") if word in said]
    await held.chair.done("admit", participant=seat.participant)
    await waiting.until(lambda: waiting.view is not None and len(waiting.view.participants) == 3)
    granted = await waiting.done("media")
    assert set(granted) == {"url", "token", "expires_at", "ice_servers"}


async def test_admitting_one_several_and_all(held: Held) -> None:
    people = [(await held.knock(f"Người {n}"))[1] for n in range(7)]
    await held.chair.done("admit", participant=people[0].me)
    await held.chair.done("admit", participants=[people[1].me, people[2].me])
    state = await held.state()
    assert len(state["participants"]) == 4
    assert [p["name"] for p in state["lobby"]] == ["Người 3", "Người 4", "Người 5", "Người 6"], "longest waiting first"
    # Two moderators may click the same row.
    assert await held.chair.done("admit", participant=people[0].me) == {}
    await held.chair.done("admit_all")
    for socket in people:
        await socket.event("admitted", participant=socket.me)
    assert (await held.state())["lobby"] == []


async def test_a_denial_tells_why_and_one_may_knock_again(held: Held) -> None:
    seat, waiting = await held.knock("Người Lạ")
    await held.chair.done("deny", participant=seat.participant, reason="Không có trong danh sách mời")
    assert (await waiting.event("denied"))["reason"] == "Không có trong danh sách mời"
    answer = await (await open_socket(held.anybody)).hello(seat.session_token)
    assert (answer["refused"], answer["detail"]["place"]) == ("not_in_meeting", "denied")
    again = await held.anybody.join(held.made["code"], "Người Lạ", badge=seat.badge)
    assert (again.participant, again.state) == (seat.participant, "lobby")


# ---- being heard and seen --------------------------------------------------------------------------------------------


async def test_muting_and_that_no_command_ever_unmutes(held: Held) -> None:
    an, binh = await held.come("An"), await held.come("Bình")
    for socket in (an, binh):
        for source in ("microphone", "camera", "screen_share"):
            await socket.done("set_source", source=source, state="on")
    await held.chair.done("mute", participant=an.me)
    assert (await an.event("muted", participant=an.me))["actor"] == held.chair.me
    await binh.event("muted", participant=an.me)
    await held.chair.done("stop_camera", participant=an.me)
    await held.chair.done("stop_share", participant=an.me)
    assert (await held.person(an.me))["sources"] == {"microphone": "muted", "camera": "off", "screen_share": "off"}
    assert (await held.person(binh.me))["sources"] == {"microphone": "on", "camera": "on", "screen_share": "on"}
    await held.chair.done("ask_unmute", participant=an.me)
    assert (await an.event("unmute_asked"))["consent"] is False
    assert (await held.person(an.me))["sources"]["microphone"] == "muted"
    assert (await held.chair.ask("unmute", participant=an.me))["refused"] == "unknown_command"
    await an.done("set_source", source="microphone", state="on")
    await held.chair.done("mute_all", **{"except": [binh.me]})
    assert [(await held.person(socket.me))["sources"]["microphone"] for socket in (an, binh)] == ["muted", "on"]
    await held.chair.done("set_permission", source="microphone", allowed="moderators")
    assert (await held.person(binh.me))["sources"]["microphone"] == "muted", "whose right went is stopped"
    assert (await an.ask("set_source", source="microphone", state="on"))["refused"] == "moderators_only"
    assert (await an.ask("mute", participant=held.chair.me))["refused"] == "not_allowed"


async def test_the_queue_of_hands_and_the_floor(held: Held) -> None:
    an, binh, chi = [await held.come(name) for name in ("An", "Bình", "Chi")]
    for socket in (an, binh, chi):
        await socket.done("raise_hand")
    await held.chair.done("move_hand", participant=chi.me, position=1)
    assert (await held.state())["hands"] == [chi.me, an.me, binh.me]
    assert [(await held.person(s.me))["hand"] for s in (chi, an, binh)] == [1, 2, 3]
    await binh.done("lower_hand")
    assert (await an.ask("lower_hand", participant=chi.me))["refused"] == "not_allowed"
    await held.chair.done("lower_hand", participant=an.me)
    await held.chair.done("set_permission", source="microphone", allowed="by_floor")
    assert (await chi.ask("set_source", source="microphone", state="on"))["refused"] == "needs_floor"
    await held.chair.done("give_floor", participant=chi.me, seconds=120)
    state = await held.state()
    assert state["hands"] == []
    assert state["floor"]["participant"] == chi.me
    assert 119 <= state["floor"]["until"] - state["floor"]["given_at"] <= 121
    await chi.event("unmute_asked")
    await chi.done("set_source", source="microphone", state="on")
    await held.chair.done("give_floor", participant=an.me)
    assert (await held.person(chi.me))["sources"]["microphone"] == "muted", "its time to speak is over"
    await an.done("end_floor")
    assert (await held.state())["floor"] is None
    assert (await held.chair.ask("end_floor"))["refused"] == "no_floor"


async def test_a_site_with_standing_consent_is_asked_as_one_that_agrees(held: Held) -> None:
    site, person = await held.come("Điểm cầu Huế", kind="site"), await held.come("An")
    assert (await person.ask("set_consent", consent=True))["refused"] == "sites_only"
    await site.done("set_consent", consent=True)
    await held.chair.done("give_floor", participant=site.me)
    assert (await site.event("unmute_asked"))["consent"] is True
    assert (await held.person(site.me))["sources"]["microphone"] == "off", "the site's own program opens it"


# ---- roles, names, spotlight, lock -----------------------------------------------------------------------------------


async def test_roles_change_what_one_may_do_and_see(held: Held) -> None:
    an = await held.come("An")
    await held.knock("Người Đợi")
    assert (await an.ask("admit_all"))["refused"] == "not_allowed"
    await held.chair.done("set_role", participant=an.me, role="secretary")
    await an.until(lambda: an.view is not None and [p.name for p in an.view.knocking()] == ["Người Đợi"])
    await an.done("lock")
    assert (await an.ask("set_role", participant=an.me, role="chair"))["refused"] == "chair_gives_chair"
    assert (await an.ask("remove", participant=held.chair.me))["refused"] == "target_is_chair"
    assert (await held.chair.ask("set_role", participant=held.chair.me, role="delegate"))["refused"] == "last_chair"
    await held.chair.done("set_role", participant=an.me, role="delegate", co_chair=True)
    await an.done("unlock")
    await held.chair.done("set_role", participant=an.me, role="delegate", co_chair=False)
    await an.until(lambda: an.view is not None and not list(an.view.knocking()))
    assert (await an.ask("lock"))["refused"] == "not_allowed"


async def test_names_spotlight_and_look_alikes(held: Held) -> None:
    an, other = await held.come("Nguyễn Văn An"), await held.come("Nguyễn Văn Аn")
    assert (await held.person(other.me))["looks_like"] == an.me, "a Cyrillic letter"
    await an.done("rename", name="  Nguyễn\u202e Văn   An (Sở)  ")
    assert (await held.person(an.me))["name"] == "Nguyễn Văn An (Sở)"
    assert (await an.ask("rename", name="\u200b"))["refused"] == "bad_name"
    assert (await an.ask("rename", name="x" * 65))["refused"] == "bad_name"
    assert (await other.ask("rename", name="Ai đó", participant=an.me))["refused"] == "not_allowed"
    await held.chair.done("spotlight", participant=an.me)
    assert (await held.state())["spotlight"] == an.me
    await held.chair.done("spotlight", participant=None)
    assert (await held.state())["spotlight"] is None


async def test_a_locked_meeting_takes_nobody_but_who_was_there(held: Held) -> None:
    seat, socket = await held.knock("An")
    await held.chair.done("admit", participant=seat.participant)
    await held.chair.done("lock")
    reply = await held.anybody.post("/api/v1/join", {"code": held.made["code"], "name": "Đến Muộn"})
    assert (reply.status, reply.code) == (403, "locked")
    await socket.done("leave")
    back = await held.anybody.join(held.made["code"], "An", badge=seat.badge)
    assert (back.state, back.participant) == ("admitted", seat.participant)
    await held.chair.done("unlock")
    assert (await held.anybody.join(held.made["code"], "Đến Muộn")).state == "lobby"


# ---- being put out ---------------------------------------------------------------------------------------------------


async def test_who_was_removed_may_knock_again_marked_and_is_not_let_in_with_the_rest(held: Held) -> None:
    seat, socket = await held.knock("An")
    await held.chair.done("admit", participant=seat.participant)
    await held.chair.done("remove", participant=seat.participant)
    await socket.event("removed", participant=seat.participant)
    again = await held.anybody.join(held.made["code"], "An", badge=seat.badge)
    assert again.state == "lobby"
    assert (await held.person(seat.participant))["removed_before"] is True
    assert (await held.chair.ask("admit_all"))["refused"] == "only_removed_waiting"
    await held.chair.done("admit", participant=seat.participant)
    assert (await held.person(seat.participant))["removed_before"] is False


async def test_a_ban_refuses_account_and_badge_and_turns_the_lobby_on_for_guests(admin: Api) -> None:
    held = await hold(admin, lobby=False)
    await admin.post("/api/v1/accounts", {"name": "Bị Cấm", "password": "mật khẩu dài"})
    token = (await held.anybody.post("/api/v1/auth/login", {"name": "Bị Cấm", "password": "mật khẩu dài"})).body["access_token"]
    member = held.anybody.with_bearer(token)
    account, guest = await member.join(held.made["code"], "Bị Cấm"), await held.anybody.join(held.made["code"], "Khách")
    assert {account.state, guest.state} == {"admitted"}
    await held.chair.done("ban", participants=[account.participant, guest.participant])
    await held.chair.event("epoch_changed")
    for api, fields in ((member, {}), (held.anybody, {"badge": guest.badge})):
        reply = await api.post("/api/v1/join", {"code": held.made["code"], "name": "Tên Khác", **fields})
        assert (reply.status, reply.code) == (403, "banned")
    assert (await held.anybody.join(held.made["code"], "Khách khác")).state == "lobby"
    await held.chair.close()


async def test_the_end_is_the_end(held: Held) -> None:
    an = await held.come("An")
    _, waiting = await held.knock("Đợi")
    assert (await an.ask("end"))["refused"] == "not_allowed"
    await held.chair.done("end")
    for socket in (an, waiting, held.chair):
        await socket.event("ended")
    reply = await held.anybody.post("/api/v1/join", {"code": held.made["code"], "name": "Đến Muộn"})
    assert (reply.status, reply.code) == (403, "meeting_ended")
    reply = await held.script.command(held.id, "lock")
    assert (reply.status, reply.code) == (409, "meeting_ended")
    assert (await held.state())["state"] == "ended"


# ---- chat ------------------------------------------------------------------------------------------------------------


async def test_chat_is_kept_once_and_a_private_word_stays_private(held: Held) -> None:
    an, binh = await held.come("An"), await held.come("Bình")
    await an.done("chat", text="Kính thưa hội nghị", key="k1")
    assert await an.done("chat", text="Kính thưa hội nghị", key="k1") == {}, "sent again after a lost answer"
    await an.done("chat", text="riêng", to=binh.me)
    await binh.event("chat_sent", text="riêng")
    late = await held.come("Đến Muộn")
    assert late.view is not None
    assert [message.text for message in late.view.chat] == ["Kính thưa hội nghị"]
    assert [message["text"] for message in (await held.state())["chat"]] == ["Kính thưa hội nghị"]
    for text, code in (("", "chat_empty"), (" \u200b ", "chat_empty"), ("x" * 4001, "chat_too_long")):
        assert (await an.ask("chat", text=text))["refused"] == code
    assert (await an.ask("chat", text="x", to=an.me))["refused"] == "not_yourself"
    await held.chair.done("set_permission", source="chat", allowed="moderators")
    assert (await an.ask("chat", text="x"))["refused"] == "chat_closed"
    await held.chair.done("chat", text="Chủ trì vẫn nói được")


# ---- socket and REST alike -------------------------------------------------------------------------------------------

SAME: list[tuple[dict[str, Any], str]] = [
    ({"do": "lock"}, ""), ({"do": "lock"}, ""), ({"do": "unlock"}, ""), ({"do": "mute_all", "except": ["AN"]}, ""),
    ({"do": "mute", "participant": "AN"}, ""), ({"do": "mute", "participants": ["AN", "BINH"]}, ""), ({"do": "mute", "participant": "ghost"}, "not_here"),
    ({"do": "mute", "participants": []}, "nobody_named"), ({"do": "stop_camera", "participant": "AN"}, ""), ({"do": "stop_share", "participant": "AN"}, ""),
    ({"do": "ask_unmute", "participant": "AN"}, ""), ({"do": "set_permission", "source": "chat", "allowed": "moderators"}, ""),
    ({"do": "raise_hand", "participant": "AN"}, ""), ({"do": "move_hand", "participant": "BINH", "position": 1}, "hand_not_raised"),
    ({"do": "lower_hand", "participant": "AN"}, ""), ({"do": "give_floor", "participant": "AN", "seconds": 60}, ""),
    ({"do": "give_floor", "participant": "AN", "seconds": 0}, "bad_seconds"), ({"do": "end_floor"}, ""), ({"do": "end_floor"}, "no_floor"),
    ({"do": "set_role", "participant": "AN", "role": "secretary"}, ""), ({"do": "set_role", "participant": "AN", "role": "guest", "co_chair": True}, "co_chair_is_delegate"),
    ({"do": "rename", "participant": "AN", "name": "An Mới"}, ""), ({"do": "rename", "participant": "AN", "name": ""}, "bad_name"),
    ({"do": "spotlight", "participant": "AN"}, ""), ({"do": "spotlight", "participant": None}, ""), ({"do": "to_lobby", "participant": "AN"}, ""),
    ({"do": "admit", "participant": "AN"}, ""), ({"do": "to_lobby", "participant": "AN"}, ""), ({"do": "admit_all"}, ""), ({"do": "admit_all"}, ""),
    ({"do": "deny", "participants": ["AN"], "reason": "x"}, "not_in_lobby"), ({"do": "remove", "participant": "AN"}, ""),
    ({"do": "remove", "participant": "AN"}, "not_here"), ({"do": "ban", "participant": "AN"}, ""), ({"do": "end"}, ""), ({"do": "lock"}, "meeting_ended"),
]  # fmt: skip


async def test_a_script_can_do_what_the_window_can_with_the_same_result(admin: Api) -> None:
    """Two meetings with the same people; one is led over the socket, the other by REST."""
    window, script = await hold(admin), await hold(admin)
    people: dict[str, dict[str, str]] = {}
    for held in (window, script):
        an, binh = await held.come("An"), await held.come("Bình")
        for socket in (an, binh):
            await socket.done("set_source", source="microphone", state="on")
        people[held.id] = {"AN": an.me, "BINH": binh.me}

    def for_(held: Held, command: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(command)
        for word, who in people[held.id].items():
            text = text.replace(f'"{word}"', f'"{who}"')
        found: dict[str, Any] = json.loads(text)
        return found

    def shape(held: Held, state: dict[str, Any]) -> Any:
        text = json.dumps({key: value for key, value in state.items() if key not in ("id", "code", "start", "started_at", "ended_at", "floor")})
        for word, who in {**people[held.id], "CHAIR": held.chair.me}.items():
            text = text.replace(who, word)
        kept = json.loads(text)
        for person in (*kept["participants"], *kept["lobby"]):
            del person["since"]
        return kept

    for command, code in SAME:
        by_socket = await window.chair.ask(**for_(window, command))
        by_rest = await script.script.post(f"/api/v1/meetings/{script.id}/commands", for_(script, command))
        if code:
            assert (by_socket.get("refused"), by_rest.status, by_rest.code) == (code, 409, code), command
            assert set(by_socket["detail"]) == set(by_rest.body["detail"])
        else:
            assert ("ok" in by_socket, by_rest.status) == (True, 200), (command, by_socket, by_rest)
        assert shape(window, await window.state()) == shape(script, await script.state()), command
    for held in (window, script):
        for socket in held.sockets:
            await socket.close()


# ---- many, and failures ----------------------------------------------------------------------------------------------


async def test_a_ministry_behind_one_address_joins_and_a_guesser_is_slowed_down(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, "[limits]\nfailures_per_minute = 3\n[media]\nrelay = false\n") as strict:
        async with strict.admin() as admin:
            held = await hold(admin, lobby=False)
            seats = await asyncio.gather(*(held.anybody.join(held.made["code"], f"Đại biểu {n}") for n in range(60)))
            held.sockets += (sockets := await asyncio.gather(*(seat.connect() for seat in seats)))
            await held.chair.done("chat", text="Kính chào")
            for socket in sockets:
                await socket.event("chat_sent", text="Kính chào")
            assert len((await held.state())["participants"]) == 61
            path = f"/api/v1/meetings/by-code/{held.made['code']}/chair"
            guessed = [(await held.anybody.post(path, {"secret": f"guess{n:020}"})).status for n in range(5)]
            assert guessed == [403, 403, 403, 429, 429]
            assert (await held.anybody.join(held.made["code"], "Vẫn vào được")).state == "admitted"
            for socket in held.sockets:
                await socket.close()


async def test_silence_for_five_seconds_ends_a_connection(admin: Api) -> None:
    socket = await open_socket(admin)
    assert await socket.ended(8) == 4010


async def test_two_connections_with_one_token_leave_the_newer(held: Held) -> None:
    seat, first = await held.knock("An")
    second = await seat.connect()
    assert await first.ended() == 4001
    assert second.closed is None
    await second.done("leave")

"""The control socket of a real server: what is pushed to whom, commands, and whatever else somebody may send."""

from __future__ import annotations

import asyncio
import json
import socket as socket_module
from collections import Counter
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from e2e.control_client import Api, Seat, open_socket, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.server.conftest import House, Serving
from unit.server.control_room import HELLO, held, room_of, up_to_date

from vidconf.meeting import messages as m
from vidconf.meeting.visibility import view
from vidconf.server import control as control_module

# ---- what is pushed --------------------------------------------------------------------------------------------------


async def test_in_the_lobby_one_sees_nobody_and_only_ones_own_fate(house: House) -> None:
    made, chair = await held(house)
    waiting = await (await house.anybody.join(made["code"], "Người Đợi")).connect()
    other = await house.anybody.join(made["code"], "Kẻ Khác", unit="Đơn Vị Khác", position="Chức Vụ Khác")
    await chair.done("admit", participant=other.participant)
    await chair.done("chat", text="Chuyện trong phòng")
    await chair.done("give_floor", participant=other.participant)
    await chair.done("set_permission", source="microphone", allowed="moderators")
    await chair.done("spotlight", participant=other.participant)
    for do, fields in (("chat", {"text": "x"}), ("raise_hand", {}), ("media", {}), ("react", {"emoji": "👍"}),
                       ("set_source", {"source": "microphone", "state": "on"})):  # fmt: skip
        assert (await waiting.ask(do, **fields))["refused"] == "in_lobby"
    for do in ("lock", "admit_all", "end", "mute_all"):
        assert (await waiting.ask(do))["refused"] in ("in_lobby", "not_allowed")
    said = json.dumps(waiting.frames, ensure_ascii=False)
    for secret in ("Kẻ Khác", "Đơn Vị", "Chức Vụ", "Chủ trì", other.participant, chair.me, "Chuyện", "token"):
        assert secret not in said
    await chair.done("deny", participant=waiting.me, reason="Họp kín")
    denied = await waiting.event("denied")
    assert (denied["reason"], denied["actor"]) == ("Họp kín", "server"), "by whom is not told"
    await waiting.close()
    await chair.close()


async def test_admission_brings_the_room_as_a_snapshot(house: House) -> None:
    made, chair = await held(house)
    waiting = await (await house.anybody.join(made["code"], "An")).connect()
    await chair.done("chat", text="đã nói trước đó")
    await chair.done("admit_all")
    await up_to_date(house, made, waiting, chair)
    assert waiting.snapshots == 2
    assert waiting.view is not None
    assert [message.text for message in waiting.view.chat] == ["đã nói trước đó"]
    assert {p.name for p in waiting.view.participants.values()} == {"Chủ trì", "An"}
    order = [next(iter(frame)) for frame in waiting.frames]
    assert order.index("snapshot") == order.index("events") + 1, "the event that says why comes first"
    await waiting.close()
    await chair.close()


async def test_no_frame_carries_accounts_or_badges(house: House) -> None:
    made, chair = await held(house, lobby=False)
    member = await house.account("Tài Khoản")
    me = (await member.get("/api/v1/me")).body["id"]
    signed_in = await (await member.join(made["code"], "Có tài khoản")).connect()
    guest = await house.anybody.join(made["code"], "Khách")
    visitor = await guest.connect()
    await chair.done("ban", participants=[signed_in.me, visitor.me])
    await chair.event("banned", participant=visitor.me)
    await signed_in.event("banned")
    for socket in (chair, signed_in, visitor):
        said = json.dumps(socket.frames)
        assert me not in said
        assert guest.badge not in said
    for socket in (chair, signed_in, visitor):
        await socket.close()


async def test_a_private_message_is_seen_by_its_two_parties_only(house: House) -> None:
    made, chair = await held(house, lobby=False)
    an, binh = [await (await house.anybody.join(made["code"], name)).connect() for name in ("An", "Bình")]
    await an.done("chat", text="chỉ nói với Bình", to=binh.me)
    await an.done("chat", text="nói với mọi người")
    for socket in (chair, an, binh):
        await socket.event("chat_sent", text="nói với mọi người")
    assert "chỉ nói với Bình" not in json.dumps(chair.frames, ensure_ascii=False)
    assert (await binh.event("chat_sent", to=binh.me))["text"] == "chỉ nói với Bình"
    assert (await an.event("chat_sent", to=binh.me))["text"] == "chỉ nói với Bình"
    again = await (await house.chair(made).join(made["code"], "Chủ trì 2")).connect()
    assert "chỉ nói với Bình" not in json.dumps(again.frames, ensure_ascii=False)
    for socket in (again, an, binh, chair):
        await socket.close()


async def test_a_reaction_passes_to_the_room_and_is_not_kept(house: House) -> None:
    made, chair = await held(house)
    an = await house.anybody.join(made["code"], "An")
    await chair.done("admit", participant=an.participant)
    room, lobby = await an.connect(), await (await house.anybody.join(made["code"], "Đợi")).connect()
    before = room_of(house, made).state.seq
    await room.done("react", emoji="👏")
    for socket in (chair, room):
        signal = await socket.wait(lambda frame: frame.get("signal") == "reaction")
        assert (signal["participant"], signal["emoji"]) == (room.me, "👏")
    assert (await chair.ask("react", emoji="not one"))["refused"] == "bad_reaction"
    await lobby.ask("raise_hand")
    assert lobby.signals == []
    assert room_of(house, made).state.seq == before
    for socket in (chair, room, lobby):
        await socket.close()


async def test_who_is_put_out_hears_why_and_is_closed_after_a_while(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert control_module.OUT_S == 10.0
    monkeypatch.setattr(control_module, "OUT_S", 0.2)
    made, chair = await held(house, lobby=False)
    for do, ev in (("remove", "removed"), ("ban", "banned")):
        seat = await house.anybody.join(made["code"], "An")
        socket = await seat.connect()
        await chair.done(do, participant=seat.participant)
        await socket.event(ev, participant=seat.participant)
        assert (await socket.ask("chat", text="nhưng"))["refused"] == "not_in_meeting"
        assert await socket.ended(3) == 4003
    leaving = await (await house.anybody.join(made["code"], "Bình")).connect()
    await leaving.done("leave")
    await leaving.event("left", reason="left")
    assert await leaving.ended(3) == 4003
    await chair.close()


async def test_who_comes_back_in_time_keeps_its_connection(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "OUT_S", 0.25)
    made, chair = await held(house)
    seat = await house.anybody.join(made["code"], "An")
    await chair.done("admit", participant=seat.participant)
    socket = await seat.connect()
    await chair.done("to_lobby", participant=seat.participant)
    await asyncio.sleep(0.35)
    assert socket.closed is None, "the lobby is not out"
    await chair.done("remove", participant=seat.participant)
    await socket.cut()
    again = await house.anybody.join(made["code"], "An", badge=seat.badge)
    assert again.participant == seat.participant
    knocking = await again.connect()
    await asyncio.sleep(0.35)
    assert knocking.closed is None
    await knocking.close()
    await chair.close()


async def test_who_is_put_out_in_the_moment_it_connects_is_closed_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "OUT_S", 0.2)
    made, chair = await held(house, lobby=False)
    seat = await house.anybody.join(made["code"], "An")
    room = room_of(house, made)
    socket = await open_socket(house.anybody)
    async with room._turn:  # what is asked now is decided together
        first = room.ask("server", m.NewEpoch())
        await asyncio.sleep(0)
        await socket.say({**HELLO, "token": seat.session_token})
        await until(lambda: not room._mailbox.empty())
        removed = room.ask("server", m.Remove((seat.participant,)))
    await asyncio.gather(first, removed)
    answer = await socket.wait(lambda frame: frame.get("re") == 0)
    assert answer["ok"]["snapshot"]["participants"][seat.participant]["place"] == "removed"
    assert await socket.ended(3) == 4003
    await chair.close()


async def test_the_end_is_heard_by_all(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "OUT_S", 0.2)
    made, chair = await held(house)
    inside = await house.anybody.join(made["code"], "An")
    await chair.done("admit", participant=inside.participant)
    sockets = [await inside.connect(), await (await house.anybody.join(made["code"], "Đợi")).connect(), chair]
    assert (await sockets[0].ask("end"))["refused"] == "not_allowed"
    await chair.done("end")
    for socket in sockets:
        await socket.event("ended")
        assert await socket.ended(3) == 4003


# ---- commands --------------------------------------------------------------------------------------------------------


async def test_each_id_is_answered_once(house: House) -> None:
    _, chair = await held(house)
    ids = list(range(1, 41))
    for id_ in ids:
        await chair.say({"id": id_, "do": ("lock", "unlock", "end_floor", "fly", "mute")[id_ % 5]})
    await chair.wait(lambda frame: frame.get("re") == 40)
    assert Counter(frame["re"] for frame in chair.frames if "re" in frame) == Counter([0, *ids])
    kinds = {id_ % 5: next(set(frame) & {"ok", "refused", "error"} for frame in chair.frames if frame.get("re") == id_) for id_ in ids}
    assert kinds == {0: {"ok"}, 1: {"ok"}, 2: {"refused"}, 3: {"refused"}, 4: {"error"}}
    await chair.close()


async def test_an_unknown_command_is_refused_and_an_unknown_field_is_malformed(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made, chair = await held(house)
    answer = await chair.ask("record", everything=True)
    assert (answer["refused"], answer["detail"]) == ("unknown_command", {"command": "record"})
    answer = await chair.ask("mute_all", exept=[chair.me])
    assert answer["error"] == "malformed"
    assert answer["ref"] in caplog.text
    for do in ("knock", "connect", "expire", "correct_source", "new_epoch", "disconnect"):
        assert (await chair.ask(do, participant=chair.me))["refused"] == "unknown_command", "the server's own have no wire"
    assert (await chair.hello("x", id=99))["re"] == 0
    await chair.wait(lambda frame: frame.get("re") == 99 and frame.get("error") == "malformed")
    await chair.done("lock")
    assert room_of(house, made).state.locked
    await chair.close()


async def test_broken_frames_are_answered_fifty_times_and_then_the_connection_ends(house: House) -> None:
    _, chair = await held(house)
    for n in range(1, 52):
        await chair.say({"id": n, "do": "mute", "participant": n})
    assert await chair.ended(5) == 4000
    answers = [frame for frame in chair.frames if frame.get("re", 0) > 0]
    assert [frame["re"] for frame in answers] == list(range(1, 51))
    assert {frame["error"] for frame in answers} <= {"malformed", "too_many_requests"}


FATAL = [
    "", "x", "[]", "null", "5", '"hello"', '{"id": 1.5, "do": "lock"}', '{"id": "1", "do": "lock"}', '{"do": "lock"}', '{"id": true, "do": "lock"}',
    '{"id": -1, "do": "lock"}', '{"id": NaN, "do": "lock"}', '{"id": 1, "do": "give_floor", "seconds": NaN}', '{"id": 1e400, "do": "lock"}',
    '{"id": 1, "do": "chat", "text": Infinity}', "[" * 30_000, '{"a":' * 10_000 + "1" + "}" * 10_000, '{"id": 99999999999999999999, "do": "lock"}',
    '{"id": 1, "do": "lock"', "\x00\x01", '{"id": 1, "do": "chat", "text": "\ud800"}'.replace("\ud800", "\\ud800"),
]  # fmt: skip


async def test_what_is_no_frame_ends_its_connection_and_no_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    made, chair = await held(house, lobby=False)
    seat = await house.anybody.join(made["code"], "An")
    for text in FATAL:
        socket = await seat.connect()
        await socket.raw.send_str(text)
        assert (await socket.ended(3), [frame for frame in socket.frames[1:] if "re" in frame]) == (4000, []), text
    socket = await seat.connect()
    await socket.raw.send_bytes(b'{"id": 1, "do": "lock"}')
    assert await socket.ended(3) == 4000
    await chair.done("lock")
    assert "Traceback" not in caplog.text
    await chair.close()


async def test_a_frame_that_is_too_large_ends_its_connection(serving: Serving) -> None:
    async with serving(limits={"message_bytes": 4096}) as house:
        made, chair = await held(house, lobby=False)
        for text in ("x" * 4200, "x" * 100_000, "ế" * 1500):
            socket = await (await house.anybody.join(made["code"], "An")).connect()
            await socket.say({"id": 1, "do": "chat", "text": text})
            assert await socket.ended(3) in (1009, 4000)
            assert not [frame for frame in socket.frames if "ok" in frame and frame["re"] == 1]
        await chair.done("chat", text="x" * 3000)
        await chair.close()


HOSTILE_FIELDS: list[dict[str, Any]] = [
    {"do": "chat", "text": "a\x00b"}, {"do": "chat", "text": ["x"]}, {"do": "chat", "text": {"a": 1}}, {"do": "chat", "text": None},
    {"do": "mute", "participant": "x" * 5000}, {"do": "mute", "participants": "everybody"}, {"do": "mute", "participants": ["x"] * 5000},
    {"do": "give_floor", "participant": "x", "seconds": 1e300}, {"do": "give_floor", "participant": "x", "seconds": 1 << 60},
    {"do": "give_floor", "participant": "x", "seconds": True}, {"do": "move_hand", "participant": "x", "position": "first"},
    {"do": "set_role", "participant": "x", "role": "king"}, {"do": "set_source", "source": "microphone", "state": "ON"},
    {"do": "set_source", "source": "__class__", "state": "on"}, {"do": "lock", "actor": "server"}, {"do": "chat", "text": "x", "sender": "p1"},
    {"do": "rename", "name": 5}, {"do": {"a": 1}}, {"do": None}, {"do": "lock", "": 1}, {"do": "mute", "participant": "a", "participants": ["b"]},
]  # fmt: skip


async def test_hostile_fields_are_malformed_and_nothing_happens(house: House, caplog: pytest.LogCaptureFixture) -> None:
    made, chair = await held(house)
    before = room_of(house, made).state
    for fields in HOSTILE_FIELDS:
        answer = await chair.ask(**fields)
        assert answer.get("error") == "malformed", (fields, answer)
    assert room_of(house, made).state is before
    assert "Traceback" not in caplog.text
    await chair.close()


async def test_who_asks_too_much_is_told_and_who_does_not_is_served(serving: Serving) -> None:
    async with serving(limits={"commands_per_second": 5.0, "chat_per_second": 1.0}) as house:
        made, chair = await held(house, lobby=False)
        calm = await (await house.anybody.join(made["code"], "An")).connect()
        for id_ in range(1, 41):
            await chair.say({"id": id_, "do": "lock"})
        await calm.done("chat", text="tôi vẫn nói được")
        await chair.until(lambda: sum("re" in frame for frame in chair.frames) == 41)
        answers = [frame for frame in chair.frames if frame.get("re", 0) > 0]
        assert 15 <= sum("ok" in frame for frame in answers) <= 20
        assert {frame["error"] for frame in answers if "ok" not in frame} == {"too_many_requests"}
        for id_ in range(101, 113):
            await calm.say({"id": id_, "do": "chat", "text": f"{id_}"})
        await calm.until(lambda: sum(frame.get("re", 0) > 100 for frame in calm.frames) == 12)
        spoken = [frame["re"] for frame in calm.frames if frame.get("re", 0) > 100 and "ok" in frame]
        assert 4 <= len(spoken) <= 6
        await chair.event("chat_sent", text=f"{spoken[-1]}")
        assert [one["text"] for one in chair.events if one["ev"] == "chat_sent"][1:] == [f"{n}" for n in spoken], "what was taken was kept, in order"
        await calm.close()
        await chair.close()


async def test_a_decision_that_cannot_be_stored_is_an_error_and_did_not_happen(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, chair = await held(house)
    before = room_of(house, made).state

    async def full(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(house.server.storage, "append", full)
        answer = await chair.ask("lock")
        assert (answer["error"], answer["ref"] in caplog.text) == ("storage", True)
        reply = await house.chair(made).command(made["id"], "lock")
        assert (reply.status, reply.code) == (500, "storage")
        reply = await house.anybody.post("/api/v1/join", {"code": made["code"], "name": "An"})
        assert (reply.status, reply.code) == (500, "storage")
    assert room_of(house, made).state is before
    assert "locked" not in [one["ev"] for one in chair.events]
    await chair.done("lock")
    await chair.event("locked")
    await chair.close()


def small_window(address: Any) -> socket_module.socket:
    """A socket whose sender soon finds no room."""
    family, kind, protocol, *_ = address
    made = socket_module.socket(family, kind, protocol)
    made.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 4096)
    return made


async def test_one_that_does_not_read_is_dropped_and_resumes(serving: Serving) -> None:
    limits = {"queue_frames": 40, "commands_per_second": 1000.0, "chat_per_second": 1000.0}
    async with serving(limits=limits) as house, aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=small_window)) as session:
        made, chair = await held(house, lobby=False)
        seat = await house.anybody.join(made["code"], "Mạng chậm")
        slow = await open_socket(Api(house.anybody.url, session=session), read=False)
        await slow.raw.send_str(json.dumps({**HELLO, "token": seat.session_token}))
        first = json.loads((await slow.raw.receive()).data)
        spoken = 0
        while not house.server.control.counts["dropped_slow"]:
            spoken += 1
            assert spoken < 2000
            await chair.done("chat", text=f"{spoken} " + "ế" * 3900)
        await chair.done("chat", text="và nói tiếp")
        await chair.event("disconnected", participant=seat.participant)
        again = await open_socket(house.anybody)
        again.view, again.seen = view(room_of(house, made).state, seat.participant), first["ok"]["seq"]
        again.view = replace(again.view, seq=again.seen, chat=())
        answer = await again.hello(seat.session_token, resume_from=again.seen)
        assert "ok" in answer
        await up_to_date(house, made, again)
        assert again.view is not None
        assert [message.text.split()[0] for message in again.view.chat] == [*(f"{n}" for n in range(1, spoken + 1)), "và"]
        await slow.raw.close()
        await again.close()
        await chair.close()


values = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=10),
    st.lists(st.text(max_size=4), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), st.just("ME"),
)  # fmt: skip
dos = st.one_of(st.sampled_from(sorted({
    "admit", "admit_all", "deny", "mute", "mute_all", "set_permission", "raise_hand", "move_hand", "give_floor", "end_floor", "set_role",
    "rename", "spotlight", "chat", "react", "set_source", "set_consent", "media", "lock", "unlock", "ask_unmute", "stop_camera",
})), st.text(max_size=6))  # fmt: skip
names = st.sampled_from(("participant", "participants", "source", "state", "allowed", "text", "to", "key", "emoji", "seconds", "position", "role",
                         "co_chair", "name", "consent", "reason", "except"))  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(dos, st.dictionaries(names, values, max_size=3)), min_size=1, max_size=25))
async def test_whatever_is_sent_is_answered_once_and_the_view_stays_true(house: House, commands: list[tuple[str, dict[str, Any]]]) -> None:
    made, chair = await held(house)
    other = await (await house.chair(made).join(made["code"], "Chủ trì 2")).connect()
    for id_, (do, fields) in enumerate(commands, 1):
        text = json.dumps({"id": id_, "do": do, **fields}).replace('"ME"', json.dumps(chair.me))
        await chair.raw.send_str(text)
    await chair.until(lambda: sum("re" in frame for frame in chair.frames) > len(commands))
    assert Counter(frame["re"] for frame in chair.frames if "re" in frame) == Counter(range(len(commands) + 1))
    await up_to_date(house, made, chair, other)
    await chair.close()
    await other.close()


async def test_several_viewers_hold_what_they_may_see_through_it_all(house: House) -> None:
    """A chair, one in the room, one in the lobby, one that comes and goes: after a whole meeting each holds its own view."""
    made, chair = await held(house)
    seats = [await house.anybody.join(made["code"], name) for name in ("An", "Bình", "Chi", "Dũng")]
    an, binh, chi, dung = [await seat.connect() for seat in seats]
    everybody = [chair, an, binh, chi]
    await chair.done("admit", participants=[an.me, binh.me])
    await an.done("set_source", source="microphone", state="on")
    await an.done("raise_hand")
    await binh.done("raise_hand")
    await chair.done("move_hand", participant=binh.me, position=1)
    await up_to_date(house, made, *everybody)
    seen = dung.seen
    await dung.cut()
    await chair.done("set_role", participant=an.me, role="secretary")
    await an.done("admit", participant=chi.me)
    await an.done("give_floor", participant=binh.me, seconds=60)
    await binh.done("chat", text="riêng", to=chi.me)
    await chair.done("set_permission", source="microphone", allowed="by_floor")
    again = await open_socket(house.anybody)
    again.view, again.seen = dung.view, seen
    again.me = dung.me
    await again.hello(seats[3].session_token, resume_from=seen)
    everybody.append(again)
    await chair.done("set_role", participant=an.me, role="delegate")
    await chair.done("to_lobby", participant=binh.me)
    await chair.done("mute_all")
    await chair.done("rename", participant=chi.me, name="Lê Thị Chi")
    await chair.done("remove", participant=an.me)
    await up_to_date(house, made, *everybody)
    assert (await house.admin.get("/api/v1/audit")).body["ok"]
    for socket in everybody:
        await socket.close()


async def test_the_machine_goes_on_when_connections_break_in_every_way(house: House, caplog: pytest.LogCaptureFixture) -> None:
    made, chair = await held(house, lobby=False)
    seats: list[Seat] = [await house.anybody.join(made["code"], f"Người {n}") for n in range(10)]
    for n, seat in enumerate(seats):
        socket = await seat.connect()
        if n % 3 == 0:
            await socket.cut()
        elif n % 3 == 1:
            await socket.close()
        else:
            await socket.say({"id": 1, "do": "chat", "text": "rồi mất"})
            await socket.cut()
    await chair.until(lambda: sum(one["ev"] == "disconnected" for one in chair.events) == 10)
    assert len(house.server.control.connections) == 1
    assert list(room_of(house, made).watchers) == [chair.me]
    assert "Traceback" not in caplog.text
    await up_to_date(house, made, chair)
    await chair.close()

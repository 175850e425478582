"""Rooms on real storage: decided in order, stored before told, the same after a restart, and shared by several processes."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.meeting.test_meeting_machine import IDS, MODERATING, OWN, SERVER, SPEAKING, actors, knocks, same
from unit.server.live_room import CHAIR, MEETING, Following, done, loaded_anew, room_of

from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.visibility import view
from vidconf.server import tables
from vidconf.server.audit import Row, seal
from vidconf.server.room import Room, RoomBroken, RoomClosed, Rooms
from vidconf.server.storage import Storage, new_meeting

# ---- order -----------------------------------------------------------------------------------------------------------


async def test_what_is_asked_in_order_is_decided_and_answered_in_order(rooms: Rooms, storage: Storage) -> None:
    await done(rooms, "server", CHAIR)
    room = await room_of(rooms)
    answered: list[int] = []
    asked = []
    for n in range(200):
        one = room.ask("p1", m.Chat(f"{n}"))
        one.add_done_callback(lambda _, n=n: answered.append(n))
        asked.append(one)
    results = await asyncio.gather(*asked)
    assert answered == list(range(200))
    assert [result[0].event.text for result in results] == [f"{n}" for n in range(200)]
    stored = await storage.event_rows(MEETING)
    assert [row.seq for row in stored] == list(range(1, len(stored) + 1))
    assert await storage.verify() == (1, len(stored), 0, [])


async def test_what_gathers_is_stored_in_one_transaction(rooms: Rooms, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    await done(rooms, "server", CHAIR)
    room = await room_of(rooms)
    sizes: list[int] = []
    real = storage.append

    async def counted(rows: Any, *more: Any) -> None:
        sizes.append(len(rows))
        await real(rows, *more)

    monkeypatch.setattr(storage, "append", counted)
    await asyncio.gather(*(room.ask("p1", m.Chat(f"{n}")) for n in range(100)))
    assert sum(sizes) == 100
    assert len(sizes) <= 4


async def test_in_one_batch_each_is_decided_on_what_those_before_made(rooms: Rooms) -> None:
    room = await room_of(rooms)
    results = await asyncio.gather(
        room.ask("server", CHAIR), room.ask("server", m.Knock("p2", "An")), room.ask("p2", m.Chat("chưa được")),
        room.ask("p1", m.Admit(("p2",))), room.ask("p2", m.Chat("được rồi")), room.ask("p1", m.Lock()), room.ask("p1", m.Lock()),
        room.ask("server", m.Knock("p3", "Đến muộn")), room.ask("p1", m.End()), room.ask("p2", m.Chat("hết giờ")),
    )  # fmt: skip
    said = [result.code if isinstance(result, m.Refusal) else [one.event.name for one in result] for result in results]
    assert said == [
        ["knocked", "admitted", "started"], ["knocked"], "in_lobby", ["admitted"], ["chat_sent"], ["locked"], [], "locked",
        ["ended", "epoch_changed"], "meeting_ended",
    ]  # fmt: skip
    numbers = [one.seq for result in results if isinstance(result, tuple) for one in result]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_it_is_on_the_disk_before_anybody_is_told(rooms: Rooms, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    await done(rooms, "server", CHAIR)
    room = await room_of(rooms)
    watcher = room.watchers["p1"] = Following(room, "p1")
    before, order = room.state, []
    real = storage.append

    async def slow(*given: Any) -> None:
        order.append("begun")
        await asyncio.sleep(0.05)
        assert (room.state, watcher.seqs, answer.done()) == (before, [], False)
        await real(*given)
        order.append("stored")

    monkeypatch.setattr(storage, "append", slow)
    room_listeners = rooms.listeners
    room_listeners.append(lambda *_: order.append("told"))
    answer = room.ask("p1", m.Lock())
    answer.add_done_callback(lambda _: order.append("answered"))
    await answer
    await asyncio.sleep(0)
    assert order == ["begun", "stored", "told", "answered"]
    assert watcher.seqs == [before.seq + 1]


async def test_a_follow_up_runs_after_the_broadcast_with_no_event_in_between(rooms: Rooms) -> None:
    room = await room_of(rooms)
    seen: list[tuple[str, int]] = []
    rooms.listeners.append(lambda room, steps: seen.append(("told", steps[-1].recorded.seq)))
    await asyncio.gather(
        room.ask("server", CHAIR), room.ask("server", m.Connect("p1"), then=lambda: seen.append(("then", room.state.seq))),
        room.ask("p1", m.Chat("x")), room.ask("server", m.Connect("nobody"), then=lambda: seen.append(("never", 0))),
    )  # fmt: skip
    assert seen == [("told", 5), ("then", 5)]


async def test_what_belongs_to_a_decision_is_stored_with_it_and_only_with_it(rooms: Rooms, storage: Storage) -> None:
    def seat(token: str) -> sa.Executable:
        return sa.insert(tables.joins).values(token_hash=token, meeting=MEETING, participant="p1", created_at=1.0)

    assert await rooms.ask(MEETING, "server", CHAIR, [seat("taken")]) != ()
    assert await rooms.ask(MEETING, "server", CHAIR, [seat("nothing happened")]) == ()
    refused = await rooms.ask(MEETING, "server", m.Knock("p2", "\u200b"), [seat("refused")])
    assert isinstance(refused, m.Refusal)
    assert [row[0] for row in await storage.rows(sa.select(tables.joins.c.token_hash))] == ["taken"]


async def test_the_tables_for_lists_follow_the_events(rooms: Rooms, storage: Storage) -> None:
    await done(rooms, "server", CHAIR)
    await done(rooms, "server", m.Knock("p2", "An", unit="Sở", guest=True, badge="b" * 20))
    await done(rooms, "p1", m.Admit(("p2",)))
    await done(rooms, "server", m.Connect("p2"))
    await done(rooms, "p1", m.Rename("Nguyễn Văn An", "p2"))
    await done(rooms, "p1", m.Ban(("p2",)))
    await done(rooms, "p1", m.End())
    state = (await room_of(rooms)).state
    row = await storage.meeting(MEETING)
    assert row is not None
    assert (row.state, row.epoch, row.started_at, row.ended_at) == ("ended", state.epoch, state.started_at, state.ended_at)
    assert row.head_seq == state.seq
    people = {row.id: row for row in await storage.rows(sa.select(tables.participants))}
    assert set(people) == {"p1", "p2"}
    for id_, p in state.participants.items():
        kept = people[id_]._mapping
        assert {name: kept[name] for name in kept if name != "meeting"} == {name: getattr(p, name) for name in kept if name != "meeting"}


# ---- faults ----------------------------------------------------------------------------------------------------------


async def test_one_watcher_that_fails_does_not_keep_the_news_from_the_others(rooms: Rooms, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Following):
        def push_events(self, encoded: Sequence[bytes]) -> None:
            raise RuntimeError("a mistake")

    for command in (CHAIR, m.Knock("p2", "An", role="secretary", straight_in=True)):
        await done(rooms, "server", command)
    room = await room_of(rooms)
    room.watchers["p1"] = Failing(room, "p1")
    other = room.watchers["p2"] = Following(room, "p2")
    told: list[int] = []
    rooms.listeners.append(lambda room, steps: told.append(len(steps)))
    assert len(await done(rooms, "p1", m.Lock())) == 1
    assert same(other.view, room.view("p2"))
    assert told == [1]
    assert "a mistake" in caplog.text


async def test_a_listener_that_fails_does_not_stop_the_room(rooms: Rooms, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a mistake")

    rooms.listeners.insert(0, fail)
    await done(rooms, "server", CHAIR)
    await done(rooms, "p1", m.Lock())
    assert caplog.text.count("a mistake") >= 2


async def test_a_mistake_in_the_rules_breaks_one_command_only(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    await done(rooms, "server", CHAIR)
    room = await room_of(rooms)

    from vidconf.server import room as module

    real = module.decide

    def mistaken(state: Meeting, actor: str, command: m.Command, now: float) -> Any:
        if isinstance(command, m.Spotlight):
            raise ZeroDivisionError
        return real(state, actor, command, now)

    monkeypatch.setattr(module, "decide", mistaken)
    outcomes = await asyncio.gather(
        room.ask("p1", m.Lock()), room.ask("p1", m.Spotlight("p1")), room.ask("p1", m.Unlock()), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [tuple, RoomBroken, tuple]


async def test_what_could_not_be_stored_did_not_happen_and_the_next_is_stored(
    rooms: Rooms, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await done(rooms, "server", CHAIR)
    room = await room_of(rooms)
    watcher = room.watchers["p1"] = Following(room, "p1")
    before = room.state

    async def full(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(storage, "append", full)
        outcomes = await asyncio.gather(room.ask("p1", m.Lock()), room.ask("p1", m.Chat("x")), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RoomBroken, RoomBroken]
    assert room.state is before
    assert watcher.seqs == []
    assert [one.seq for one in await done(rooms, "p1", m.Lock())] == [before.seq + 1]
    assert await loaded_anew(storage) == room.state


# ---- a restart -------------------------------------------------------------------------------------------------------


async def test_a_restart_forgets_nothing(rooms: Rooms, storage: Storage) -> None:
    await done(rooms, "server", CHAIR)
    rng = random.Random(7)
    for n in range(2, 12):
        await done(rooms, "server", m.Knock(f"p{n}", f"Người {n}", guest=True, badge=f"badge-{n}-0123456789"))
    await done(rooms, "p1", m.AdmitAll())
    room = await room_of(rooms)
    for n in range(150):
        who = f"p{rng.randrange(1, 12)}"
        command = rng.choice((m.RaiseHand(), m.LowerHand(), m.Chat(f"câu {n}"), m.SetSource("microphone", rng.choice(("on", "muted", "off")))))
        await room.ask(who, command)
    await done(rooms, "p1", m.Ban(("p5",)))
    assert await loaded_anew(storage) == room.state


async def test_what_this_version_cannot_read_is_passed_over_and_counted(rooms: Rooms, storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    await done(rooms, "server", CHAIR)
    await done(rooms, "p1", m.Chat("phải xoá"))
    await done(rooms, "p1", m.Chat("của bản mới hơn"))
    await done(rooms, "p1", m.Lock())
    e = tables.events.c
    said = sorted(row.seq for row in await storage.event_rows(MEETING) if row.type == "chat_sent")
    await storage.execute(
        sa.update(tables.events).where(e.seq == said[0]).values(payload=None, salt=None),
        sa.update(tables.events).where(e.seq == said[1]).values(type="voted"),
    )
    state = await loaded_anew(storage)
    assert (state.locked, state.chat, state.seq) == (True, (), said[1] + 1)
    again = Rooms(storage)
    result = await again.ask(MEETING, "p1", m.Unlock())
    assert isinstance(result, tuple)
    assert result[0].seq == said[1] + 2
    await again.close()


async def test_a_long_meeting_is_loaded_without_holding_up_the_others(rooms: Rooms, storage: Storage) -> None:
    await done(rooms, "server", CHAIR)
    room = await room_of(rooms)
    await rooms.put_away(lambda room: False, -1.0)
    rows: list[Row] = []
    prev = room._head
    for n in range(6000):
        said = json.dumps({"sender": "p1", "sender_name": "Chủ trì", "text": f"{n}", "to": None, "key": ""})
        rows.append(seal(MEETING, room.state.seq + 1 + n, 1_760_000_000.0 + n, "p1", "chat_sent", said, prev))
        prev = rows[-1].hash
    await storage.append(rows, {"state": "live"}, [])
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    loaded = await room_of(rooms)
    ticking.cancel()
    assert len(loaded.state.chat) == 6000
    assert ticks > 50, "others were served meanwhile"
    assert len(loaded._recent) == 400
    assert loaded._recent[-1].recorded.seq == loaded.state.seq


async def test_rooms_are_loaded_once_and_put_away_when_nobody_uses_them(rooms: Rooms) -> None:
    found = await asyncio.gather(*(rooms.get(MEETING) for _ in range(10)))
    assert len({id(room) for room in found}) == 1
    assert await rooms.get("m0") is None
    assert await rooms.ask("m0", "server", m.Lock()) is None
    await rooms.put_away(lambda room: True, 0.0)
    assert rooms.loaded() == [found[0]]
    await rooms.put_away(lambda room: False, 60.0)
    assert rooms.loaded() == [found[0]], "used just now"
    await rooms.put_away(lambda room: False, -1.0)
    assert rooms.loaded() == []
    assert found[0] is not None
    with pytest.raises(RoomClosed):
        await found[0].ask("server", CHAIR)
    await done(rooms, "server", CHAIR)
    room = await room_of(rooms)
    room.watchers["p1"] = Following(room, "p1")
    await rooms.put_away(lambda room: False, -1.0)
    assert rooms.loaded() == [room], "somebody is connected"


async def test_nothing_is_lost_while_rooms_are_put_away(rooms: Rooms, storage: Storage) -> None:
    await done(rooms, "server", CHAIR)
    away = 0

    async def tidy() -> None:
        nonlocal away
        while True:
            held = rooms.loaded()
            await rooms.put_away(lambda room: False, -1.0)
            away += held != rooms.loaded()
            await asyncio.sleep(0.003)

    tidying = asyncio.create_task(tidy())
    results = []
    for n in range(60):
        results.append(await done(rooms, "p1", m.Chat(f"{n}")))
        await asyncio.sleep(0.005 * (n % 3))
    tidying.cancel()
    await asyncio.wait([tidying])
    assert away > 3
    assert [result[0].event.text for result in results if isinstance(result[0].event, m.ChatSent)] == [f"{n}" for n in range(60)]
    assert [message.text for message in (await loaded_anew(storage)).chat] == [f"{n}" for n in range(60)]


async def test_after_the_end_of_the_process_nothing_is_taken(rooms: Rooms) -> None:
    room = await room_of(rooms)
    waiting = room.ask("server", CHAIR)
    await rooms.close()
    with pytest.raises(RoomClosed):
        await rooms.ask(MEETING, "server", CHAIR)
    with pytest.raises(RoomClosed):
        await rooms.get("m2")
    assert waiting.done()


# ---- what watchers hold ----------------------------------------------------------------------------------------------


commands = st.one_of(
    st.tuples(st.just("server"), knocks()), st.tuples(actors, MODERATING), st.tuples(actors, SPEAKING), st.tuples(actors, OWN),
    st.tuples(st.just("server"), SERVER),
)  # fmt: skip
lines = st.tuples(st.sampled_from(("comes", "goes")), st.sampled_from(IDS))
steps = st.lists(st.one_of(commands, commands, commands, lines), max_size=40)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.booleans(), st.sampled_from((3, 400)), steps)
async def test_every_watcher_holds_its_view_through_losses_and_resumes(storage: Storage, lobby: bool, recent: int, asked: list[Any]) -> None:
    """By what the room pushes and what `missed` gives, never by looking at its state; batches come as they happen to gather."""
    made = new_meeting("Giao ban", secrets.token_hex(8), lobby=lobby)
    await storage.add_meeting(made)
    rooms = Rooms(storage)
    room = await rooms.get(made.id)
    assert room is not None
    room._recent = type(room._recent)(maxlen=recent)
    watchers = {id_: Following(room, id_) for id_ in IDS}
    room.watchers.update(watchers)
    waiting: list[Any] = [room.ask("server", CHAIR)]
    for n, (who, what) in enumerate(asked):
        if who == "goes":
            room.watchers.pop(what, None)
        elif who == "comes":
            if what not in room.watchers:
                await asyncio.gather(*waiting)
                watchers[what].resume(room)
                room.watchers[what] = watchers[what]
        else:
            waiting.append(room.ask(who, what))
            if n % 4 == 0:
                await asyncio.gather(*waiting)
                check(room, watchers)
    await asyncio.gather(*waiting)
    for id_, watcher in watchers.items():
        if id_ not in room.watchers:
            watcher.resume(room)
            room.watchers[id_] = watcher
    check(room, watchers)
    state = room.state
    await rooms.close()
    again = Rooms(storage)
    loaded = await again.get(made.id)
    assert loaded is not None
    assert loaded.state == state
    assert list(loaded.state.participants) == list(state.participants)
    await again.close()


def check(room: Room, watchers: dict[str, Following]) -> None:
    for id_ in room.watchers:
        own, true = watchers[id_].view, view(room.state, id_)
        assert same(own, true), f"{id_} holds {replace(own, seq=0)} instead of {replace(true, seq=0)}"

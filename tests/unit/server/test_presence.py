"""Presence is a lease: lost, in time again, too late, over a restart; and the floor's time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.control_client import until
from unit.server.conftest import Serving

from vidconf.meeting import messages as m
from vidconf.meeting.models import Participant
from vidconf.server.config import Config, Limits
from vidconf.server.presence import Presence
from vidconf.server.room import Rooms
from vidconf.server.storage import Storage, new_meeting

LEASE_S = 0.2
ROOMY_S = 1.0
"""A lease within which a busy machine gets something done."""
Process = Callable[..., "Running"]


class Running:
    """One process's rooms with their leases; `stop` leaves the storage as a crash would."""

    def __init__(self, storage: Storage, lease_s: float) -> None:
        self.rooms = Rooms(storage)
        self.presence = Presence(self.rooms, lease_s)
        self.events: list[m.Recorded] = []
        self.rooms.listeners.append(lambda room, steps: self.events.extend(step.recorded for step in steps))

    async def ask(self, actor: str, command: m.Command) -> tuple[m.Recorded, ...]:
        result = await self.rooms.ask("m1", actor, command)
        assert isinstance(result, tuple), result
        return result

    async def come(self, who: str, **knock: Any) -> None:
        await self.ask("server", m.Knock(who, f"Người {who}", **knock))

    def at(self, who: str, name: str) -> float:
        """When the last event of that name was."""
        return [one.at for one in self.events if one.event.name == name and getattr(one.event, "participant", "") == who][-1]

    async def person(self, who: str) -> Participant:
        room = await self.rooms.get("m1")
        assert room is not None
        return room.state.participants[who]

    def names(self, who: str) -> list[str]:
        return [one.event.name for one in self.events if getattr(one.event, "participant", "") == who]

    async def stop(self) -> None:
        await self.presence.close()
        await self.rooms.close()


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    storage = await Storage.open(tmp_path)
    await storage.add_meeting(new_meeting("Giao ban", "abcd-efgh-jkmn", id="m1"))
    started: list[Running] = []

    def start(lease_s: float = LEASE_S) -> Running:
        started.append(Running(storage, lease_s))
        return started[-1]

    yield start
    for one in started:
        await one.stop()
    await storage.close()


def test_the_lease_is_30_seconds() -> None:
    assert Config().presence_s == 30.0
    assert Limits().capacity == 500


@pytest.mark.parametrize("straight_in", [True, False])
async def test_who_is_lost_leaves_when_the_lease_is_over(process: Process, straight_in: bool) -> None:
    running = process()
    await running.come("p1", straight_in=straight_in)
    await running.ask("server", m.Connect("p1"))
    await asyncio.sleep(1.5 * LEASE_S)
    assert running.names("p1")[-1] == "connected", "who is connected needs no lease"
    await running.ask("server", m.Disconnect("p1"))
    await until(lambda: "left" in running.names("p1"))
    assert running.at("p1", "left") - running.at("p1", "disconnected") >= LEASE_S - 0.02
    [left] = [one for one in running.events if isinstance(one.event, m.Left)]
    assert (left.event.reason, left.actor) == ("lost", "server")
    room = await running.rooms.get("m1")
    assert room is not None
    assert not running.presence.holds(room)


async def test_who_is_back_in_time_stays(process: Process) -> None:
    running = process(ROOMY_S)
    await running.come("p1", straight_in=True)
    for _ in range(3):
        await running.ask("server", m.Connect("p1"))
        await running.ask("server", m.Disconnect("p1"))
        room = await running.rooms.get("m1")
        assert room is not None
        assert running.presence.holds(room)
        await asyncio.sleep(ROOMY_S / 2)
    await running.ask("server", m.Connect("p1"))
    await asyncio.sleep(1.2 * ROOMY_S)
    assert (await running.person("p1")).place == "admitted"
    assert "left" not in running.names("p1")


async def test_who_joins_and_never_connects_leaves_too(process: Process) -> None:
    running = process()
    await running.come("p1")
    await until(lambda: running.names("p1") == ["knocked", "left"])


async def test_who_is_out_has_no_lease_and_leaves_once(process: Process) -> None:
    running = process(ROOMY_S)
    await running.come("p0", role="chair", straight_in=True)
    await running.ask("server", m.Connect("p0"))
    for who in ("p1", "p2", "p3"):
        await running.come(who)
    await running.ask("p0", m.Admit(("p1",)))
    await running.ask("p0", m.Remove(("p1",)))
    await running.ask("p0", m.Deny(("p2",)))
    await running.ask("p3", m.Leave())
    await asyncio.sleep(1.2 * ROOMY_S)
    assert [running.names(who)[-1] for who in ("p1", "p2", "p3")] == ["removed", "denied", "left"]
    assert running.names("p3").count("left") == 1


async def test_the_end_ends_all_leases(process: Process) -> None:
    running = process(ROOMY_S)
    await running.come("p0", role="chair", straight_in=True)
    await running.come("p1")
    await running.ask("p0", m.End())
    count = len(running.events)
    await asyncio.sleep(1.2 * ROOMY_S)
    assert len(running.events) == count
    room = await running.rooms.get("m1")
    assert room is not None
    assert not running.presence.holds(room)


async def test_another_client_has_no_lease(process: Process) -> None:
    running = process()
    await running.come("gateway", kind="external", straight_in=True)
    await asyncio.sleep(2 * LEASE_S)
    assert (await running.person("gateway")).place == "admitted"


async def test_after_a_restart_everybody_has_a_new_lease(process: Process) -> None:
    first = process()
    for who in ("p1", "p2"):
        await first.come(who, straight_in=True)
        await first.ask("server", m.Connect(who))
    await first.stop()
    await asyncio.sleep(1.5 * LEASE_S)
    began = time.time()
    second = process(ROOMY_S)
    for who in ("p1", "p2"):
        assert (await second.person(who)).place == "admitted"
    await second.ask("server", m.Connect("p1"))
    await until(lambda: "left" in second.names("p2"))
    assert second.names("p2") == ["disconnected", "left"]
    assert second.at("p2", "left") - began >= ROOMY_S - 0.02
    assert (await second.person("p1")).place == "admitted"


async def test_a_lease_whose_end_could_not_be_stored_is_tried_again(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    running = process()
    await running.come("p1", straight_in=True)
    storage = running.rooms._storage
    real, failures = storage.append, 0

    async def fails_twice(*given: Any) -> None:
        nonlocal failures
        failures += 1
        if failures < 3:
            raise OSError("no space left on device")
        await real(*given)

    monkeypatch.setattr(storage, "append", fails_twice)
    await until(lambda: "left" in running.names("p1"))
    assert failures >= 3


# ---- the floor's time ------------------------------------------------------------------------------------------------


async def test_the_floor_ends_when_its_time_is_over(process: Process) -> None:
    running = process()
    await running.come("p1", role="chair", straight_in=True)
    await running.ask("server", m.Connect("p1"))
    [given, *_] = await running.ask("p1", m.GiveFloor("p1", 1))
    ended = await until(lambda: [one for one in running.events if isinstance(one.event, m.FloorEnded)], 5)
    assert ended[0].actor == "server"
    assert 0.9 <= ended[0].at - given.at < 3.0


async def test_a_floor_given_anew_has_its_whole_time(process: Process) -> None:
    running = process()
    await running.come("p1", role="chair", straight_in=True)
    await running.ask("server", m.Connect("p1"))
    await running.ask("p1", m.GiveFloor("p1", 1))
    await asyncio.sleep(0.5)
    await running.ask("p1", m.GiveFloor("p1", 1))
    await until(lambda: "floor_ended" in running.names("p1"), 5)
    assert running.at("p1", "floor_ended") - running.at("p1", "floor_given") >= 0.95


async def test_a_floor_without_a_time_is_not_ended_by_the_last_ones_clock(process: Process) -> None:
    running = process()
    for who in ("p1", "p2"):
        await running.come(who, role="chair", straight_in=True)
        await running.ask("server", m.Connect(who))
    await running.ask("p1", m.GiveFloor("p1", 1))
    await running.ask("p1", m.GiveFloor("p2"))
    await asyncio.sleep(1.2)
    assert running.names("p1").count("floor_ended") == 1
    assert "floor_ended" not in running.names("p2")


async def test_the_floors_time_goes_on_over_a_restart(process: Process) -> None:
    first = process()
    await first.come("p1", role="chair", straight_in=True)
    await first.ask("p1", m.GiveFloor("p1", 1))
    await first.stop()
    await asyncio.sleep(1.1)
    second = process()
    await second.person("p1")
    await until(lambda: "floor_ended" in second.names("p1"))


# ---- over the wire ---------------------------------------------------------------------------------------------------


async def test_a_line_that_breaks_is_a_lease_and_a_return_within_it_is_no_leaving(serving: Serving) -> None:
    async with serving(presence_s=1.5) as house:
        made = await house.meeting(lobby=False)
        chair = await (await house.chair(made).join(made["code"], "Chủ trì")).connect()
        assert chair.frames[0]["ok"]["presence_s"] == 1.5
        stays, goes = [await house.anybody.join(made["code"], name) for name in ("Ở lại", "Ra đi")]
        sockets = [await stays.connect(), await goes.connect()]
        for socket in sockets:
            await socket.cut()
        await chair.event("disconnected", participant=stays.participant)
        await chair.event("disconnected", participant=goes.participant)
        back = await stays.connect()
        assert (await chair.event("left", participant=goes.participant))["reason"] == "lost"
        # Who was lost comes back without knocking, to the same seat and by the same badge.
        again = await house.anybody.join(made["code"], "Ra đi", badge=goes.badge)
        assert (again.participant, again.state) == (goes.participant, "admitted")
        await asyncio.sleep(0.3)
        assert [one["participant"] for one in chair.events if one["ev"] == "left"] == [goes.participant]
        for socket in (back, chair):
            await socket.close()

"""Presence is a lease held by the control connection: lost for 30 s means left. Also the floor's time. The loop's thread.

One `Presence` watches all rooms of this process, by their events alone. After a restart everybody who was there gets a
new lease when the room is loaded. External clients have no control connection and no lease: the SFU says whether they are there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from vidconf.meeting.messages import Command, Disconnect, EndFloor, Expire
from vidconf.server.room import Room, RoomClosed, Rooms, Step

log = logging.getLogger("vidconf.presence")


class Presence:
    def __init__(self, rooms: Rooms, lease_s: float) -> None:
        self._rooms = rooms
        self._lease_s = lease_s
        self._leases: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._floors: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        rooms.listeners.append(self._on_steps)
        rooms.opened.append(self._on_opened)

    def holds(self, room: Room) -> bool:
        """Whether somebody's lease or floor still runs in `room`."""
        return room.id in self._floors or any(meeting == room.id for meeting, _ in self._leases)

    def _on_opened(self, room: Room) -> None:
        for p in room.state.participants.values():
            if p.place in ("lobby", "admitted") and p.kind != "external":
                self._start(room.id, p.id)
        self._time_floor(room)

    def _on_steps(self, room: Room, steps: Sequence[Step]) -> None:
        for id_ in {id_ for step in steps if (id_ := getattr(step.recorded.event, "participant", None))}:
            p = room.state.participants.get(id_)
            here = p is not None and p.place in ("lobby", "admitted")
            if not here or p is None or p.connected or p.kind == "external":
                self._stop(room.id, id_)
            else:
                self._start(room.id, id_)
        if room.state.state == "ended":
            for meeting, id_ in [key for key in self._leases if key[0] == room.id]:
                self._stop(meeting, id_)
        self._time_floor(room)

    def _start(self, meeting: str, participant: str) -> None:
        if (meeting, participant) not in self._leases:
            later = asyncio.get_running_loop().call_later(self._lease_s, self._expire, meeting, participant)
            self._leases[meeting, participant] = later

    def _stop(self, meeting: str, participant: str) -> None:
        lease = self._leases.pop((meeting, participant), None)
        if lease is not None:
            lease.cancel()

    def _expire(self, meeting: str, participant: str) -> None:
        self._leases.pop((meeting, participant), None)
        room = self._rooms.peek(meeting)
        if room is not None and participant in room.watchers:
            return
        self._spawn(self._tell(meeting, Disconnect(participant), Expire(participant)))

    def _time_floor(self, room: Room) -> None:
        until = room.state.floor.until if room.state.floor is not None else None
        timed = self._floors.get(room.id)
        if timed is not None and timed[0] != until:
            timed[1].cancel()
            del self._floors[room.id]
            timed = None
        if until is not None and timed is None:
            wait_s = max(0.0, until - time.time())
            self._floors[room.id] = (until, asyncio.get_running_loop().call_later(wait_s, self._end_floor, room.id, until))

    def _end_floor(self, meeting: str, until: float) -> None:
        self._floors.pop(meeting, None)
        room = self._rooms.peek(meeting)
        if room is not None and room.state.floor is not None and room.state.floor.until == until:
            self._spawn(self._tell(meeting, EndFloor()))

    async def _tell(self, meeting: str, *commands: Command) -> None:
        for command in commands:
            try:
                await self._rooms.ask(meeting, "server", command)
            except RoomClosed:
                return
            except Exception:
                log.exception("meeting %s: %s was not recorded, it is tried again", meeting, command.name)
                if isinstance(command, Disconnect | Expire):
                    self._start(meeting, command.participant)
                    return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for lease in self._leases.values():
            lease.cancel()
        for _, timer in self._floors.values():
            timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

"""For the tests of live rooms: the meeting of the fixture `rooms`, what asks it, and a watcher that follows it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.visibility import follow
from vidconf.protocol.control import decode_event
from vidconf.server.room import Room, Rooms
from vidconf.server.storage import Storage

MEETING = "m1"
CHAIR = m.Knock("p1", "Chủ trì", role="chair", straight_in=True)


class Following:
    """A watcher that holds its own view, as a client does, and can lose its connection and resume."""

    def __init__(self, room: Room, participant: str) -> None:
        self.participant = participant
        self.seqs: list[int] = []
        self.snapshots = 0
        self.view = room.view(participant)
        self.seen = room.state.seq

    def push_events(self, encoded: Sequence[bytes]) -> None:
        for text in encoded:
            recorded = decode_event(json.loads(text))
            assert recorded is not None
            assert recorded.seq > self.seen
            self.seqs.append(recorded.seq)
            self.seen = recorded.seq
            self.view = follow(self.view, recorded, self.participant)

    def push_snapshot(self, own_view: Meeting) -> None:
        assert own_view.seq >= self.seen
        self.view, self.seen = own_view, own_view.seq
        self.snapshots += 1

    def resume(self, room: Room) -> None:
        missed = room.missed(self.participant, self.seen)
        if missed is None:
            self.push_snapshot(room.view(self.participant))
        else:
            self.push_events(missed)


async def room_of(rooms: Rooms) -> Room:
    room = await rooms.get(MEETING)
    assert room is not None
    return room


async def done(rooms: Rooms, actor: str, command: m.Command) -> tuple[m.Recorded, ...]:
    result = await rooms.ask(MEETING, actor, command)
    assert isinstance(result, tuple), result
    return result


async def loaded_anew(storage: Storage) -> Meeting:
    """The state as another process would load it."""
    rooms = Rooms(storage)
    state = (await room_of(rooms)).state
    await rooms.close()
    return state

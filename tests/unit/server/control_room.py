"""For the tests of the control socket: a meeting held, and views compared with the truth."""

from __future__ import annotations

from typing import Any

from e2e.control_client import Socket
from unit.server.conftest import House

from vidconf.meeting.models import Meeting
from vidconf.meeting.visibility import view
from vidconf.server.room import Room

HELLO = {"id": 0, "do": "hello", "token": "vcs_x", "protocol": 1, "client": "test", "resume_from": None}


async def held(house: House, **fields: Any) -> tuple[dict[str, Any], Socket]:
    """A meeting, and its chair connected."""
    made = await house.meeting(**fields)
    return made, await (await house.chair(made).join(made["code"], "Chủ trì")).connect()


def room_of(house: House, made: dict[str, Any]) -> Room:
    room = house.server.rooms.peek(made["id"])
    assert room is not None
    return room


async def up_to_date(house: House, made: dict[str, Any], *sockets: Socket) -> None:
    """Each holds exactly what it may see."""
    for socket in sockets:

        def same(socket: Socket = socket) -> bool:
            true = view(room_of(house, made).state, socket.me)
            return socket.view is not None and whole(socket.view) == whole(true)

        await socket.until(same)


def whole(state: Meeting) -> tuple[Any, ...]:
    """All of it but `seq`, which is what one has seen; participants in their order."""
    return (*(getattr(state, name) for name in Meeting.__slots__ if name not in ("seq", "participants")), tuple(state.participants.items()))

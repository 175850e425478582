"""Whoever's account was disabled is put out of every meeting: at once when it is done through this process, else within `LOOK_S`.

The loop's thread. What is looked at is the database, so it does not matter who disabled the account: this server, another one
beside it, or the command line. The seat's token opens nothing any more (`Control.seat`), the account's are refused already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Protocol

import sqlalchemy as sa

from vidconf.meeting import messages as m
from vidconf.meeting.models import Participant
from vidconf.server import tables
from vidconf.server.accounts import Accounts
from vidconf.server.room import Room, RoomBroken, RoomClosed, Rooms
from vidconf.server.storage import Storage

log = logging.getLogger("vidconf.expulsion")

LOOK_S = 5.0


class Cut(Protocol):
    """Ends the control connection of a participant of a room, if it has one (`Control.cut`)."""

    def __call__(self, room: Room, participant: str) -> None: ...


class Expulsion:
    """`watch` until it is cancelled. `cut` is called after the participant was told what happened."""

    def __init__(self, storage: Storage, accounts: Accounts, rooms: Rooms, cut: Cut) -> None:
        self._storage, self._accounts, self._rooms, self._cut = storage, accounts, rooms, cut
        rooms.opened.append(lambda room: accounts.disabled.set())

    async def watch(self) -> None:
        disabled = self._accounts.disabled
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await disabled.wait()
            disabled.clear()
            try:
                await self._look()
            except RoomClosed:
                return
            except Exception:
                log.exception("the accounts were not compared with the meetings, it is tried again")

    async def _look(self) -> None:
        if not any(True for room in self._rooms.loaded() for _ in _here(room)):
            return
        rows = await self._storage.rows(sa.select(tables.accounts.c.id).where(tables.accounts.c.disabled))
        gone = {str(row.id) for row in rows}
        for room in self._rooms.loaded():
            for p in [p for p in _here(room) if p.account in gone]:
                await self._put_out(room, p.id)

    async def _put_out(self, room: Room, participant: str) -> None:
        """Removed; but a meeting keeps its last chair, whose seat then stands as that of somebody who was lost."""
        log.info("meeting %s: a participant's account is disabled, it is put out", room.id)
        try:
            result = await self._rooms.ask(room.id, "server", m.Remove((participant,)))
            if isinstance(result, m.Refusal):
                await self._rooms.ask(room.id, "server", m.Disconnect(participant))
                await self._rooms.ask(room.id, "server", m.Expire(participant))
        except RoomBroken as error:
            log.error("meeting %s: that could not be stored, it is tried again: %s", room.id, error)
            return
        self._cut(room, participant)


def _here(room: Room) -> Iterator[Participant]:
    return (p for p in room.state.participants.values() if p.account is not None and p.place in ("lobby", "admitted"))

"""One mailbox per live meeting: decide, store, apply, broadcast. The loop's thread.

Whoever wants something asks; the room's one task takes what has gathered, decides it in order, stores all events in one
transaction and only then applies, tells the watchers and answers. A process that loses the race for a (meeting, seq)
loads what the other one stored and decides again. Loading a room is a replay of its events, so a restart forgets nothing.

The rules say what may be done; how often, the `Pace` says: what is decided stays for ever, and everybody is told of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import sqlalchemy as sa

from vidconf.meeting.messages import Chat, Command, End, Event, Leave, Recorded, Refusal, SetSource
from vidconf.meeting.models import Meeting, Participant
from vidconf.meeting.reducer import apply, start
from vidconf.meeting.rights import is_moderator
from vidconf.meeting.rules import decide
from vidconf.meeting.visibility import needs_snapshot, view, visible_to
from vidconf.protocol.control import WireError, decode_event, encode_event
from vidconf.server.audit import Row, seal
from vidconf.server.limits import Pace
from vidconf.server.storage import MeetingRow, SequenceTaken, Storage

log = logging.getLogger("vidconf.room")

BATCH = 64
RECENT = 400
"""Steps kept for resuming connections; a longer gap is bridged by a snapshot."""
ATTEMPTS = 50
PAGE = 500
"""Events replayed at a time when a room is loaded."""
_LOUDNESS = {"off": 0, "muted": 1, "on": 2}


@dataclass(frozen=True, slots=True)
class Step:
    """One event in its place, with the state on both sides of it."""

    before: Meeting
    recorded: Recorded
    after: Meeting


class Watcher(Protocol):
    """A control connection, as the room sees it. Called on the loop's thread; never blocks."""

    participant: str

    def push_events(self, encoded: Sequence[bytes]) -> None: ...

    def push_snapshot(self, own_view: Meeting) -> None: ...


class RoomClosed(Exception):
    """The room was put away while nobody used it; get it again."""


class RoomBroken(Exception):
    """The decision could not be stored; nothing of it happened."""


@dataclass(slots=True)
class _Asked:
    actor: str
    command: Command
    also: Sequence[sa.Executable]
    done: asyncio.Future[tuple[Recorded, ...] | Refusal]
    then: Callable[[], None] | None
    result: tuple[Recorded, ...] | Refusal = ()
    error: Exception | None = None
    counted: bool = False
    """By the pace: a race lost to another process is no second change."""


Listener = Callable[["Room", Sequence[Step]], None]


def decoded(row: Row) -> Recorded | None:
    """A stored row as an event; None when this version does not know it or its payload was erased."""
    if row.payload is None:
        return None
    try:
        return decode_event({**json.loads(row.payload), "seq": row.seq, "at": row.at, "actor": row.actor, "ev": row.type})
    except (WireError, ValueError) as error:
        log.error("meeting %s event %d cannot be read: %s", row.meeting, row.seq, error)
        return None


def _initial(row: MeetingRow) -> Meeting:
    return start(row.id, row.code, row.title, lobby=row.lobby, capacity=row.capacity, start=row.start)


def _person(meeting: str, p: Participant) -> dict[str, Any]:
    names = ("id", "name", "role", "kind", "unit", "position", "place", "session", "guest", "account", "badge", "since")
    return {"meeting": meeting, **{name: getattr(p, name) for name in names}}


class Room:
    """Use through `Rooms`."""

    def __init__(self, storage: Storage, row: MeetingRow, listeners: Sequence[Listener], pace: Pace | None = None) -> None:
        self.id = row.id
        self.row = row
        self.state = _initial(row)
        self.watchers: dict[str, Watcher] = {}
        """The control connection of each participant that has one, by participant id."""
        self.closed = False
        self.used_at = time.monotonic()
        self._storage = storage
        self._listeners = listeners
        self._pace = pace
        self._head = row.head_hash
        self._recent: deque[Step] = deque(maxlen=RECENT)
        self._mailbox: asyncio.Queue[_Asked] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # the mailbox and a refresh never change the state at once

    # ---- life ----

    async def load(self) -> None:
        """Replay, then start the mailbox. A long meeting takes a while: not on the loop, and a page at a time, because every
        step holds a state of its own."""
        while rows := await self._storage.event_rows(self.id, self.state.seq, PAGE):
            self._recent.extend(await asyncio.to_thread(self._replay, rows))
        self._task = asyncio.create_task(self._run(), name=f"room {self.id}")

    def _replay(self, rows: Sequence[Row]) -> list[Step]:
        steps = []
        for row in rows:
            before = self.state
            event = decoded(row)
            self._head = row.hash
            if event is None:
                self.state = replace(before, seq=row.seq)
                continue
            self.state = apply(before, event)
            steps.append(Step(before, event, self.state))
        return steps

    async def refresh(self) -> None:
        """Take in what another process stored meanwhile."""
        async with self._turn:
            await self._take_in()

    async def _take_in(self) -> None:
        rows = await self._storage.event_rows(self.id, self.state.seq)
        if rows and rows[0].seq == self.state.seq + 1:
            self._happened(self._replay(rows))

    async def close(self) -> None:
        self.closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while not self._mailbox.empty():
            asked = self._mailbox.get_nowait()
            if not asked.done.done():
                asked.done.set_exception(RoomClosed())

    @property
    def idle(self) -> bool:
        return not self.watchers and self._mailbox.empty() and not self._turn.locked()

    # ---- asking ----

    def ask(
        self, actor: str, command: Command, also: Sequence[sa.Executable] = (), then: Callable[[], None] | None = None
    ) -> asyncio.Future[tuple[Recorded, ...] | Refusal]:
        """Queue a command; the future's result is its events or the refusal, once they are on the disk and broadcast.

        Asked in order, decided in order. `also` is stored in the same transaction if there are events. `then` is called,
        unless it is refused, after the broadcast and with no event in between. Raises RoomClosed or RoomBroken in the future.
        """
        if self.closed:
            raise RoomClosed()
        self.used_at = time.monotonic()
        asked = _Asked(actor, command, also, asyncio.get_running_loop().create_future(), then)
        self._mailbox.put_nowait(asked)
        return asked.done

    async def _run(self) -> None:
        while True:
            batch = [await self._mailbox.get()]
            while len(batch) < BATCH and not self._mailbox.empty():
                batch.append(self._mailbox.get_nowait())
            try:
                async with self._turn:
                    await self._answer(batch)
            except asyncio.CancelledError:
                for asked in batch:
                    if not asked.done.done():
                        asked.done.set_exception(RoomClosed())
                raise
            except Exception as error:
                log.exception("meeting %s: a decision could not be stored", self.id)
                for asked in batch:
                    if not asked.done.done():
                        asked.done.set_exception(RoomBroken(str(error)))

    async def _answer(self, batch: list[_Asked]) -> None:
        for attempt in range(ATTEMPTS):
            steps = self._decide(batch)
            if not steps:
                break
            rows = self._seal(steps)
            try:
                await self._storage.append(rows, self._facts(steps[-1].after), self._people(steps[-1].after), self._also(batch))
            except SequenceTaken:
                log.info("meeting %s: another process was first (attempt %d)", self.id, attempt + 1)
                await self._take_in()
                continue
            self.state, self._head = steps[-1].after, rows[-1].hash
            self._happened(steps)
            break
        else:
            raise RoomBroken("no turn to store a decision")
        for asked in batch:
            self._settle(asked)

    def _settle(self, asked: _Asked) -> None:
        if asked.then is not None and asked.error is None and not isinstance(asked.result, Refusal):
            try:
                asked.then()
            except Exception as error:
                log.exception("meeting %s: a follow-up failed", self.id)
                asked.error = error
        if asked.done.done():
            return
        if asked.error is not None:
            asked.done.set_exception(asked.error)
        else:
            asked.done.set_result(asked.result)

    def _decide(self, batch: list[_Asked]) -> list[Step]:
        now = time.time()
        state = self.state
        steps: list[Step] = []
        for asked in batch:
            asked.result, asked.error = (), None
            try:
                decision = decide(state, asked.actor, asked.command, now)
            except Exception as error:  # a mistake in the rules must not stop the meeting
                log.exception("meeting %s: the rules failed on %s", self.id, asked.command.name)
                asked.error = RoomBroken(str(error))
                continue
            if isinstance(decision, Refusal):
                asked.result = decision
                continue
            wait_s = self._wait_s(state, asked, decision)
            if wait_s:
                asked.result = Refusal("too_many_changes", {"wait_s": math.ceil(wait_s)})
                continue
            recorded = []
            for event in decision:
                one = Recorded(state.seq + 1, now, asked.actor, event)
                after = apply(state, one)
                steps.append(Step(state, one, after))
                recorded.append(one)
                state = after
            asked.result = tuple(recorded)
        return steps

    def _wait_s(self, state: Meeting, asked: _Asked, events: Sequence[Event]) -> float:
        """How long who asked must wait before one more of its changes is stored."""
        p = state.participants.get(asked.actor)
        if self._pace is None or p is None or not events or asked.counted or _is_free(p, asked.command):
            return 0.0
        wait_s = self._pace.take_or_wait(p.id, is_moderator(p), time.monotonic())
        asked.counted = wait_s == 0
        return wait_s

    def _seal(self, steps: Sequence[Step]) -> list[Row]:
        rows: list[Row] = []
        prev = self._head
        for step in steps:
            wire = encode_event(step.recorded)
            seq, at, actor, type_ = wire.pop("seq"), wire.pop("at"), wire.pop("actor"), wire.pop("ev")
            payload = json.dumps(wire, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            rows.append(seal(self.id, seq, at, actor, type_, payload, prev))
            prev = rows[-1].hash
        return rows

    def _facts(self, after: Meeting) -> dict[str, Any]:
        return {"state": after.state, "epoch": after.epoch, "started_at": after.started_at, "ended_at": after.ended_at}

    def _people(self, after: Meeting) -> list[tuple[bool, dict[str, Any]]]:
        known = self.state.participants
        changed = []
        for id_, p in after.participants.items():
            old = known.get(id_)
            if old is p:
                continue
            now = _person(self.id, p)
            if old is None or _person(self.id, old) != now:
                changed.append((old is None, now))
        return changed

    @staticmethod
    def _also(batch: Sequence[_Asked]) -> list[sa.Executable]:
        return [statement for asked in batch if asked.result and not isinstance(asked.result, Refusal) for statement in asked.also]

    # ---- telling ----

    def _happened(self, steps: Sequence[Step]) -> None:
        if not steps:
            return
        self._recent.extend(steps)
        texts: dict[int, bytes] = {}
        for watcher in list(self.watchers.values()):
            try:
                self._tell(watcher, steps, texts)
            except Exception:  # it is stored: whoever else waits for it must hear of it
                log.exception("meeting %s: a watcher failed", self.id)
        for listener in self._listeners:
            try:
                listener(self, steps)
            except Exception:
                log.exception("meeting %s: a listener failed", self.id)

    def _tell(self, watcher: Watcher, steps: Sequence[Step], texts: dict[int, bytes]) -> None:
        """`texts` holds each event encoded once for all who see it whole."""
        viewer = watcher.participant
        visible: list[bytes] = []
        snapshot = False
        for step in steps:
            seen = visible_to(step.before, step.recorded, viewer)
            if seen is step.recorded:
                text = texts.get(seen.seq)
                if text is None:
                    text = texts[seen.seq] = _encoded(seen)
                visible.append(text)
            elif seen is not None:
                visible.append(_encoded(seen))
            snapshot = snapshot or needs_snapshot(step.before, step.recorded, viewer)
        if visible:
            watcher.push_events(visible)
        if snapshot:
            watcher.push_snapshot(self.view(viewer))

    def view(self, viewer: str | None) -> Meeting:
        return view(self.state, viewer)

    def missed(self, viewer: str, resume_from: int) -> list[bytes] | None:
        """The events after `resume_from` that `viewer` may see; None when only a snapshot tells it right."""
        if resume_from == self.state.seq:
            return []
        if resume_from > self.state.seq or not self._recent or resume_from < self._recent[0].before.seq:
            return None
        missed = []
        for step in self._recent:
            if step.recorded.seq <= resume_from:
                continue
            if needs_snapshot(step.before, step.recorded, viewer):
                return None
            seen = visible_to(step.before, step.recorded, viewer)
            if seen is not None:
                missed.append(_encoded(seen))
        return missed


def _encoded(recorded: Recorded) -> bytes:
    return json.dumps(encode_event(recorded), ensure_ascii=False, separators=(",", ":")).encode()


def _is_free(p: Participant, command: Command) -> bool:
    """What needs no counting: the chat has limits of its own, and going or switching a device down takes a coming or a
    switching up before it. Nobody is kept on the air or in the room by having been too quick."""
    if isinstance(command, SetSource):
        return _LOUDNESS[command.state] < _LOUDNESS[p.sources.get(command.source)]
    return isinstance(command, Chat | Leave | End)


class Rooms:
    """The rooms this process holds. `listeners` hear of every step of every room, on the loop's thread.

    `changes_per_s`: of each delegate, see `Pace`; without it nobody is slowed down."""

    def __init__(self, storage: Storage, changes_per_s: float | None = None) -> None:
        self._storage = storage
        self._changes_per_s = changes_per_s
        self._rooms: dict[str, Room] = {}
        self._loading: dict[str, asyncio.Task[Room | None]] = {}
        self.listeners: list[Listener] = []
        self.opened: list[Callable[[Room], None]] = []
        """Called with each room once it is loaded."""
        self._closed = False

    def loaded(self) -> list[Room]:
        return list(self._rooms.values())

    def peek(self, meeting: str) -> Room | None:
        return self._rooms.get(meeting)

    async def get(self, meeting: str) -> Room | None:
        """The meeting's room, loaded if need be; None when there is no such meeting."""
        room = self._rooms.get(meeting)
        if room is not None:
            return room
        task = self._loading.get(meeting)
        if task is None:
            task = self._loading[meeting] = asyncio.create_task(self._load(meeting), name=f"load {meeting}")
            task.add_done_callback(lambda _: self._loading.pop(meeting, None))
        return await asyncio.shield(task)

    async def _load(self, meeting: str) -> Room | None:
        if self._closed:
            raise RoomClosed()
        row = await self._storage.meeting(meeting)
        if row is None:
            return None
        room = Room(self._storage, row, self.listeners, Pace(self._changes_per_s) if self._changes_per_s else None)
        await room.load()
        self._rooms[meeting] = room
        for opened in self.opened:
            opened(room)
        return room

    async def ask(self, meeting: str, actor: str, command: Command, also: Sequence[sa.Executable] = ()) -> tuple[Recorded, ...] | Refusal | None:
        """`Room.ask` on the room that is there now; None when there is no such meeting."""
        while True:
            room = await self.get(meeting)
            if room is None:
                return None
            try:
                return await room.ask(actor, command, also)
            except RoomClosed:
                if self._closed:
                    raise

    async def put_away(self, keep: Callable[[Room], bool], idle_s: float) -> None:
        """Close the rooms nobody uses; they load again when somebody comes."""
        now = time.monotonic()
        for room in self.loaded():
            if room.idle and now - room.used_at > idle_s and not keep(room):
                del self._rooms[room.id]
                await room.close()

    async def close(self) -> None:
        self._closed = True
        for room in self.loaded():
            await room.close()
        self._rooms.clear()

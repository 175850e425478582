"""What the rules decided, made true at the SFU: tokens, mutes, removals, permissions, and a look every 5 s. The loop's thread.

One task a meeting (`_Keeper`). An event wakes it; it compares the SFU's list with the meeting and calls until they agree:
who is not in the room is removed, who may not publish is muted and told so, rooms of past epochs are deleted. A mute is owed
until it was done or the person has lawfully unmuted since. A call that fails is made again. Where a client's word about its
own devices and the SFU's list differ, the SFU is believed. External clients are present when the SFU says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any

from livekit.protocol import models as lk_models

from vidconf.meeting import messages as m
from vidconf.meeting.models import SOURCES, Meeting, Participant, Source, SourceState
from vidconf.meeting.rights import may_use
from vidconf.server.room import Room, RoomClosed, Rooms, Step
from vidconf.server.sfu import SOURCES as SFU_SOURCES
from vidconf.server.sfu import Sfu, SfuError, is_honest, permission, room_name, split_name
from vidconf.server.turn import ice_servers_for

log = logging.getLogger("vidconf.media")

LOOK_S = 5.0
PROMPTED_S = 0.25
"""Between two looks that webhooks prompt: whoever publishes and stops in a loop is no reason for more."""
LOOK_AGAIN_S = (0.5, 2.0)
"""After a removal: who was on the way in when it happened."""
BELIEVE_S = 2.0
"""How long the SFU must differ from a client's own word: its `set_source` may still be on its way."""
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
GONE = ("not_found", "http_404")

_OWED: dict[type[m.Event], Source] = {m.Muted: "microphone", m.CameraStopped: "camera", m.ShareStopped: "screen_share"}
_PUT_OUT = (m.Removed, m.Left, m.SentToLobby, m.Denied, m.Banned)
_CHANGE_RIGHTS = (m.PermissionSet, m.FloorGiven, m.FloorEnded, m.RoleSet, m.Admitted)


def lawful_sources(state: Meeting, participant: Participant) -> tuple[Source, ...]:
    """What `participant` may have on now: the rules' own answer."""
    return tuple(source for source in SOURCES if may_use(state, participant, source) is None)


def sfu_says(info: lk_models.ParticipantInfo, source: Source) -> SourceState:
    """What the SFU's entry says of one source of ours."""
    found: SourceState = "off"
    for track in info.tracks:
        if track.source == SFU_SOURCES[source][0]:
            if not track.muted:
                return "on"
            found = "muted"
    return found


def belongs(state: Meeting, identity: str) -> Participant | None:
    """Whom an identity at the SFU stands for; None when it has no business in the room. A session older than the present
    control connection is fine: the control socket may have been renewed while the media went on."""
    split = split_name(identity)
    if split is None or state.state == "ended":
        return None
    p = state.participants.get(split[0])
    if p is None or p.place != "admitted" or (p.kind != "external" and not 1 <= split[1] <= p.session):
        return None
    return p


class Media:
    """Tokens, and the keepers of all meetings of this process."""

    def __init__(self, rooms: Rooms, sfu: Sfu | None, url: str, ice_servers: Sequence[dict[str, Any]] = ()) -> None:
        self.rooms, self.sfu, self.url = rooms, sfu, url
        self._ice_servers = [dict(server) for server in ice_servers]
        self._keepers: dict[str, _Keeper] = {}
        self.calls_failed = 0
        self.looks = 0
        self._sweeper: asyncio.Task[None] | None = None
        rooms.listeners.append(self._on_steps)
        rooms.opened.append(self._on_opened)

    def start(self) -> None:
        if self.sfu is not None and self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), name="media sweep")

    async def close(self) -> None:
        tasks = [keeper.task for keeper in self._keepers.values()] + ([self._sweeper] if self._sweeper else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def holds(self, room: Room) -> bool:
        """Whether something is still owed to the SFU about `room`, or it has to be watched."""
        keeper = self._keepers.get(room.id)
        return keeper is not None and (keeper.busy or any(True for _ in room.state.admitted()))

    # ---- tokens ----

    async def grant(self, room: Room, participant: str, ttl_s: float = 60.0) -> dict[str, Any]:
        """What a participant in the room needs to join its media. Raises SfuError; the caller has asked the rules."""
        if self.sfu is None:
            raise SfuError("unreachable", "this server has no media")
        name = ""
        while name != (now := room_name(room.id, room.state.epoch)):  # it may move while the SFU answers
            name = now
            await self.sfu.create_room(name)  # the SFU makes no rooms by itself; one that it has it keeps
        p = room.state.participants.get(participant)
        if p is None or p.place != "admitted" or room.state.state == "ended":
            raise SfuError("not_in_room", "left meanwhile")
        token = self.sfu.token(name, f"{p.id}.{max(1, p.session)}", p.name, lawful_sources(room.state, p), ttl_s)
        at = time.time()
        return {"url": self.url, "token": token, "expires_at": at + ttl_s, "ice_servers": ice_servers_for(p.id, self._ice_servers, at)}

    # ---- listening ----

    def _on_opened(self, room: Room) -> None:
        if self.sfu is not None and room.state.state != "ended" and any(True for _ in room.state.admitted()):
            self._keeper(room).wake()

    def _on_steps(self, room: Room, steps: Sequence[Step]) -> None:
        if self.sfu is None:
            return
        keeper = self._keeper(room)
        for step in steps:
            event = step.recorded.event
            source = _OWED.get(type(event))
            if source is not None:
                keeper.owe(getattr(event, "participant", ""), source)
            elif isinstance(event, m.SourceChanged) and event.state == "on":
                keeper.lawfully_on(event.participant, event.source)
            elif isinstance(event, m.EpochChanged | m.Ended):
                keeper.outdated.add(room_name(room.id, step.before.epoch))
                keeper.wake()
            elif isinstance(event, _PUT_OUT):
                keeper.wake()
                keeper.look_again()
            elif isinstance(event, _CHANGE_RIGHTS):
                keeper.wake()

    def webhook(self, content: dict[str, Any]) -> None:
        """Only a reason to look earlier; never believed."""
        room = content.get("room")
        split = split_name(str(room.get("name", ""))) if isinstance(room, dict) else None
        keeper = self._keepers.get(split[0]) if split else None
        if keeper is not None:
            keeper.wake_soon()

    def _keeper(self, room: Room) -> _Keeper:
        keeper = self._keepers.get(room.id)
        if keeper is None or keeper.room is not room or keeper.task.done():
            assert self.sfu is not None
            fresh = _Keeper(self, room, self.sfu)
            if keeper is not None:
                fresh.owed, fresh.outdated = keeper.owed, keeper.outdated
                keeper.task.cancel()
            self._keepers[room.id] = keeper = fresh
        return keeper

    def forget(self, keeper: _Keeper) -> None:
        if self._keepers.get(keeper.room.id) is keeper:
            del self._keepers[keeper.room.id]

    async def _sweep(self) -> None:
        """Rooms of ours at the SFU that no meeting is in any more: left over from before a restart."""
        assert self.sfu is not None
        while True:
            try:
                for name in await self.sfu.rooms():
                    split = split_name(name)
                    room = await self.rooms.get(split[0]) if split else None
                    if room is None or split is None:
                        continue
                    if room.state.state == "ended" or split[1] < room.state.epoch:
                        await self._delete(name)
            except SfuError as error:
                if error.code != "unreachable":
                    log.warning("the SFU's rooms could not be swept: %s", error)
            except Exception:
                log.exception("the sweep of the SFU's rooms failed")
            await asyncio.sleep(60)

    async def _delete(self, name: str) -> None:
        assert self.sfu is not None
        try:
            await self.sfu.delete_room(name)
            log.info("media room %s deleted", name)
        except SfuError as error:
            if error.code not in GONE:
                raise


class _Keeper:
    """One meeting's media. Its task runs while somebody is admitted or something is owed."""

    def __init__(self, media: Media, room: Room, sfu: Sfu) -> None:
        self._media, self.room, self._sfu = media, room, sfu
        self.owed: set[tuple[str, Source]] = set()
        """Mutes not done yet."""
        self.outdated: set[str] = set()
        """SFU rooms to delete."""
        self._differs: dict[tuple[str, Source], tuple[SourceState, float]] = {}
        self._wake = asyncio.Event()
        self._prompted: asyncio.TimerHandle | None = None
        self._looked_at = -PROMPTED_S
        self.task = asyncio.create_task(self._run(), name=f"media {room.id}")

    @property
    def busy(self) -> bool:
        return bool(self.owed or self.outdated or self._wake.is_set())

    def wake(self) -> None:
        self._wake.set()

    def wake_soon(self) -> None:
        """The same, but not sooner than `PROMPTED_S` after the last look."""
        if self._prompted is None:
            wait_s = self._looked_at + PROMPTED_S - time.monotonic()
            self._prompted = asyncio.get_running_loop().call_later(max(0.0, wait_s), self._wake_prompted)

    def _wake_prompted(self) -> None:
        self._prompted = None
        self.wake()

    def owe(self, participant: str, source: Source) -> None:
        self.owed.add((participant, source))
        self.wake()

    def lawfully_on(self, participant: str, source: Source) -> None:
        self.owed.discard((participant, source))

    def look_again(self) -> None:
        for later_s in LOOK_AGAIN_S:
            asyncio.get_running_loop().call_later(later_s, self.wake)

    async def _run(self) -> None:
        failures = 0
        while True:
            if failures:
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S)) - 1])
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._wake.wait()
            self._wake.clear()
            self._looked_at = time.monotonic()
            if self.room.closed:
                self._media.forget(self)
                return
            try:
                await self._look()
                if failures:
                    log.info("meeting %s: the SFU answers again", self.room.id)
                failures = 0
            except SfuError as error:
                failures += 1
                self._media.calls_failed += 1
                (log.warning if failures == 1 else log.debug)("meeting %s: the SFU does not follow, trying again: %s", self.room.id, error)
            except RoomClosed:
                self._media.forget(self)
                return
            except Exception:
                failures += 1
                log.exception("meeting %s: the look at the SFU failed, trying again", self.room.id)

    async def _look(self) -> None:
        """One comparison. Raises SfuError at the end if any call failed; the others were made all the same."""
        self._media.looks += 1
        failed: list[SfuError] = []
        for name in list(self.outdated):
            await self._tried(self._sfu.delete_room(name), failed)
            if not failed:
                self.outdated.discard(name)
        state = self.room.state
        if state.state == "ended" or not (self._was_there or self.owed or any(True for _ in state.admitted())):
            self.owed.clear()
            if failed:
                raise failed[0]
            return
        name = room_name(state.id, state.epoch)
        owed = set(self.owed)
        try:
            listed = await self._sfu.participants(name)
        except SfuError as error:
            if error.code not in GONE:
                raise
            listed = []
        self._was_there = bool(listed)
        if not listed and any(p.kind == "external" for p in self.room.state.admitted()) and self.room.state.epoch == state.epoch:
            # An SFU that was started again has forgotten its rooms. Our own clients ask for media, which makes the room; others
            # only try to come back.
            await self._tried(self._sfu.create_room(name), failed)
        there = await self._present(name, listed, failed)
        await self._believe(there)
        if failed:
            raise failed[0]
        # What was owed when the list was taken is done, or its track was not there to mute.
        self.owed -= owed

    _was_there = False

    async def _tried(self, call: Any, failed: list[SfuError]) -> None:
        try:
            await call
        except SfuError as error:
            if error.code not in GONE:
                failed.append(error)

    async def _present(
        self, name: str, listed: Sequence[lk_models.ParticipantInfo], failed: list[SfuError]
    ) -> dict[str, lk_models.ParticipantInfo]:
        """Removes who does not belong, sets rights, mutes; returns who is lawfully there."""
        newest: dict[str, tuple[int, lk_models.ParticipantInfo]] = {}
        for info in listed:
            if info.state == lk_models.ParticipantInfo.State.DISCONNECTED:
                continue
            p = belongs(self.room.state, info.identity)
            split = split_name(info.identity)
            if p is None or split is None:
                log.info("meeting %s: removing who does not belong from the SFU", self.room.id)
                await self._tried(self._sfu.remove(name, info.identity), failed)
                continue
            other = newest.get(p.id)
            if other is not None:
                older = info if other[0] > split[1] else other[1]
                await self._tried(self._sfu.remove(name, older.identity), failed)
                if older is info:
                    continue
            newest[p.id] = (split[1], info)
        there = {id_: info for id_, (_, info) in newest.items()}
        for id_, info in there.items():
            await self._enforce(name, id_, info, failed)
        return there

    async def _enforce(self, name: str, id_: str, info: lk_models.ParticipantInfo, failed: list[SfuError]) -> None:
        p = self.room.state.participants[id_]
        allowed = lawful_sources(self.room.state, p)
        wanted = permission(allowed)
        held = info.permission
        same = (
            held.can_subscribe == wanted.can_subscribe
            and held.can_publish == wanted.can_publish
            and held.can_publish_data == wanted.can_publish_data
            and (not wanted.can_publish or set(held.can_publish_sources) == set(wanted.can_publish_sources))
        )
        if not same:
            await self._tried(self._sfu.permit(name, info.identity, wanted), failed)
        for track in info.tracks:
            source = next((source for source, numbers in SFU_SOURCES.items() if track.source in numbers), None)
            unlawful = source is None or track.source not in wanted.can_publish_sources or not is_honest(track)
            if not track.muted and (unlawful or (id_, source) in self.owed):
                before = len(failed)
                await self._tried(self._sfu.mute(name, info.identity, track.sid), failed)
                if len(failed) == before:
                    track.muted = True

    async def _believe(self, there: dict[str, lk_models.ParticipantInfo]) -> None:
        now = time.monotonic()
        state = self.room.state
        differs: dict[tuple[str, Source], tuple[SourceState, float]] = {}
        for p in list(state.admitted()):
            info = there.get(p.id)
            if p.kind == "external" and p.connected != (info is not None):
                await self.room.ask("server", m.Connect(p.id) if info is not None else m.Disconnect(p.id))
            for source in SOURCES:
                said, seen = p.sources.get(source), sfu_says(info, source) if info is not None else "off"
                if said == seen or (p.kind != "external" and "on" not in (said, seen)):
                    continue
                since = self._differs.get((p.id, source), (seen, now))
                if since[0] != seen:
                    since = (seen, now)
                if p.kind == "external" or now - since[1] >= BELIEVE_S:
                    await self.room.ask("server", m.CorrectSource(p.id, source, seen))
                else:
                    differs[p.id, source] = since
        self._differs = differs

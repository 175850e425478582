"""A meeting with the real rules, seen by one client's store over a line that can be cut: no sockets, no clock, everything at once.

    line = MeetingLine(store); line.follow(MediaLink(store, engine, line.ask)); line.do("chair", m.Admit((ME,))); line.cut(); …; line.back()
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from vidconf.client import changes as c
from vidconf.client import phases
from vidconf.client.connection import AskError, Refused
from vidconf.client.media_link import MediaLink
from vidconf.client.state import JoinLink
from vidconf.client.store import Store
from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.reducer import apply, start
from vidconf.meeting.rules import decide
from vidconf.meeting.visibility import missed, needs_snapshot, view, visible_to

ME = "p1"


class MeetingLine:
    """Tells the store, then the media link, as `core.Client` does. `ask` is what a client asks with."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.media: MediaLink | None = None
        self.server: Meeting = start("M1", "abcd-efgh", "T")
        self.steps: list[tuple[Meeting, m.Recorded]] = []
        self.up = False
        self._seen = 0
        self.do("server", m.Knock("chair", "Chủ trì", role="chair", straight_in=True))
        self.do("server", m.Knock(ME, "Lê Văn An"))
        self.do("server", m.Connect(ME))
        store.dispatch(c.Navigate(phases.LinkOpened(JoinLink("https://hop.example.vn", "abcd-efgh"))))
        store.dispatch(c.Navigate(phases.JoinStarted()))

    def follow(self, media: MediaLink) -> None:
        """Take up the line, in the lobby."""
        self.media = media
        self.back()

    # ---- the server's side ----

    def do(self, actor: str, command: m.Command) -> tuple[m.Event, ...] | m.Refusal:
        decided = decide(self.server, actor, command, time.time())
        if isinstance(decided, m.Refusal):
            return decided
        for event in decided:
            before = self.server
            recorded = m.Recorded(before.seq + 1, time.time(), actor, event)
            self.server = apply(before, recorded)
            self.steps.append((before, recorded))
            if self.up:
                self._tell(before, recorded)
        return decided

    def _tell(self, before: Meeting, recorded: m.Recorded) -> None:
        self._seen = recorded.seq
        seen = visible_to(before, recorded, ME)
        if seen is not None:
            self._events((seen,))
        if needs_snapshot(before, recorded, ME):
            self.store.dispatch(c.SnapshotTaken(view(self.server, ME), ME, time.time()))

    def _events(self, events: tuple[m.Recorded, ...]) -> None:
        self.store.dispatch(c.EventsCame(events, time.time()))
        if self.media is not None:
            self.media.meeting_events(events)

    # ---- the line ----

    def cut(self) -> None:
        if self.up:
            self.up = False
            self.store.dispatch(c.Navigate(phases.ControlChanged("reconnecting")))

    def back(self, resume: bool = True) -> None:
        """Up again: the events missed, or a snapshot; then it counts as connected."""
        if self.up:
            return
        self.up = True
        since = missed([step for step in self.steps if step[1].seq > self._seen], ME) if resume and self._seen else None
        self._seen = self.server.seq
        if since is None:
            self.store.dispatch(c.SnapshotTaken(view(self.server, ME), ME, time.time()))
        elif since:
            self._events(since)
        self.store.dispatch(c.Navigate(phases.ControlChanged("connected")))

    async def ask(self, command: m.Command) -> dict[str, Any]:
        await asyncio.sleep(0)
        if not self.up:
            raise AskError("not_connected")
        decided = self.do(ME, command)
        if isinstance(decided, m.Refusal):
            raise Refused(decided)
        if isinstance(command, m.Media):
            return {"url": "ws://127.0.0.1:9", "token": f"{ME}@{self.server.epoch}", "ice_servers": []}
        return {}

"""What the chat panel lists: messages, what waits to be sent, and between them, as thin lines, what the state tells of the meeting.

Pure. The state keeps no history of events, so the lines say only what stands in it: when the meeting began, since when people are
in the room or gone from it. Lines of the same kind with no message between them are one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.panels.people_list import role_of
from vidconf.gui.panels.row import Item
from vidconf.meeting.models import ChatMessage, Meeting, Participant

Ground = Literal["all", "mine", "private", "pending"]
NAMES = 2
"""So many are named in a line; the others are counted."""


@dataclass(frozen=True, slots=True)
class Said:
    name: str
    when: str
    text: str
    ground: Ground = "all"
    private: str = ""
    """`Riêng với …`; "" when everybody reads it."""
    says: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    text: str


@dataclass(frozen=True, slots=True)
class About:
    title: str
    text: str


class ChatList:
    """Keeps the items of messages, which never change once said, but for the sender's role."""

    def __init__(self) -> None:
        self._messages: tuple[ChatMessage, ...] = ()
        self._roles: dict[str, str] = {}
        self._about: tuple[Hashable, ...] = ()
        self._items: list[Item] = []
        self._times: list[float] = []

    def items(self, state: ClientState) -> list[Item]:
        meeting = state.meeting
        if meeting is None:
            return []
        self._take(state, meeting)
        intro = words.text("chat.about")
        first = Item("about", "about", About("" if self._items else words.text("chat.empty"), intro))
        items = [first]
        at = 0
        for moment, line in _lines(state, meeting, self._times):
            upto = bisect_right(self._times, moment)
            items += self._items[at:upto]
            items.append(line)
            at = upto
        items += self._items[at:]
        items += [_waiting(state, meeting, n) for n, message in enumerate(state.unsent_chat) if not message.error]
        return items

    def _take(self, state: ClientState, meeting: Meeting) -> None:
        roles = {p.id: role for p in meeting.admitted() if (role := role_of(p))}
        held, count = self._messages, len(self._messages)
        grown = len(meeting.chat) >= count and (not count or (meeting.chat[0] is held[0] and meeting.chat[count - 1] is held[-1]))
        if not grown or roles != self._roles or self._about != (state.me,):
            self._items, self._times, count = [], [], 0
        self._messages, self._roles, self._about = meeting.chat, roles, (state.me,)
        for message in meeting.chat[count:]:
            self._items.append(self._message(state, meeting, message))
            self._times.append(message.at)

    def _message(self, state: ClientState, meeting: Meeting, message: ChatMessage) -> Item:
        mine = message.sender == state.me
        name = words.text("people.me", name=message.sender_name) if mine else message.sender_name
        role = self._roles.get(message.sender, "")
        when = " · ".join(part for part in (role, words.clock(message.at)) if part)
        private = _private(message.to, state, meeting)
        ground: Ground = "private" if private else "mine" if mine else "all"
        says = ", ".join(part for part in (name, role, words.clock(message.at), private) if part) + f": {message.text}"
        return Item(("said", message.id), "said", Said(name, when, message.text, ground, private, says))


def _private(to: str | None, state: ClientState, meeting: Meeting) -> str:
    if to is None:
        return ""
    if to == state.me:
        return words.text("chat.private_me")
    person = meeting.participants.get(to)
    return words.text("chat.private", name=person.name) if person is not None else words.text("chat.private_gone")


def _waiting(state: ClientState, meeting: Meeting, n: int) -> Item:
    message = state.unsent_chat[n]
    own = state.own
    name = words.text("people.me", name=own.name if own is not None else state.name)
    waits = words.text("chat.sending" if state.control == "connected" else "chat.sends_later")
    private = _private(message.to, state, meeting)
    return Item(("said", message.key), "said", Said(name, waits, message.text, "pending", private, f"{waits} {private} {message.text}"))


# ---- lines ------------------------------------------------------------------------------------------------------------------


def _lines(state: ClientState, meeting: Meeting, times: list[float]) -> list[tuple[float, Item]]:
    """In order of time. What happened before one came in oneself is not told."""
    own = state.own
    came = own.since if own is not None else 0.0
    found: list[tuple[float, str, str, Participant | None]] = []
    if meeting.started_at is not None and meeting.started_at >= came:
        found.append((meeting.started_at, "started", "", None))
    for p in meeting.participants.values():
        if p.id != state.me and p.since > came and p.place in ("admitted", "left", "removed"):
            found.append((p.since, p.place, p.id, p))
    found.sort(key=lambda one: one[0])
    lines: list[tuple[float, Item]] = []
    run: list[Participant] = []
    run_at, run_kind, run_place = 0.0, "", -1

    def close() -> None:
        if run:
            names = ", ".join(p.name for p in run[:NAMES])
            more = words.text("chat.line.more", count=len(run) - NAMES) if len(run) > NAMES else ""
            text = words.text(f"chat.line.{run_kind}", time=words.clock(run_at), names=names + more)
            lines.append((run_at, Item(("line", run_kind, run[0].id), "line", Line(text))))
            run.clear()

    for at, kind, _, person in found:
        place = bisect_right(times, at)
        if person is None:
            close()
            lines.append((at, Item("started", "line", Line(words.text("chat.line.started", time=words.clock(at))))))
            continue
        if run and (kind != run_kind or place != run_place):
            close()
        if not run:
            run_at, run_kind, run_place = at, kind, place
        run.append(person)
    close()
    return lines

"""The chat's outbox over every kind of loss, against the real rules: nothing typed is lost, nothing is said twice, the order stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal
from unittest.mock import patch

from fakes.toy_server import until
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client import changes as c
from vidconf.client import outbox
from vidconf.client.connection import AskError, Refused
from vidconf.client.outbox import Outbox
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.reducer import apply, start
from vidconf.meeting.rules import decide
from vidconf.meeting.visibility import view

Fate = Literal["heard", "heard, answer lost", "lost", "slow down", "server broke", "timeout", "in the lobby for a while"]
FATES: tuple[Fate, ...] = ("heard", "heard, answer lost", "lost", "slow down", "server broke", "timeout", "in the lobby for a while")
ME = "p1"


class Line:
    """A server with the real rules behind a line that does to each request what comes next in `fates`."""

    def __init__(self, fates: list[Fate]) -> None:
        state: Meeting = start("M1", "c", "T")
        for command in (m.Knock(ME, "Lê Văn An", role="chair", straight_in=True), m.Connect(ME)):
            state = self._applied(state, "server", command)
        self.server, self.fates = state, fates
        self.store = Store(ClientState(phase="meeting", control="connected", me=ME, meeting=view(state, ME)))
        self.outbox = Outbox(self.store, self.ask)
        self.asked = 0

    @staticmethod
    def _applied(state: Meeting, actor: str, command: m.Command) -> Meeting:
        events = decide(state, actor, command, time.time())
        assert not isinstance(events, m.Refusal), events
        for event in events:
            state = apply(state, m.Recorded(state.seq + 1, time.time(), actor, event))
        return state

    def _carry_out(self, command: m.Command) -> tuple[m.Recorded, ...]:
        events = decide(self.server, ME, command, time.time())
        if isinstance(events, m.Refusal):
            raise Refused(events)
        made = []
        for event in events:
            made.append(m.Recorded(self.server.seq + 1, time.time(), ME, event))
            self.server = apply(self.server, made[-1])
        return tuple(made)

    def _lose(self) -> None:
        self.store.dispatch(c.Set({"control": "reconnecting"}))
        asyncio.get_running_loop().call_later(0.001, self._back)

    def _back(self) -> None:
        """The events missed come first, then the connection counts as up; as `core.Client` does it."""
        self.store.dispatch(c.SnapshotTaken(view(self.server, ME), ME, time.time()))
        self.store.dispatch(c.Set({"control": "connected"}))
        self.outbox.flush()

    async def ask(self, command: m.Command) -> dict[str, Any]:
        self.asked += 1
        assert self.asked < 2000, "it asks without end"
        await asyncio.sleep(0)
        match self.fates.pop(0) if self.fates else "heard":
            case "heard, answer lost":
                self._carry_out(command)
                self._lose()
                await asyncio.sleep(0.002)
                raise AskError("answer_lost")
            case "lost":
                self._lose()
                raise AskError("not_connected")
            case "slow down":
                raise AskError("too_many_requests")
            case "server broke":
                raise AskError("internal", "ref")
            case "timeout":
                self._carry_out(command)
                raise AskError("timeout")
            case "in the lobby for a while":
                self.store.dispatch(c.Set({"phase": "lobby"}))

                def inside() -> None:
                    self.store.dispatch(c.Set({"phase": "meeting"}))
                    self.outbox.flush()

                asyncio.get_running_loop().call_later(0.001, inside)
                raise AskError("answer_lost")
        made = self._carry_out(command)
        if made:
            self.store.dispatch(c.EventsCame(made, time.time()))
        return {}


def run(work: Callable[[], Any]) -> Any:
    with patch.object(outbox, "SLOW_DOWN_S", 0.001), patch.object(outbox, "TRY_AGAIN_S", 0.001), patch.object(outbox, "SOON_S", 0.001):
        return asyncio.run(work())


@given(st.lists(st.text("ab ế\n", min_size=1, max_size=5), max_size=6), st.lists(st.sampled_from(FATES), max_size=12), st.data())
def test_nothing_typed_is_lost_nothing_is_said_twice(typed: list[str], fates: list[Fate], data: st.DataObject) -> None:
    pauses = [data.draw(st.booleans()) for _ in typed]

    async def work() -> Line:
        line = Line(list(fates))
        for text, pause in zip(typed, pauses, strict=True):
            line.outbox.typed(text)
            if pause:
                await asyncio.sleep(0.002)
        await until(lambda: not line.store.state.unsent_chat)
        await line.outbox.close()
        return line

    line = run(work)
    said = [text.strip() for text in typed if text.strip()]
    assert [message.text for message in line.server.chat] == said
    assert line.store.state.notices == ()


async def test_blank_is_nothing() -> None:
    line = Line([])
    line.outbox.typed("  \n ")
    assert line.store.state.unsent_chat == ()
    await line.outbox.close()


async def test_what_is_refused_stays_and_does_not_hold_up_the_others() -> None:
    line = Line([])
    line.outbox.typed("x" * 10_000)
    line.outbox.typed("ngắn")
    await until(lambda: bool(line.server.chat))
    assert [message.text for message in line.server.chat] == ["ngắn"]
    (left,) = line.store.state.unsent_chat
    assert left.error == "chat_too_long"
    assert [(n.code, n.family) for n in line.store.state.notices] == [("chat_too_long", "refusal")]
    line.outbox.again(left.key)
    await until(lambda: line.asked == 3 and bool(line.store.state.unsent_chat[0].error))
    line.outbox.give_up(left.key)
    assert line.store.state.unsent_chat == ()
    await line.outbox.close()


async def test_what_the_server_cannot_read_is_not_sent_for_ever() -> None:
    line = Line([])

    async def cannot_read(command: m.Command) -> dict[str, Any]:
        raise AskError("malformed", "ref")

    box = Outbox(line.store, cannot_read)
    box.typed("một")
    await until(lambda: bool(line.store.state.unsent_chat[0].error))
    assert line.store.state.unsent_chat[0].error == "malformed"
    await box.close()


async def test_a_private_message_goes_to_whom_it_was_meant() -> None:
    line = Line([])
    line.server = line._applied(line.server, "server", m.Knock("p2", "Nghe", straight_in=True))
    line.outbox.typed("riêng", "p2")
    await until(lambda: bool(line.server.chat))
    assert line.server.chat[0].to == "p2"
    await line.outbox.close()


async def test_while_the_line_stays_down_nobody_is_busy() -> None:
    """A socket that is being closed still counts as connected for a moment, and takes nothing any more."""
    line = Line([])
    tries = 0

    async def closing(command: m.Command) -> dict[str, Any]:
        nonlocal tries
        tries += 1
        raise AskError("not_connected")

    box = Outbox(line.store, closing)
    box.typed("một")
    await asyncio.sleep(0.25)
    assert 1 <= tries <= 6
    await box.close()
    assert [message.text for message in line.store.state.unsent_chat] == ["một"]

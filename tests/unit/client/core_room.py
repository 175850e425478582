"""For the tests of the whole client: a person at it, at a toy server and with an engine without media."""

from __future__ import annotations

from dataclasses import dataclass

from fakes.engine import FakeEngine
from fakes.toy_server import CODE, ToyServer, until

from vidconf.client.connection import ReconnectPolicy
from vidconf.client.core import Client
from vidconf.client.state import ClientState
from vidconf.meeting import messages as m

QUICK = ReconnectPolicy((0.0, 0.02, 0.05))


@dataclass
class Person:
    client: Client
    engine: FakeEngine

    @property
    def state(self) -> ClientState:
        return self.client.store.state

    def codes(self) -> list[str]:
        return [notice.code for notice in self.state.notices]


async def enter(toy: ToyServer, one: Person) -> None:
    """Into the room, media connected."""
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await one.client.actions.join()
    if one.state.phase == "lobby":
        toy.do("server", m.Admit((one.state.me or "",)))
    await until(lambda: one.state.phase == "meeting" and one.state.media == "connected")

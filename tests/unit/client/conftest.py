"""For the client's tests: a toy server, and people at whole clients who know it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from fakes.engine import FakeEngine
from fakes.toy_server import ToyServer, toy_server
from unit.client.core_room import QUICK, Person

from vidconf.client.core import Client
from vidconf.client.credentials import Credentials
from vidconf.client.settings import Settings


@pytest.fixture
async def toy() -> AsyncIterator[ToyServer]:
    """A server in the test's own loop."""
    async with toy_server() as server:
        yield server


@pytest.fixture
async def person(toy: ToyServer) -> AsyncIterator[Callable[..., Awaitable[Person]]]:
    """`await person(name, **settings)`: somebody at a client that has started."""
    people: list[Person] = []

    async def make(name: str = "Lê Văn An", **settings: object) -> Person:
        engine = FakeEngine()
        client = Client(engine, Settings(command_line={"known_servers": (toy.origin,), **settings}), Credentials(None), reconnect=QUICK)
        await client.start()
        client.actions.set_name(name)
        people.append(Person(client, engine))
        return people[-1]

    yield make
    for one in people:
        await one.client.close()

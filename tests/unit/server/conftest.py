"""Real storage in a temporary folder, and the whole server in the test's own loop: no part of it is replaced."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from e2e.control_client import Api, Reply
from unit.server.live_room import MEETING

from vidconf.server.app import Server, read_facts
from vidconf.server.config import Config, Limits, MediaConfig
from vidconf.server.room import Rooms
from vidconf.server.storage import FILE, Storage, new_meeting


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database as the migrations leave it, made once: hundreds of tests begin with a copy."""

    async def make(folder: Path) -> None:
        await (await Storage.open(folder)).close()

    folder = tmp_path_factory.mktemp("migrated")
    asyncio.run(make(folder))
    return folder / FILE


@pytest.fixture
async def storage(tmp_path: Path, migrated: Path) -> AsyncIterator[Storage]:
    shutil.copy(migrated, tmp_path)
    opened = await Storage.open(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def rooms(storage: Storage) -> AsyncIterator[Rooms]:
    """With one meeting, `MEETING`, not begun."""
    await storage.add_meeting(new_meeting("Giao ban", "abcd-efgh-jkmn", id=MEETING))
    opened = Rooms(storage)
    yield opened
    await opened.close()


class House:
    """A running server, asked as a client asks: `admin` holds the machine's own key, `anybody` nothing."""

    def __init__(self, server: Server, admin: Api) -> None:
        self.server, self.admin, self.anybody = server, admin, admin.with_bearer("")

    async def meeting(self, title: str = "Giao ban", **fields: Any) -> dict[str, Any]:
        reply = await self.admin.post("/api/v1/meetings", {"title": title, **fields})
        assert reply.status == 201, reply
        made: dict[str, Any] = reply.body
        return made

    async def account(self, name: str, role: str = "member") -> Api:
        """A new account, signed in."""
        reply = await self.admin.post("/api/v1/accounts", {"name": name, "password": "mật khẩu dài", "role": role})
        assert reply.status == 201, reply
        reply = await self.anybody.post("/api/v1/auth/login", {"name": name, "password": "mật khẩu dài"})
        assert reply.status == 200, reply
        return self.anybody.with_bearer(reply.body["access_token"])

    def chair(self, made: dict[str, Any]) -> Api:
        """The bearer of a meeting's chair token."""
        return self.admin.with_bearer(made["chair_token"])


Serving = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def serving(tmp_path: Path, migrated: Path) -> Serving:
    """`async with serving(limits={…}, presence_s=…) as house:`, without media unless told. The folder stays: again is a restart."""

    shutil.copy(migrated, tmp_path)

    @asynccontextmanager
    async def served(**settings: Any) -> AsyncIterator[House]:
        limits = Limits(**settings.pop("limits", {}))
        media = settings.pop("media", MediaConfig(relay=False))
        config = Config(**{"port": 0, "data": tmp_path, "limits": limits, "media": media, **settings})
        async with Server(config) as server:
            server.accounts._hasher = PasswordHasher(time_cost=1, memory_cost=64)  # test_accounts looks at the real cost
            facts = read_facts(tmp_path)
            assert facts is not None
            async with Api(server.local_url, facts["admin_key"]) as admin:
                yield House(server, admin)

    return served


@pytest.fixture
async def house(serving: Serving) -> AsyncIterator[House]:
    async with serving() as running:
        yield running


def codes(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code

"""Real storage in a temporary folder, and the whole server in the test's own loop: no part of it is replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from vidconf.server.app import Server
from vidconf.server.config import Config, Limits, MediaConfig
from vidconf.server.storage import Storage

Serving = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    opened = await Storage.open(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """`async with serving(limits=…, presence_s=…) as server:`, without media unless told."""

    @asynccontextmanager
    async def served(**settings: Any) -> AsyncIterator[Server]:
        limits = Limits(**settings.pop("limits", {}))
        media = settings.pop("media", MediaConfig(relay=False))
        async with Server(Config(**{"port": 0, "data": tmp_path, "limits": limits, "media": media, **settings})) as server:
            yield server

    return served

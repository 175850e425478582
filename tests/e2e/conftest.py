"""A real server for each test, and the machine's own key to it. A file that shares one server between its tests says so itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from e2e.control_client import Api
from e2e.serverproc import ServeProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServeProcess]:
    running = ServeProcess(tmp_path)
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.said()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path_factory.mktemp("serve")) as running:
        yield running
    assert "Traceback" not in running.said()


@pytest.fixture
async def admin(server: ServeProcess) -> AsyncIterator[Api]:
    async with server.admin() as api:
        yield api

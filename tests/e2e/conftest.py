"""A real server for each test, and the machine's own key to it; a real SFU of either kind, and ours in it. A file that shares one
server between its tests says so itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from e2e.control_client import Api
from e2e.serverproc import ServeProcess
from e2e.sfuproc import made

if TYPE_CHECKING:
    from e2e.test_engine_sfu import Ours


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


@pytest.fixture(params=["livekit", "relay"])
def sfu(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    server = made(request.param, tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def ours(sfu: Any) -> AsyncIterator[Ours]:
    from e2e.test_engine_sfu import Ours

    engine = await Ours(sfu).start()
    yield engine
    await engine.close()

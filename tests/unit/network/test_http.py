"""What the one place that opens HTTP sessions sends along, and what not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from vidconf.client.rest import Rest
from vidconf.network import http
from vidconf.network.http import open_session
from vidconf.network.options import NetworkOptions


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[str | None]]]:
    """A server's address, and the Authorization of each request it got."""
    told: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        told.append(request.headers.get("Authorization"))
        return web.json_response({"meetings": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", told
    await runner.cleanup()


@pytest.fixture
def other_machines(monkeypatch: pytest.MonkeyPatch, no_proxies: None) -> None:
    """This machine counts as another one, for which the system's proxies are asked; there are none."""
    monkeypatch.setattr(http, "is_this_machine", lambda host: False)


@pytest.mark.usefixtures("other_machines")
async def test_passwords_of_a_users_netrc_go_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, list[str | None]]
) -> None:
    origin, told = server
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login an password word-of-another-program\ndefault login an password another\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    rest = Rest(origin)
    await rest.ask("GET", "/api/v1/meetings/by-code/abcd-efgh")
    await rest.upcoming("access-token")
    await rest.close()
    async with open_session(NetworkOptions(), origin) as session, session.get(origin):
        pass
    assert told == [None, "Bearer access-token", None]

"""How commands on the server's own machine reach it: over its local URL while it runs, else straight to its storage.

For `account`, `meeting` and `audit`. A running server writes `server.json` (0600) into its data folder; a file left by one that
was killed is seen through, because nobody answers there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import click

from vidconf.server.app import read_facts
from vidconf.server.config import default_data
from vidconf.server.storage import FILE, Storage, StorageError

DEFAULT_URL = "http://127.0.0.1:8080"
CALL_S = 30.0
Answer = TypeVar("Answer")

data_option = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=default_data, metavar="DIR",
    help="The server's data folder, as given to `serve`.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


class CallRefused(Exception):
    """The running server answered no. `code` is its code, `detail` its detail."""

    def __init__(self, code: str, detail: dict[str, Any]) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class LocalServer:
    """The server that runs on `data`, with the machine's own key."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self._key = url, key

    @classmethod
    async def running(cls, data: Path) -> LocalServer | None:
        facts = read_facts(data)
        url, key = (facts.get("local_url"), facts.get("admin_key")) if facts is not None else (None, None)
        if not isinstance(url, str) or not isinstance(key, str):
            return None
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/healthz") as response:
                return cls(url, key) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Raises CallRefused; ClickException when it is gone."""
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            timeout = aiohttp.ClientTimeout(total=CALL_S)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, self.url + path, json=body, headers=headers) as response,
            ):
                found = await response.json(content_type=None)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise click.ClickException(f"the server at {self.url} does not answer: {error}") from None
        answer: dict[str, Any] = found if isinstance(found, dict) else {}
        if status >= 400:
            raise CallRefused(str(answer.get("error") or answer.get("refused") or status), answer.get("detail") or {})
        return answer


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """`asyncio.run`, with what went wrong said in one line."""
    try:
        return asyncio.run(work)
    except CallRefused as refused:
        why = refused.detail.get("reason") or json.dumps(refused.detail, ensure_ascii=False) if refused.detail else ""
        raise click.ClickException(f"{refused.code}{': ' if why else ''}{why}") from None
    except StorageError as error:
        raise click.ClickException(str(error)) from None


async def either(
    data: Path, running: Callable[[LocalServer], Awaitable[Answer]], resting: Callable[[Storage], Awaitable[Answer]], *, make: bool = False
) -> Answer:
    """`running` with the server that runs on `data`, else `resting` on its storage. `make`: storage may be made anew."""
    server = await LocalServer.running(data)
    if server is not None:
        return await running(server)
    if not make and not (data / FILE).exists():
        raise click.ClickException(f"there is no server's data in {data}: give its folder with --data")
    storage = await Storage.open(data)
    try:
        return await resting(storage)
    finally:
        await storage.close()


async def public_url(storage: Storage) -> str:
    """What links show: the address of the server's last run."""
    return (await storage.setting("public_url")) or DEFAULT_URL


def print_json(document: Any) -> None:
    json.dump(document, sys.stdout, ensure_ascii=False)
    print()

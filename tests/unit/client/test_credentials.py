"""Tokens in the keyring where there is one, else for this run only and said so; other people's keyrings in every state."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringError, PasswordDeleteError

from vidconf.client.credentials import ENTRY_LIMIT, USER, Credentials, Kept, KeyringUnusable, system_keyring

ORIGIN, OTHER = "https://hop.example.vn", "https://bo.example.vn:8443"
BINH = Kept("Trần Thị Bình", "refresh-1", "organiser")


class InMemory(KeyringBackend):
    """A real back end of the keyring package that keeps its entries in a dict; `breaks` and `hangs` name what it fails at."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.breaks: set[str] = set()
        self.hangs: set[str] = set()
        self.release = threading.Event()
        self.calls: list[str] = []

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if what in self.hangs:
            self.release.wait(30)
        if what in self.breaks:
            raise KeyringError("no such interface 'org.freedesktop.Secret'")

    def get_password(self, service: str, username: str) -> str | None:
        self._do("get")
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._do("set")
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._do("delete")
        if self.entries.pop((service, username), None) is None:
            raise PasswordDeleteError("not there")


@pytest.fixture
def backend() -> Iterator[InMemory]:
    """Ours is the system's keyring."""
    before = keyring.get_keyring()
    made = InMemory()
    keyring.set_keyring(made)
    yield made
    made.release.set()
    keyring.set_keyring(before)


def entry(origin: str) -> tuple[str, str]:
    return f"vidconf {origin}", USER


async def test_kept_by_server_and_found_in_the_next_run(backend: InMemory) -> None:
    first = Credentials()
    assert await first.get(ORIGIN) is None
    assert await first.put(ORIGIN, BINH)
    assert await first.put(OTHER, Kept("Khác", "refresh-9"))
    again = Credentials()
    assert await again.get(ORIGIN) == (BINH, True)
    assert await again.get(OTHER) == (Kept("Khác", "refresh-9", "member"), True)
    await again.forget(ORIGIN)
    assert await again.get(ORIGIN) is None
    assert await Credentials().get(ORIGIN) is None
    assert list(backend.entries) == [entry(OTHER)]


async def test_forgetting_what_was_never_kept(backend: InMemory) -> None:
    await Credentials().forget(ORIGIN)
    assert "delete" not in backend.calls


async def test_not_to_be_kept(backend: InMemory) -> None:
    credentials = Credentials()
    assert await credentials.put(ORIGIN, BINH)
    assert not await credentials.put(ORIGIN, Kept("Trần Thị Bình", "refresh-2"), keep=False)
    assert backend.entries == {}, "what the keyring had is used up"
    assert await credentials.get(ORIGIN) == (Kept("Trần Thị Bình", "refresh-2"), False)
    assert await Credentials().get(ORIGIN) is None


@pytest.mark.parametrize("without", [fail.Keyring, null.Keyring])
async def test_no_keyring_here(backend: InMemory, without: type[KeyringBackend]) -> None:
    keyring.set_keyring(without())
    with pytest.raises(KeyringUnusable):
        system_keyring()
    credentials = Credentials()
    assert not await credentials.put(ORIGIN, BINH), "said so"
    assert await credentials.get(ORIGIN) == (BINH, False), "good for this run"
    assert not credentials.usable
    assert credentials.counts["none"] == 1, "looked for once"
    await credentials.forget(ORIGIN)
    assert await credentials.get(ORIGIN) is None


async def test_bots_use_none() -> None:
    credentials = Credentials(None)
    assert not await credentials.put(ORIGIN, BINH)
    assert await credentials.get(ORIGIN) == (BINH, False)
    assert threading.active_count() < 20


async def test_a_back_end_that_breaks_costs_the_keeping_not_the_sign_in(backend: InMemory) -> None:
    backend.breaks = {"get", "set", "delete"}
    credentials = Credentials()
    assert await credentials.get(ORIGIN) is None
    assert not await credentials.put(ORIGIN, BINH)
    assert await credentials.get(ORIGIN) == (BINH, False)
    assert credentials.counts["write_failed"] == 1
    backend.breaks = set()
    assert await credentials.put(ORIGIN, BINH), "a keyring that was locked and is open now is used again"
    assert await credentials.get(ORIGIN) == (BINH, True)


async def test_an_older_token_never_comes_back_over_a_newer_one(backend: InMemory) -> None:
    """Each refresh token is good once: what could not be written must not be answered by what lies there still."""
    credentials = Credentials()
    assert await credentials.put(ORIGIN, BINH)
    newer = Kept("Trần Thị Bình", "refresh-2", "organiser")
    backend.breaks = {"set"}
    assert not await credentials.put(ORIGIN, newer)
    assert await credentials.get(ORIGIN) == (newer, False)
    assert backend.entries == {}, "the next run is to sign in rather than to use a token twice"
    backend.breaks = {"set", "delete"}
    backend.entries[entry(ORIGIN)] = json.dumps({"name": "Trần Thị Bình", "refresh_token": "refresh-1"})
    assert not await credentials.put(ORIGIN, newer)
    assert await credentials.get(ORIGIN) == (newer, False)
    await credentials.forget(ORIGIN)
    backend.breaks = set()
    assert await credentials.put(ORIGIN, BINH)
    assert await credentials.get(ORIGIN) == (BINH, True)


async def test_too_long_for_windows(backend: InMemory) -> None:
    credentials = Credentials()
    assert await credentials.put(ORIGIN, BINH)
    long = Kept("Trần Thị Bình", "r" * ENTRY_LIMIT)
    assert not await credentials.put(ORIGIN, long)
    assert backend.entries == {}
    assert await credentials.get(ORIGIN) == (long, False)


async def test_a_keyring_that_hangs_is_waited_for_once(backend: InMemory) -> None:
    backend.hangs = {"set"}
    credentials = Credentials(timeout_s=0.1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert not await credentials.put(ORIGIN, BINH)
    assert await credentials.get(ORIGIN) == (BINH, False)
    assert loop.time() - began < 2
    assert (credentials.usable, credentials.counts["timeout"]) == (False, 1)
    backend.release.set()
    await asyncio.sleep(0.05)
    assert await credentials.get(ORIGIN) == (BINH, False), "the late answer changes nothing"


async def test_the_loop_goes_on_while_a_keyring_asks_the_user(backend: InMemory) -> None:
    backend.hangs = {"get"}
    credentials = Credentials()
    asking = asyncio.create_task(credentials.get(ORIGIN))
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert not asking.done()
    backend.release.set()
    assert await asking is None


@pytest.mark.parametrize(
    "found",
    ["", "refresh-1", "[]", "null", "{}", '{"name": "A"}', '{"name": "A", "refresh_token": ""}', '{"name": 1, "refresh_token": "r"}',
     '{"name": "A", "refresh_token": "r", "role": null}', "[" * 50_000],
)  # fmt: skip
async def test_an_entry_that_is_none_of_ours(backend: InMemory, found: str) -> None:
    backend.entries[entry(ORIGIN)] = found
    assert await Credentials().get(ORIGIN) is None


async def test_a_token_is_in_no_repr() -> None:
    assert "refresh-1" not in repr(BINH)

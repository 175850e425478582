"""The running client and an update site: what it tells, when it refuses to join, how the portable program brings itself up to date."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakes.engine import FakeEngine
from fakes.portable_program import made_portable, packed, started
from fakes.toy_server import CODE, ToyServer, until
from fakes.update_site import UpdateSite, update_site

from vidconf.cli import bot
from vidconf.client.changes import Navigate
from vidconf.client.core import Client
from vidconf.client.credentials import Credentials
from vidconf.client.phases import JoinStarted, LinkOpened
from vidconf.client.policies.files import FilePolicies
from vidconf.client.settings import Settings
from vidconf.client.state import JoinLink, UpdateView
from vidconf.client.updates import watch as updates
from vidconf.client.updates.memory import NAME, Seen, recall, remember
from vidconf.client.updates.portable import Portable
from vidconf.client.updates.release import portable_kind
from vidconf.client.updates.watch import Place

Make = Callable[..., Awaitable[Client]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[UpdateSite]:
    with update_site(tmp_path) as made:
        yield made


@pytest.fixture
async def make(site: UpdateSite, tmp_path: Path) -> AsyncIterator[Make]:
    """A client of version 1.0.0 that asks the site at once."""
    root = tmp_path / "update-root.json"
    root.write_bytes(site.root)
    clients: list[Client] = []

    async def made(own: str = "1.0.0", portable: Portable | None = None, roots: tuple[Path, ...] = (root,), **settings: Any) -> Client:
        held = Settings()
        for key, value in {"update_url": site.url, **settings}.items():
            held.set(key, value)
        client = Client(FakeEngine(), held, Credentials(None))
        client.updates.own = own
        client.updates.place = Place(tmp_path / "memory", roots, portable, first_s=(0, 0), again_s=(0.05, 0.1))
        clients.append(client)
        await client.start()
        return client

    yield made
    for client in clients:
        await client.close()


def shown(client: Client) -> UpdateView | None:
    return client.store.state.update


def seen(tmp_path: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((tmp_path / "memory" / NAME).read_text())
    return held


# ---- what is told ----


async def test_a_newer_version_is_told_and_put_away_for_good(site: UpdateSite, make: Make, tmp_path: Path) -> None:
    site.publish("1.1", page="https://intranet.example.gov.vn/vidconf")
    client = await make()
    await until(lambda: shown(client))
    assert shown(client) == UpdateView("1.1", "https://intranet.example.gov.vn/vidconf", {"vi": "Sửa lỗi", "en": "Fixes"})
    client.actions.put_away_update()
    assert shown(client) is None
    await until(lambda: seen(tmp_path)["put_away"] == "1.1")
    again = await make()
    await until(lambda: again.updates._seen.at > 0)
    assert shown(again) is None
    site.publish("1.2")
    later = await make()
    await until(lambda: shown(later))
    assert shown(later) == UpdateView("1.2", "", {"vi": "Sửa lỗi", "en": "Fixes"}), "another version is told again"


@pytest.mark.parametrize("own", ["1.1.0", "1.1", "2.0"])
async def test_nothing_is_told_where_there_is_nothing_newer(site: UpdateSite, make: Make, tmp_path: Path, own: str) -> None:
    site.publish("1.1")
    client = await make(own)
    await until(lambda: (tmp_path / "memory" / NAME).exists())
    assert shown(client) is None
    assert client.updates.needed() == ""


@pytest.mark.parametrize("settings", [{"update_mode": "off"}, {"update_url": ""}])
async def test_who_wants_no_updates_asks_nobody(site: UpdateSite, make: Make, tmp_path: Path, settings: dict[str, Any]) -> None:
    site.publish("1.1", minimum="1.1")
    client = await make(**settings)
    await asyncio.sleep(0.2)
    assert site.asked == []
    assert client.updates.needed() == ""
    assert not (tmp_path / "memory").exists()


async def test_a_policy_that_comes_later_counts_at_once(site: UpdateSite, make: Make) -> None:
    site.publish("1.1")
    client = await make(update_mode="off")
    client.settings.set("update_mode", "notify")
    await until(lambda: shown(client))
    client.settings.set("update_mode", "off")
    await until(lambda: shown(client) is None)


async def test_without_a_trusted_root_nothing_is_asked(site: UpdateSite, make: Make, tmp_path: Path) -> None:
    site.publish("1.1")
    client = await make(roots=(tmp_path / "none",))
    await until(lambda: client.updates._seen.trouble == "no_root")
    assert site.asked == []


async def test_a_site_that_is_not_believed_is_a_line_in_the_log_only(
    site: UpdateSite, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.publish("1.1", now=datetime.now(UTC) - timedelta(days=30))
    with caplog.at_level(logging.WARNING):
        client = await make()
        await until(lambda: (tmp_path / "memory" / NAME).exists())
    assert "the update site is not believed: expired" in caplog.text
    assert shown(client) is None
    assert client.store.state.notices == ()
    assert seen(tmp_path)["trouble"] == "expired"
    site.repository.refresh(site.keys)
    await until(lambda: shown(client))  # it asks again by itself


async def test_a_silent_site_holds_nothing_up(site: UpdateSite, make: Make) -> None:
    """Neither the loop nor the end."""
    asked = threading.Event()

    def silent(handler: Any) -> None:
        asked.set()
        time.sleep(2)

    site.answers["/metadata/2.root.json"] = silent
    client = await make()
    await until(asked.is_set)
    longest, last = 0.0, time.monotonic()
    for _ in range(20):
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 0.5
    began = time.monotonic()
    await client.close()
    assert time.monotonic() - began < 1.0


# ---- who may join ----


async def knock(client: Client, toy: ToyServer) -> None:
    client.settings.set("known_servers", (toy.origin,))
    await client.actions.open_link(f"{toy.origin}/m/{CODE}")
    client.actions.set_name("Lê Văn An")
    await client.actions.join()


@pytest.mark.parametrize(
    ("minimum", "own", "needed"), [("1.2", "1.1.9", "1.2.0"), ("1.2", "1.2rc1", "1.2.0"), ("1.2", "1.2", ""), ("", "1.0", "")]
)
async def test_policy_says_which_version_may_join(make: Make, toy: ToyServer, minimum: str, own: str, needed: str) -> None:
    client = await make(own, min_version=minimum, update_url="")
    assert client.updates.needed() == needed
    await knock(client, toy)
    state = client.store.state
    if needed:
        assert (state.phase, state.join_error, state.join_detail) == ("prejoin", "version_too_old", {"needed": needed, "own": own})
    else:
        assert state.phase == "lobby"


async def test_the_update_site_says_it_too_and_is_remembered(site: UpdateSite, make: Make, toy: ToyServer, tmp_path: Path) -> None:
    site.publish("1.5", minimum="1.2")
    client = await make("1.1")
    await until(lambda: client.updates.needed() == "1.2")
    await knock(client, toy)
    assert client.store.state.join_error == "version_too_old"
    await until(lambda: (tmp_path / "memory" / NAME).exists() and (seen(tmp_path)["release"] or {}).get("minimum") == "1.2")
    await client.close()
    site.answers["/metadata/2.root.json"] = 500  # the site is away: what it signed before holds
    again = await make("1.1")
    await until(lambda: again.updates.needed() == "1.2")


async def test_the_higher_word_counts(site: UpdateSite, make: Make) -> None:
    site.publish("1.5", minimum="1.4")
    client = await make("1.1", min_version="1.3")
    assert client.updates.needed() == "1.3.0"
    await until(lambda: client.updates.needed() == "1.4")


async def test_a_minimum_that_is_no_version_is_logged_and_keeps_nobody_out(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    client = await make(min_version="newest", update_url="")
    assert client.updates.needed() == ""
    assert "MinVersion is no version" in caplog.text


def test_a_bot_obeys_policy_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    managed = tmp_path / "policies" / "managed"
    managed.mkdir(parents=True, mode=0o755)
    (managed / "10.json").write_text('{"MinVersion": "99.1"}')
    monkeypatch.setattr(updates, "machine_policies", lambda: FilePolicies(tmp_path / "policies", trusted=(os.getuid(),)))
    done = CliRunner().invoke(bot.command, [f"https://hop.example.vn/m/{CODE}"])
    assert (done.exit_code, "99.1.0 or later" in done.output) == (1, True), done.output
    (managed / "10.json").write_text('{"MinVersion": "newest"}')
    assert updates.too_old_by_policy() == ""


# ---- the portable program ----

portable_here = pytest.mark.skipif(sys.platform == "win32", reason="the made programs are shell scripts")


@portable_here
async def test_the_portable_program_is_the_new_version_next_time(site: UpdateSite, make: Make, tmp_path: Path) -> None:
    place = made_portable(tmp_path, "1.0.0")
    site.publish("1.1.0", files={portable_kind(): packed(tmp_path / "vidconf-1.1.0.zip", "1.1.0")})
    client = await make(portable=place, update_mode="auto")
    await until(lambda: (view := shown(client)) is not None and view.ready)
    assert started(place) == "I am 1.1.0"
    assert list((tmp_path / "memory").rglob("*.zip")) == [], "what was fetched is let go"
    after = await make("1.1.0", portable=Portable(place.root, "1.1.0"), update_mode="auto")
    await until(lambda: [entry.name for entry in place.versions.iterdir()] == ["1.1.0"])
    assert shown(after) is None


@portable_here
@pytest.mark.parametrize("settings", [{"update_mode": "notify"}, {"update_mode": "auto", "portable": None}])
async def test_only_the_portable_program_told_to_replaces_itself(
    site: UpdateSite, make: Make, tmp_path: Path, settings: dict[str, Any]
) -> None:
    place = made_portable(tmp_path, "1.0.0")
    site.publish("1.1.0", files={portable_kind(): packed(tmp_path / "vidconf-1.1.0.zip", "1.1.0")})
    client = await make(**{"portable": place, **settings})
    await until(lambda: shown(client))
    await asyncio.sleep(0.2)
    assert shown(client) == UpdateView("1.1.0", "", {"vi": "Sửa lỗi", "en": "Fixes"})
    assert not [path for path in site.asked if path.endswith(".zip")]
    assert started(place) == "I am 1.0.0"


@portable_here
async def test_a_changed_zip_is_not_unpacked(site: UpdateSite, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = made_portable(tmp_path, "1.0.0")
    site.publish("1.1.0", files={portable_kind(): packed(tmp_path / "vidconf-1.1.0.zip", "1.1.0")})
    (stored,) = site.folder.glob("targets/*.zip")
    good = stored.read_bytes()
    stored.write_bytes(
        packed(tmp_path / "evil.zip", "1.1.0", {"vidconf": b"#!/bin/sh\necho evil\n"}).read_bytes().ljust(len(good), b"\0")[: len(good)]
    )
    client = await make(portable=place, update_mode="auto")
    await until(lambda: "1.1.0 was not brought in: tampered" in caplog.text)
    assert shown(client) == UpdateView("1.1.0", "", {"vi": "Sửa lỗi", "en": "Fixes"}, ready=False, own_doing=True)
    assert [entry.name for entry in place.versions.iterdir()] == ["1.0.0"]
    stored.write_bytes(good)
    await until(lambda: started(place) == "I am 1.1.0")


@portable_here
async def test_nothing_is_brought_in_during_a_meeting(site: UpdateSite, make: Make, tmp_path: Path) -> None:
    """A meeting that begins while the file is on its way ends that; after it, it is made up for."""
    place, on_the_way = made_portable(tmp_path, "1.0.0"), threading.Event()
    site.publish("1.1.0", files={portable_kind(): packed(tmp_path / "vidconf-1.1.0.zip", "1.1.0")})
    (stored,) = site.folder.glob("targets/*.zip")

    def slowly(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        for byte in stored.read_bytes():
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            on_the_way.set()
            time.sleep(0.02)

    site.answers[f"/targets/{stored.name}"] = slowly
    client = await make(portable=place, update_mode="auto")
    await until(on_the_way.is_set)
    client.store.dispatch(Navigate(LinkOpened(JoinLink("https://hop.example", "abcd"))))
    client.store.dispatch(Navigate(JoinStarted()))
    assert client.store.state.phase == "joining"
    await until(lambda: not client.updates._quiet.is_set())
    del site.answers[f"/targets/{stored.name}"]
    await asyncio.sleep(0.3)
    assert started(place) == "I am 1.0.0"
    await client.actions.cancel()
    assert client.store.state.phase == "prejoin"
    await until(lambda: started(place) == "I am 1.1.0")


# ---- what is remembered ----


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 9999,
        '{"url": 1}',
        '{"url": "u", "at": NaN, "trouble": "", "put_away": "", "release": null}',
        "\x00" * 99,
    ],
)
def test_a_broken_memory_is_no_memory(tmp_path: Path, raw: str) -> None:
    (tmp_path / NAME).write_text(raw)
    assert recall(tmp_path, "u") == Seen("u")


def test_what_another_site_said_is_not_this_ones(tmp_path: Path) -> None:
    remember(tmp_path, Seen("a", 5.0, "expired"))
    assert recall(tmp_path, "a") == Seen("a", 5.0, "expired")
    assert recall(tmp_path, "b") == Seen("b")


def test_a_memory_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    remember(tmp_path / "file", Seen("a"))
    assert "not remembered" in caplog.text

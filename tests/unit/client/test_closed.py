"""What the organisation has closed on this computer: nothing gets around it, and what is open stays open."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakes.engine import FakeEngine
from fakes.toy_server import CODE, ToyServer, until

from vidconf.cli import bot
from vidconf.client import settings as settings_module
from vidconf.client.closed import closed_by_policy, closed_parts, only_server, way_in_closed
from vidconf.client.connection import ReconnectPolicy
from vidconf.client.core import Client
from vidconf.client.credentials import Credentials, Kept
from vidconf.client.policies.files import FilePolicies
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState
from vidconf.engine import api
from vidconf.meeting import messages as m

Make = Callable[..., Awaitable[Client]]


class Office:
    """A folder of policies, and the settings under it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "managed").mkdir(parents=True)
        self.settings = Settings(policies=FilePolicies(folder, trusted=(os.getuid(),)))

    def rule(self, **policies: Any) -> None:
        file = self.folder / "managed" / "10.json"
        file.write_text(json.dumps(policies), encoding="utf-8")
        file.chmod(0o644)
        self.settings.reload_policies()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "policies")


@pytest.fixture
async def make(toy: ToyServer, office: Office) -> AsyncIterator[Make]:
    made: list[Client] = []

    async def build(credentials: Credentials | None = None) -> Client:
        office.settings.set("known_servers", (toy.origin,))
        client = Client(FakeEngine(), office.settings, credentials or Credentials(None), reconnect=ReconnectPolicy((0.0, 0.02)))
        await client.start()
        client.actions.set_name("Lê Văn An")
        made.append(client)
        return client

    yield build
    for one in made:
        await one.close()


def state(client: Client) -> ClientState:
    return client.store.state


def told(client: Client) -> list[str]:
    return [notice.code for notice in state(client).notices]


async def enter(toy: ToyServer, client: Client) -> None:
    await client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await client.actions.join()
    toy.do("server", m.Admit((state(client).me or "",)))
    await until(lambda: state(client).phase == "meeting" and state(client).media == "connected")


# ---- what the settings say ----


def test_nothing_is_closed_by_itself() -> None:
    assert closed_parts(Settings()) == frozenset()


def test_each_policy_closes_its_part(office: Office) -> None:
    office.rule(AllowPasswordLogin=False, GuestJoin=0, DisableScreenShare=True, DisableChat=1)
    assert closed_parts(office.settings) == {"password_login", "guest_join", "screen_share", "chat"}
    office.rule(ServerURL="https://hop.example.vn", ServerURLLocked=True)
    assert closed_parts(office.settings) == {"other_servers"}
    assert only_server(office.settings) == "https://hop.example.vn"


def test_the_lock_needs_a_server_that_administrators_named(office: Office) -> None:
    office.rule(ServerURLLocked=True)
    assert closed_parts(office.settings) == frozenset()
    office.settings.set("server", "https://own.example.vn")
    assert closed_parts(office.settings) == frozenset(), "one's own choice is not the organisation's"


def test_which_way_in_is_left() -> None:
    assert way_in_closed(frozenset(), signed_in=False) == ""
    assert way_in_closed(frozenset({"password_login"}), signed_in=False) == ""
    assert way_in_closed(frozenset({"guest_join"}), signed_in=True) == ""
    assert way_in_closed(frozenset({"guest_join"}), signed_in=False) == "guest_join_closed"
    assert way_in_closed(frozenset({"guest_join", "password_login"}), signed_in=False) == "no_way_in"


# ---- servers ----


@pytest.mark.parametrize(
    "link", ["https://other.example.vn/m/abcd-efgh", "vidconf://hop.example.vn:8443/m/abcd-efgh", "http://127.0.0.1:9/m/abcd-efgh"]
)
async def test_a_link_to_another_server_is_refused(make: Make, office: Office, link: str) -> None:
    office.rule(ServerURL="https://hop.example.vn", ServerURLLocked=True)
    client = await make()
    await client.actions.open_link(link)
    assert (state(client).phase, state(client).join_error) == ("home", "link_not_allowed")
    await client.actions.sign_in(link.partition("/m/")[0].replace("vidconf:", "https:"), "an", "secret")
    assert state(client).join_error == "link_not_allowed"
    assert state(client).account is None
    before = office.settings.text("server")
    client.actions.change_setting("server", "https://other.example.vn")
    assert office.settings.text("server") == before
    assert "setting_locked" in told(client)


async def test_the_named_server_is_used(make: Make, office: Office, toy: ToyServer) -> None:
    office.rule(ServerURL=toy.origin, ServerURLLocked=True)
    client = await make()
    await client.actions.open_link(CODE)
    await client.actions.join()
    assert state(client).phase == "lobby"


async def test_a_link_on_the_screen_when_the_lock_comes_is_not_followed(make: Make, office: Office, toy: ToyServer) -> None:
    client = await make()
    await client.actions.open_link(f"{toy.origin}/m/{CODE}")
    office.rule(ServerURL="https://hop.example.vn", ServerURLLocked=True)
    await client.actions.join()
    assert (state(client).phase, state(client).join_error) == ("prejoin", "link_not_allowed")


async def test_the_settings_cannot_name_another_under_a_recommended_server(make: Make, office: Office, toy: ToyServer) -> None:
    (office.folder / "recommended").mkdir()
    file = office.folder / "recommended" / "1.json"
    file.write_text(json.dumps({"ServerURL": toy.origin}), encoding="utf-8")
    file.chmod(0o644)
    office.rule(ServerURLLocked=True)
    client = await make()
    client.actions.change_setting("server", "https://other.example.vn")
    assert office.settings.text("server") == toy.origin


async def test_a_server_of_last_time_that_is_allowed_no_more_gets_no_word_of_us(make: Make, office: Office, toy: ToyServer) -> None:
    """Nor the token of the account that is kept for it."""
    office.settings.set("server", toy.origin)
    office.rule(AllowedServers=["hop.example.vn"])
    credentials = Credentials(None)
    await credentials.put(toy.origin, Kept("an", "refresh-0", "member"), keep=True)
    toy.good_refresh.add("refresh-0")
    client = await make(credentials)
    await client.actions.refresh_upcoming()
    await client.actions.create_meeting("Giao ban")
    await client.actions.open_link(CODE)
    assert toy.good_refresh == {"refresh-0"}, "not asked with it"
    assert (state(client).account, state(client).created) == (None, None)
    client.actions.change_setting("server", "https://other.example.vn")
    assert office.settings.text("server") == toy.origin
    client.actions.change_setting("server", "https://hop.example.vn")
    assert office.settings.text("server") == "https://hop.example.vn"


async def test_a_list_of_servers_that_comes_while_the_program_runs_counts_at_once(make: Make, office: Office, toy: ToyServer) -> None:
    client = await make()
    await client.actions.sign_in(toy.origin, "an", "đúng")
    await client.actions.open_link(f"{toy.origin}/m/{CODE}")
    office.rule(AllowedServers=["hop.example.vn"])
    await client.actions.create_meeting("Giao ban")
    assert state(client).created is None
    assert state(client).join_error == "link_not_allowed"
    await client.actions.join()
    assert (state(client).phase, state(client).join_error, toy.seats) == ("prejoin", "link_not_allowed", {})


# ---- ways in ----


async def test_without_password_login_there_is_no_signing_in(make: Make, office: Office, toy: ToyServer) -> None:
    office.rule(AllowPasswordLogin=False, ServerURL=toy.origin)
    credentials = Credentials(None)
    await credentials.put(toy.origin, Kept("an", "refresh-0", "member"), keep=True)
    toy.good_refresh.add("refresh-0")
    client = await make(credentials)
    client.actions.open_sign_in()
    assert state(client).phase == "home"
    assert told(client) == ["sign_in_closed"]
    await client.actions.sign_in(toy.origin, "an", "secret")
    assert (state(client).account, state(client).join_error) == (None, "sign_in_closed"), "not by the kept token either"
    await client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await client.actions.join()
    assert state(client).phase == "lobby", "as a guest"


async def test_an_account_is_put_aside_when_signing_in_is_closed_and_back_when_it_opens(make: Make, office: Office, toy: ToyServer) -> None:
    client = await make()
    await client.actions.sign_in(toy.origin, "an", "đúng")
    assert state(client).account is not None
    office.rule(AllowPasswordLogin=False)
    await until(lambda: state(client).account is None)
    office.rule()
    await until(lambda: state(client).account is not None)


async def test_without_guest_join_one_signs_in_first(make: Make, office: Office, toy: ToyServer) -> None:
    office.rule(GuestJoin=False)
    client = await make()
    await client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await client.actions.join()
    assert (state(client).phase, state(client).join_error) == ("prejoin", "guest_join_closed")
    assert toy.seats == {}, "nothing was asked of the server"
    client.actions.open_sign_in()
    assert state(client).phase == "sign_in"
    await client.actions.cancel()
    assert state(client).phase == "prejoin", "giving up leads back to the meeting"
    client.actions.open_sign_in()
    await client.actions.sign_in("", "an", "đúng")
    assert state(client).phase == "prejoin"
    await client.actions.join()
    assert state(client).phase in ("lobby", "meeting")


async def test_with_both_closed_it_says_so(make: Make, office: Office, toy: ToyServer) -> None:
    office.rule(GuestJoin=False, AllowPasswordLogin=False)
    client = await make()
    await client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await client.actions.join()
    assert (state(client).phase, state(client).join_error) == ("prejoin", "no_way_in")


async def test_after_the_end_one_is_led_to_where_one_signs_in(make: Make, office: Office, toy: ToyServer) -> None:
    """The page of the end has no place for an error."""
    client = await make()
    await enter(toy, client)
    await client.actions.leave()
    office.rule(GuestJoin=False)
    await client.actions.join()
    assert (state(client).phase, state(client).join_error) == ("prejoin", "guest_join_closed")


# ---- sharing, chat ----


async def test_nothing_is_shared_by_any_way(make: Make, office: Office, toy: ToyServer) -> None:
    office.rule(DisableScreenShare=True)
    client = await make()
    engine = client.engine
    assert isinstance(engine, FakeEngine)
    client.actions.share("screen:0")
    await enter(toy, client)
    client.actions.share("screen:0", "HDMI-1", True)
    client.actions.share_image("/page.png")
    client.actions.pause_share(False)
    client.actions.list_screens()
    client.actions.command(m.SetSource("screen_share", "on"))
    assert state(client).sources["screen_share"].wanted == "off"
    assert "screen_share" not in engine.open
    assert not any(isinstance(one, api.ListScreens) for one in engine.sent)
    assert told(client) == ["closed_here"]
    refusal = client.actions.can(m.SetSource("screen_share", "on"))
    assert refusal is not None
    assert refusal.code == "closed_here"
    client.actions.set_microphone(True)
    await until(lambda: state(client).sources["microphone"].state == "on")


async def test_what_is_shared_ends_when_it_is_closed(make: Make, office: Office, toy: ToyServer) -> None:
    client = await make()
    await enter(toy, client)
    toy.do("server", m.SetRole(state(client).me or "", "chair"))
    client.actions.share("screen:0", "HDMI-1")
    await until(lambda: state(client).sources["screen_share"].state == "on")
    office.rule(DisableScreenShare=True)
    await until(lambda: state(client).sources["screen_share"].state == "off")
    assert "closed_here" in told(client)


async def test_nothing_is_said_and_nothing_is_shown_in_the_chat(make: Make, office: Office, toy: ToyServer) -> None:
    office.rule(DisableChat=True)
    client = await make()
    await enter(toy, client)
    other, _ = toy.seat("Bình", straight_in=True)
    client.actions.chat("xin chào")
    client.actions.command(m.Chat("xin chào"))
    assert state(client).unsent_chat == ()
    toy.do(other, m.Chat("chào mọi người"))
    await until(lambda: state(client).meeting is not None and len(state(client).meeting.chat) == 1)
    assert state(client).unread_chat == 0
    assert not any(isinstance(one, m.Chat) for one in toy.received)
    assert told(client) == ["closed_here"]
    office.rule()
    client.actions.chat("xin chào")
    await until(lambda: any(isinstance(one, m.Chat) for one in toy.received))


async def test_what_was_typed_before_it_was_closed_stays_here(make: Make, office: Office, toy: ToyServer) -> None:
    client = await make()
    await enter(toy, client)
    toy.drop_before.append("chat")
    client.actions.chat("một")
    await until(lambda: not toy.drop_before)
    office.rule(DisableChat=True)
    await until(lambda: state(client).control == "connected")
    client.actions.set_microphone(True)
    await until(lambda: any(isinstance(one, m.SetSource) and one.state == "on" for one in toy.received))
    assert all(message.text != "một" for message in toy.state.chat)


# ---- how much ----


async def test_the_engine_is_told_what_it_may_send_at_the_start_and_when_policy_changes(make: Make, office: Office) -> None:
    office.rule(MaxVideoHeight=360)
    client = await make()
    engine = client.engine
    assert isinstance(engine, FakeEngine)
    told = lambda: [one for one in engine.sent if isinstance(one, api.SetLimits)]  # noqa: E731
    assert told() == [api.SetLimits(360, 0)]
    office.rule(MaxVideoHeight=360, MaxKbps=800)
    assert told()[-1] == api.SetLimits(360, 800)
    office.rule()
    assert told()[-1] == api.SetLimits(0, 0)


# ---- who joins without settings ----


@pytest.mark.parametrize(
    ("rules", "origin", "code"),
    [
        ({}, "https://a.example", ""),
        ({}, "https://u@a.example", ""),
        ({"GuestJoin": True}, "https://a.example", ""),
        ({"GuestJoin": False}, "https://a.example", "guest_join_closed"),
        ({"AllowedServers": []}, "https://a.example", ""),
        ({"AllowedServers": ["*.gov.vn"]}, "https://hop.gov.vn", ""),
        ({"AllowedServers": ["*.gov.vn"]}, "https://HOP.gov.vn:443", ""),
        ({"AllowedServers": ["*.gov.vn"]}, "https://a.example", "link_not_allowed"),
        ({"AllowedServers": ["hop.gov.vn"]}, "https://hop.gov.vn:x@a.example", "link_host"),
        ({"AllowedServers": ["hop.gov.vn"]}, "https://hop.gov.vn\\.a.example", "link_host"),
        ({"ServerURLLocked": True}, "https://a.example", ""),
        ({"ServerURL": "https://hop.gov.vn"}, "https://a.example", ""),
        ({"ServerURL": "https://hop.gov.vn", "ServerURLLocked": True}, "https://a.example", "link_not_allowed"),
        ({"ServerURL": "https://hop.gov.vn", "ServerURLLocked": True}, "https://hop.gov.vn:8443", "link_not_allowed"),
        ({"ServerURL": "https://hop.gov.vn", "ServerURLLocked": True}, "https://Hop.gov.vn", ""),
        (
            {"ServerURL": "https://hop.gov.vn", "ServerURLLocked": True, "AllowedServers": ["a.example"]},
            "https://hop.gov.vn",
            "link_not_allowed",
        ),
    ],
)
def test_a_guest_without_settings_goes_where_policy_lets_it(office: Office, rules: dict[str, Any], origin: str, code: str) -> None:
    office.rule(**rules)
    assert closed_by_policy(origin, office.settings.policies) == code


def test_a_lock_counts_with_a_server_that_is_only_recommended(office: Office) -> None:
    (office.folder / "recommended").mkdir()
    (office.folder / "recommended" / "10.json").write_text('{"ServerURL": "https://hop.gov.vn", "GuestJoin": false}')
    office.rule(ServerURLLocked=True)
    assert closed_by_policy("https://a.example", office.settings.policies) == "link_not_allowed"
    assert closed_by_policy("https://hop.gov.vn", office.settings.policies) == "", "what is recommended is for who has settings"


@pytest.mark.parametrize(
    ("rules", "link", "said"),
    [
        ({"AllowedServers": ["*.gov.vn"]}, "https://hop.example.vn/m/" + CODE, "AllowedServers"),
        ({"ServerURL": "https://hop.gov.vn", "ServerURLLocked": True}, "https://hop.example.vn/m/" + CODE, "ServerURLLocked"),
        ({"GuestJoin": False}, "https://hop.gov.vn/m/" + CODE, "GuestJoin"),
        ({"AllowedServers": ["hop.gov.vn"]}, "https://hop.gov.vn:x@hop.example.vn/m/" + CODE, "link_host"),
    ],
)
def test_a_bot_obeys(office: Office, monkeypatch: pytest.MonkeyPatch, rules: dict[str, Any], link: str, said: str) -> None:
    office.rule(**rules)
    monkeypatch.setattr(settings_module, "machine_policies", lambda: FilePolicies(office.folder, trusted=(os.getuid(),)))
    done = CliRunner().invoke(bot.command, [link])
    assert (done.exit_code, said in done.output) == (1, True), done.output

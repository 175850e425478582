"""The whole client without a window: joining, the lobby, losses of every kind, accounts, what changes as it runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from fakes.engine import FakeEngine
from fakes.toy_server import CODE, ToyServer, until
from unit.client.core_room import QUICK, Person, enter

from vidconf.client import core
from vidconf.client.core import Client
from vidconf.client.credentials import Credentials
from vidconf.client.policies.files import FilePolicies
from vidconf.client.settings import Settings
from vidconf.client.speaking import HOLD_S
from vidconf.engine import api
from vidconf.meeting import messages as m

# ---- in and out ----


async def test_knock_wait_and_be_admitted(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await one.client.actions.open_link(f"  {toy.origin}/m/{CODE.upper()} ")
    assert one.state.phase == "prejoin"
    assert one.state.link_meeting is not None
    assert one.state.link_meeting.title == "Giao ban"
    assert one.engine.live("microphone"), "pre-join shows the level"
    assert "camera" not in one.engine.open, "never on from a link"
    await one.client.actions.join()
    assert one.state.phase == "lobby"
    assert one.state.lobby_since is not None
    assert one.engine.joined is None, "no media in the lobby"
    assert one.state.meeting is not None
    assert set(one.state.meeting.participants) == {one.state.me}
    toy.do("server", m.Admit((one.state.me or "",)))
    await until(lambda: one.state.phase == "meeting" and one.state.media == "connected")
    assert not one.state.reconnecting
    assert one.engine.joined is not None
    assert one.engine.joined.token.startswith(f"{one.state.me}.1")
    await until(lambda: toy.state.participants[one.state.me or ""].sources.microphone == "on")
    await one.client.actions.leave()
    assert (one.state.phase, one.state.end_reason) == ("ended", "left")
    await until(lambda: not one.engine.open)
    assert all(source.wanted == "off" for source in one.state.sources.values())
    await until(lambda: toy.state.participants["p1"].place == "left")
    await one.client.actions.back_home()
    assert one.state.phase == "home"
    assert one.state.meeting is None


async def test_the_end_of_the_program_while_it_says_goodbye(
    toy: ToyServer, person: Callable[..., Awaitable[Person]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leaves by closing the window does not wait for the server's answer; no connection is left that would come back."""
    one = await person()
    await enter(toy, one)
    connection = one.client.connection
    assert connection is not None
    never = asyncio.Event()
    monkeypatch.setattr(connection, "ask", lambda *_: never.wait())
    leaving = asyncio.create_task(one.client.actions.leave())
    await until(lambda: one.state.phase == "ended")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "control connection"]


async def test_a_chair_link_makes_the_chair(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person("Chủ trì")
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}#k={'s' * 20}")
    await one.client.actions.join()
    assert one.state.phase == "meeting"
    assert one.state.own is not None
    assert one.state.own.role == "chair"
    who, _ = toy.seat("Đại biểu")
    await until(lambda: one.state.meeting is not None and who in one.state.meeting.participants)
    assert one.client.actions.can(m.Admit((who,))) is None
    one.client.actions.admit([who])
    assert ("admit", who) in one.state.pending
    await until(lambda: toy.state.participants[who].place == "admitted" and not one.state.pending)


async def test_denied_and_removed_say_why(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await one.client.actions.join()
    toy.do("server", m.Deny((one.state.me or "",), "Sai phòng"))
    await until(lambda: one.state.phase == "ended")
    assert (one.state.end_reason, one.state.end_detail) == ("denied", {"reason": "Sai phòng"})
    two = await person("Khác")
    await enter(toy, two)
    toy.do("server", m.Remove((two.state.me or "",)))
    await until(lambda: two.state.phase == "ended")
    assert two.state.end_reason == "removed"
    assert two.engine.joined is None
    three = await person("Ba")
    await enter(toy, three)
    toy.do("server", m.End())
    await until(lambda: three.state.phase == "ended")
    assert three.state.end_reason == "meeting_ended"
    await three.client.actions.join()
    assert three.state.phase == "prejoin"
    assert three.state.join_error == "ended"


@pytest.mark.parametrize(
    ("link", "code"),
    [
        ("{origin}/m/zzzz-zzzz-zzzz", "not_found"),
        ("http://127.0.0.1:9/m/" + CODE, "unreachable"),
        ("không phải", "link_code"),
        ("", "link_empty"),
    ],
)
async def test_links_that_lead_nowhere(toy: ToyServer, person: Callable[..., Awaitable[Person]], link: str, code: str) -> None:
    one = await person(known_servers=(toy.origin, "http://127.0.0.1:9"))
    await one.client.actions.open_link(link.format(origin=toy.origin))
    assert one.state.join_error == code
    assert one.state.phase in ("home", "prejoin")


async def test_an_unknown_host_is_asked_nothing_before_the_user_agrees(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    asked: list[str] = []

    def watch(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({"code": CODE, "title": "T"})

    toy.answer_rest = watch
    one = await person(known_servers=())
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}")
    assert one.state.link is not None
    assert one.state.link.confirm
    await one.client.actions.join()
    assert (one.state.phase, asked) == ("prejoin", [])
    toy.answer_rest = None
    await one.client.actions.confirm_host()
    await one.client.actions.join()
    assert one.state.phase == "lobby"
    assert (
        toy.origin in one.client.settings.items("known_servers") or one.client.settings.resolved("known_servers").source == "command line"
    )


async def test_a_link_never_ends_a_running_meeting(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}")
    assert one.state.phase == "meeting"
    assert one.codes() == ["in_meeting"]


async def test_cancelled_while_joining_or_waiting(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    toy.hello_error = "draining"
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}")
    joining = asyncio.create_task(one.client.actions.join())
    await until(lambda: len(toy.hellos) > 1)
    assert one.state.phase == "joining"
    await one.client.actions.cancel()
    assert (one.state.phase, one.state.join_error) == ("prejoin", "")
    joining.cancel()
    toy.hello_error = ""
    await one.client.actions.join()
    assert one.state.phase == "lobby"
    await one.client.actions.cancel()
    assert one.state.phase == "home"
    assert not one.engine.open


async def test_nobody_answers_in_the_lobby(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person(lobby_timeout_s=1)
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await one.client.actions.join()
    await until(lambda: one.state.phase == "ended", 4)
    assert one.state.end_reason == "lobby_timeout"


# ---- losses ----


async def test_nothing_typed_is_lost_and_nothing_is_said_twice(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    other, _ = toy.seat("Nghe", straight_in=True)
    await enter(toy, one)
    who = one.state.me or ""
    said: list[str] = []
    for n in range(12):
        if n % 4 == 1:
            toy.lose_answer_of.append("chat")
        if n % 4 == 2:
            toy.drop_before.append("chat")
        if n % 4 == 3:
            await toy.cut(who)
        said.append(f"câu {n}")
        one.client.actions.chat(said[-1])
        await asyncio.sleep(0.01)
    await until(lambda: not one.state.unsent_chat)
    assert [message.text for message in toy.state.chat] == said
    assert [message.text for message in one.state.meeting.chat] == said  # type: ignore[union-attr]
    assert one.state.unread_chat == 0
    toy.do(other, m.Chat("nghe rõ"))
    await until(lambda: one.state.unread_chat == 1)
    one.client.actions.chat_seen()
    assert one.state.unread_chat == 0


async def test_a_refused_message_stays_with_its_reason(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    toy.do("server", m.SetPermission("chat", "moderators"))
    one.client.actions.chat("xin chào")
    await until(lambda: bool(one.state.unsent_chat) and one.state.unsent_chat[0].error == "chat_closed")
    toy.do("server", m.SetPermission("chat", "all"))
    one.client.actions.chat_again(one.state.unsent_chat[0].key)
    await until(lambda: not one.state.unsent_chat)
    assert toy.state.chat[0].text == "xin chào"


async def test_a_seat_lost_while_away_is_taken_again(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    who = one.state.me or ""
    one.client.actions.set_microphone(False)
    await until(lambda: toy.state.participants[who].sources.microphone == "muted")
    toy.do("server", m.Expire(who)) if toy.sockets.pop(who, None) is None else None
    socket_gone = toy.state.participants[who]
    assert socket_gone.place == "admitted"
    toy.do("server", m.Disconnect(who))
    toy.do("server", m.Expire(who))
    assert toy.state.participants[who].place == "left"
    one.client.spawn(one.client.connection.renew(), "wake up")  # type: ignore[union-attr]
    await until(lambda: one.state.reconnecting)
    assert one.state.phase == "meeting", "a bar, not a page"
    await until(lambda: toy.state.participants[who].place == "admitted" and one.state.control == "connected")
    await until(lambda: toy.state.participants[who].sources.microphone == "muted")
    assert not one.state.reconnecting
    assert not one.engine.live("microphone")


async def test_a_refusal_becomes_a_notice_with_its_code(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    refusal = one.client.actions.can(m.Lock())
    assert refusal is not None
    one.client.actions.lock(True)
    await until(lambda: one.codes() == ["not_allowed"])
    assert one.state.notices[0].family == "refusal"
    assert one.client.actions.can(m.Leave()) is None
    one.client.actions.dismiss(one.state.notices[0].id)
    assert one.codes() == []


async def test_a_command_whose_answer_was_lost(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    toy.lose_answer_of.append("raise_hand")
    one.client.actions.raise_hand()
    await until(lambda: not one.state.pending and one.state.control == "connected")
    assert one.codes() == [], "it came true: nothing to tell"
    toy.drop_before.append("lower_hand")
    one.client.actions.lower_hand()
    await until(lambda: one.codes() == ["answer_lost"])


async def test_speakers_tracks_and_volumes(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    one.client.actions.set_volume("p9", 0.5)
    one.engine.say(api.TrackAdded("T1", "p9.2", "microphone", "audio"), api.TrackAdded("T2", "p9.2", "camera", "video"))
    one.engine.say(api.RingOpened("T2", "ring"), api.FirstFrame("T2"), api.Quality("p9.2", "good"))
    await until(lambda: one.state.quality.get("p9") == "good")
    assert one.state.tracks["T2"].participant == "p9"
    assert (one.state.tracks["T2"].ring, one.state.tracks["T2"].first_frame) == ("ring", True)
    assert api.SetVolume("p9.2", 0.5) in one.engine.sent
    for _ in range(4):
        one.engine.say(api.Speakers((("p9.2", 0.4),)))
        await asyncio.sleep(0.08)
    await until(lambda: [who for who, _ in one.state.speaking] == ["p9"])
    assert one.state.main_speaker == "p9"
    one.engine.say(api.Speakers(()))
    await until(lambda: one.state.speaking == (), 3)
    assert one.state.main_speaker == "p9", "the stage does not jump when all are silent"
    one.engine.say(api.TrackRemoved("T2"), api.TrackMuted("T1", True))
    await until(lambda: set(one.state.tracks) == {"T1"} and one.state.tracks["T1"].muted)


async def test_who_speaks_evenly_is_told_once_and_speaks_until_told_otherwise(
    toy: ToyServer, person: Callable[..., Awaitable[Person]]
) -> None:
    """An SFU tells changes only."""
    one = await person()
    await enter(toy, one)
    one.engine.say(api.Speakers((("p9.2", 0.125),)))
    await until(lambda: [who for who, _ in one.state.speaking] == ["p9"], 3)
    await asyncio.sleep(1.5 * HOLD_S)
    assert [who for who, _ in one.state.speaking] == ["p9"]
    assert one.state.main_speaker == "p9"
    one.engine.say(api.Speakers(()))
    await until(lambda: one.state.speaking == (), 3)


async def test_reactions_pass(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    one.client.actions.react("👏")
    await until(lambda: [(r.participant, r.emoji) for r in one.state.reactions] == [(one.state.me, "👏")])


# ---- accounts ----


async def test_signing_in_and_out(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await one.client.actions.sign_in(toy.origin, "binh", "sai")
    assert one.state.join_error == "wrong_password"
    await one.client.actions.sign_in(toy.origin, "binh", "đúng")
    assert one.state.account is not None
    assert (one.state.account.name, one.state.account.token_kept) == ("Trần Thị Bình", False)
    assert one.state.name == "Trần Thị Bình"
    one.client.actions.set_name("Ai khác")
    assert one.state.name == "Trần Thị Bình", "the account's"
    assert [meeting.title for meeting in one.state.upcoming] == ["Giao ban"]
    await one.client.actions.create_meeting("Họp kín", lobby=True)
    assert one.state.created is not None
    assert one.state.created["title"] == "Họp kín"
    await one.client.actions.sign_out()
    assert one.state.account is None
    assert one.state.upcoming == ()
    assert one.state.name == "Lê Văn An" or one.state.name == ""
    assert not toy.good_refresh


async def test_the_switch_to_stay_signed_in_holds_at_once(toy: ToyServer) -> None:
    entries: dict[str, str] = {}

    class Dict:
        def get_password(self, service: str, username: str) -> str | None:
            return entries.get(service)

        def set_password(self, service: str, username: str, password: str) -> None:
            entries[service] = password

        def delete_password(self, service: str, username: str) -> None:
            del entries[service]

    client = Client(FakeEngine(), Settings(), Credentials(Dict), reconnect=QUICK)
    await client.start()
    await client.actions.sign_in(toy.origin, "binh", "đúng")
    assert client.store.state.account is not None
    assert client.store.state.account.token_kept
    client.actions.change_setting("keep_signed_in", False)
    await until(lambda: entries == {} and client.store.state.account is not None and not client.store.state.account.token_kept)
    client.actions.change_setting("keep_signed_in", True)
    await until(lambda: len(entries) == 1 and client.store.state.account is not None and client.store.state.account.token_kept)
    await client.close()


async def test_closing_in_the_middle_of_anything(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    for moment in range(4):
        one = await person(f"Người {moment}")
        task = asyncio.create_task(enter(toy, one))
        await asyncio.sleep(0.015 * moment)
        task.cancel()
        await one.client.close()
        assert not one.engine.open


async def test_policies_are_read_again_while_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "POLICY_S", 0.05)
    monkeypatch.setattr(core, "TICK_S", 0.02)
    folder = tmp_path / "managed"
    folder.mkdir(mode=0o755)
    settings, told = Settings(policies=FilePolicies(tmp_path, trusted=(os.getuid(),))), []
    settings.subscribe(told.append)
    client = Client(FakeEngine(), settings, Credentials(None))
    await client.start()
    try:
        (folder / "10.json").write_text('{"NoiseSuppression": false}')
        (folder / "10.json").chmod(0o644)
        await until(lambda: settings.resolved("noise_suppression").locked)
        assert told == ["noise_suppression"]
        (folder / "10.json").unlink()
        await until(lambda: not settings.resolved("noise_suppression").locked)
        assert told == ["noise_suppression"] * 2
    finally:
        await client.close()


async def test_the_voice_is_processed_as_the_settings_say(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person(noise_suppression=False)
    assert one.engine.of(api.SetVoice) == [api.SetVoice(noise_suppression=False)]
    one.client.settings.set("dtx", True)
    one.client.settings.set("theme", "dark")
    assert one.engine.of(api.SetVoice)[1:] == [api.SetVoice(noise_suppression=False, dtx=True)]


async def test_the_network_s_options_reach_the_engine_and_every_new_connection(
    toy: ToyServer, person: Callable[..., Awaitable[Person]]
) -> None:
    """At once when a policy changes; what lives on a connection goes on there."""
    one = await person(udp_port_min=50_000, udp_port_max=50_099, dscp=46)
    assert one.engine.of(api.SetNetwork) == [api.SetNetwork(udp_port_min=50_000, udp_port_max=50_099, dscp=46)]
    rest = one.client.entry.rest(toy.origin)
    before = rest.http()
    assert rest.http() is before
    one.client.settings.set("ice_transport", "relay_tls")
    one.client.settings.set("theme", "dark")
    assert one.engine.of(api.SetNetwork)[1:] == [
        api.SetNetwork(udp_port_min=50_000, udp_port_max=50_099, dscp=46, ice_transport="relay_tls")
    ]
    after = rest.http()
    assert after is not before
    assert not before.closed
    await rest.close()
    assert before.closed
    assert after.closed

"""The whole client without a window: microphone, camera and share, who may open them, and where media goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fakes.toy_server import CODE, ToyServer, until
from unit.client.core_room import Person, enter

from vidconf.engine import api
from vidconf.meeting import messages as m


async def test_what_is_chosen_is_what_is_sent(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person(start_muted=True)
    await enter(toy, one)
    who = one.state.me or ""
    await until(lambda: toy.state.participants[who].sources.microphone == "muted")
    one.client.actions.set_microphone(True)
    assert one.state.sources["microphone"].pending
    await until(lambda: toy.state.participants[who].sources.microphone == "on")
    assert not one.state.sources["microphone"].pending
    one.client.actions.set_camera(True)
    await until(lambda: toy.state.participants[who].sources.camera == "on")
    one.client.actions.set_camera(False)
    await until(lambda: toy.state.participants[who].sources.camera == "muted")
    one.client.actions.share_image("/tmp/page.png")
    await until(lambda: toy.state.participants[who].sources.screen_share == "on")
    one.client.actions.stop_share()
    await until(lambda: toy.state.participants[who].sources.screen_share == "off")


async def test_a_camera_that_will_not_open(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    one.engine.missing["camera"] = "device_in_use"
    await enter(toy, one)
    one.client.actions.set_camera(True)
    await until(lambda: one.state.sources["camera"].error == "device_in_use")
    camera = one.state.sources["camera"]
    assert (camera.state, camera.wanted, camera.pending) == ("off", "off", False)
    one.engine.missing.clear()
    one.client.actions.set_camera(True)
    await until(lambda: one.state.sources["camera"].state == "on")
    assert one.state.sources["camera"].error == ""


async def test_a_moderators_mute_is_obeyed_and_kept(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    chair, _ = toy.seat("Chủ trì", "chair", straight_in=True)
    await enter(toy, one)
    who = one.state.me or ""
    await until(lambda: toy.state.participants[who].sources.microphone == "on")
    one.engine.moderator_mutes()
    toy.do(chair, m.Mute((who,)))
    await until(lambda: one.codes() == ["muted_by"])
    assert one.state.notices[0].detail["name"] == "Chủ trì"
    assert not one.engine.live("microphone")
    one.engine.crash()
    await until(lambda: len(one.engine.of(api.Join)) == 2 and one.state.media == "connected")
    assert not one.engine.live("microphone"), "a mute outlives a crash of the engine"
    await toy.cut(who)
    await until(lambda: one.state.control == "connected" and toy.state.participants[who].session == 2)
    assert toy.state.participants[who].sources.microphone == "muted"
    assert not [event for _, step in toy.steps if isinstance(event := step.event, m.SourceChanged) and event.state == "on"][1:]


async def test_letting_go_of_the_talk_key_never_unmutes(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person(start_muted=True)
    await enter(toy, one)
    who = one.state.me or ""
    one.client.actions.talk_while_held(True)
    await until(lambda: toy.state.participants[who].sources.microphone == "on")
    assert one.state.talk_held
    toy.do("server", m.Mute((who,)))
    await until(lambda: not one.engine.live("microphone"))
    assert not one.state.talk_held
    one.client.actions.talk_while_held(False)
    await asyncio.sleep(0.05)
    assert not one.engine.live("microphone")
    assert toy.state.participants[who].sources.microphone == "muted"
    one.client.actions.talk_while_held(True)
    one.client.actions.talk_while_held(False)
    await asyncio.sleep(0.05)
    assert not one.engine.live("microphone")
    one.client.actions.set_microphone(True)
    one.client.actions.talk_while_held(True)
    one.client.actions.talk_while_held(False)
    assert one.engine.live("microphone"), "the key does nothing to who was on anyway"


async def test_permission_is_asked_before_a_device_is_opened(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    toy.do("server", m.SetPermission("microphone", "by_floor"))
    toy.do("server", m.SetPermission("camera", "moderators"))
    await enter(toy, one)
    who = one.state.me or ""
    assert not one.engine.live("microphone"), "what was on before joining may be too much in the room"
    one.client.actions.set_camera(True)
    assert "camera" not in one.engine.open
    assert "moderators_only" in one.codes()
    one.client.actions.talk_while_held(True)
    assert not one.engine.live("microphone")
    toy.do("server", m.GiveFloor(who, 60))
    await until(lambda: one.state.unmute_asked)
    assert not one.engine.live("microphone"), "only asked"
    one.client.actions.answer_unmute(True)
    await until(lambda: toy.state.participants[who].sources.microphone == "on")
    toy.do("server", m.EndFloor())
    await until(lambda: not one.engine.live("microphone"))
    assert not one.state.unmute_asked


async def test_back_in_the_lobby_nothing_is_sent(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    who = one.state.me or ""
    toy.do("server", m.ToLobby((who,)))
    await until(lambda: one.state.phase == "lobby")
    await until(lambda: not one.engine.open and one.engine.joined is None)
    toy.do("server", m.Admit((who,)))
    await until(lambda: one.state.phase == "meeting" and one.state.media == "connected")
    assert not one.engine.live("microphone"), "muted at coming back"
    await until(lambda: toy.state.participants[who].sources.microphone == "muted")


async def test_a_new_room_for_the_media(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    await enter(toy, one)
    toy.do("server", m.NewEpoch())
    await until(lambda: len(one.engine.of(api.Join)) == 2)
    assert one.engine.joined is not None
    assert one.engine.joined.token.endswith("@2")


@pytest.mark.parametrize(
    "grant",
    [{"url": "ws://evil.example", "token": "t"}, {"url": 7, "token": "t"}, {"url": "ws://127.0.0.1"}, {"url": "file:///x", "token": "t"}],
)
async def test_media_goes_to_no_odd_place(toy: ToyServer, person: Callable[..., Awaitable[Person]], grant: dict[str, object]) -> None:
    toy.media_answer = grant
    one = await person()
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await one.client.actions.join()
    toy.do("server", m.Admit((one.state.me or "",)))
    await until(lambda: "media_unavailable" in one.codes())
    assert one.engine.joined is None
    toy.media_answer = None
    await until(lambda: one.engine.joined is not None)


async def test_media_that_cannot_be_reached_is_tried_again(toy: ToyServer, person: Callable[..., Awaitable[Person]]) -> None:
    one = await person()
    one.engine.join_works = False
    await one.client.actions.open_link(f"{toy.origin}/m/{CODE}")
    await one.client.actions.join()
    toy.do("server", m.Admit((one.state.me or "",)))
    await until(lambda: "media_unreachable" in one.codes() and one.state.reconnecting)
    one.engine.join_works = True
    await until(lambda: one.state.media == "connected" and not one.state.reconnecting)

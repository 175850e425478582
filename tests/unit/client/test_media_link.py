"""Between meeting, engine and server: over any losses nobody is heard who did not choose it, and what the server is told is so.

The real rules, the fake engine, no sockets: each step is at once, so a hundred meetings with all their accidents are quick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fakes.engine import FakeEngine
from fakes.meeting_line import ME, MeetingLine
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client import media_link as media_link_module
from vidconf.client.connection import AskError, Refused
from vidconf.client.media_link import MediaLink
from vidconf.client.state import ClientState, LocalSourceName
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.meeting import messages as m
from vidconf.meeting.models import Permissions


class Room:
    """One participant in a meeting, as far as its media goes. `may_be_heard`: the user's own last word, and nobody's against it."""

    def __init__(self, *, site: bool = False) -> None:
        self.store = Store(ClientState())
        self.engine = FakeEngine()
        self.line = MeetingLine(self.store)
        self.media = MediaLink(self.store, self.engine, self.line.ask, site=site)
        self.line.follow(self.media)
        self.run = asyncio.create_task(self.media.run())
        self.may_be_heard = False

    @property
    def state(self) -> ClientState:
        return self.store.state

    async def settle(self) -> None:
        """Until nothing is on its way any more."""
        for _ in range(60):
            await asyncio.sleep(0)

    async def enter(self, microphone: str = "muted") -> None:
        self.media.open("microphone", microphone)  # type: ignore[arg-type]
        self.may_be_heard = microphone == "on"
        self.line.do("chair", m.Admit((ME,)))
        await self.settle()
        assert self.state.media == "connected"

    async def close(self) -> None:
        await self.media.close()
        await self.engine.close()
        await self.run

    def codes(self) -> list[str]:
        return [notice.code for notice in self.state.notices]

    def heard(self) -> bool:
        """Whether what the microphone takes goes out."""
        return self.engine.live("microphone") and self.engine.joined is not None

    # ---- what users, moderators and accidents do ----

    def user_unmutes(self) -> None:
        if not self.media._forbidden("microphone"):  # as `Actions.set_microphone` asks
            self.media.open("microphone", "on")
            self.may_be_heard = True

    def user_mutes(self) -> None:
        self.media.mute("microphone")
        self.may_be_heard = False

    def key_down(self) -> None:
        if not self.may_be_heard and not self.media._forbidden("microphone"):
            self.may_be_heard = True
        self.media.talk_while_held(True)

    def key_up(self) -> None:
        held = self.state.talk_held
        self.media.talk_while_held(False)
        if held:
            self.may_be_heard = False

    def moderator_mutes(self) -> None:
        """A missed mute of who was seen muted anyway leaves no trace in a snapshot, and was none."""
        was_on = self._seen_on()
        if isinstance(self.line.do("chair", m.Mute((ME,))), tuple) and (self.line.up or was_on):
            self.may_be_heard = False

    def _seen_on(self) -> bool:
        return self.line.server.participants[ME].sources.microphone == "on"

    def sfu_mutes(self) -> None:
        """The media server is quicker than the control connection."""
        if "microphone" in self.engine.open:
            self.engine.moderator_mutes()
            self.may_be_heard = False
            self.line.do("chair", m.Mute((ME,)))

    def microphones_closed(self) -> None:
        """Whose click is still on its way is refused when it arrives, if it is closed still."""
        was_on = self._seen_on()
        if isinstance(self.line.do("chair", m.SetPermission("microphone", "by_floor")), tuple) and was_on and not self._has_floor():
            self.may_be_heard = False

    def microphones_opened(self) -> None:
        self.line.do("chair", m.SetPermission("microphone", "all"))

    def floor_given(self) -> None:
        self.line.do("chair", m.GiveFloor(ME, 60))

    def floor_ended(self) -> None:
        was_on = self._seen_on()
        if isinstance(self.line.do("chair", m.EndFloor()), tuple) and was_on and self.line.server.permissions.microphone == "by_floor":
            self.may_be_heard = False

    def _has_floor(self) -> bool:
        floor = self.line.server.floor
        return floor is not None and floor.participant == ME

    def to_lobby(self) -> None:
        self.line.do("chair", m.ToLobby((ME,)))
        self._outside()

    def _outside(self) -> None:
        """Who sees the lobby again begins muted. A way there and back that happened during a loss is none for who was away."""
        if self.line.up and self.line.server.participants[ME].place == "lobby":
            self.may_be_heard = False

    def admitted(self) -> None:
        self.line.do("chair", m.Admit((ME,)))

    def asked_to_unmute(self) -> None:
        self.line.do("chair", m.AskUnmute((ME,)))

    def line_cut(self) -> None:
        self.line.cut()

    def line_back(self) -> None:
        self.line.back()
        self._outside()

    def line_back_with_a_snapshot(self) -> None:
        self.line.back(resume=False)
        self._outside()

    def engine_crashes(self) -> None:
        self.engine.crash()

    def media_lost(self) -> None:
        if self.engine.joined is not None:
            self.engine.joined = None
            self.engine.say(api.StateChanged("closed", "ice_lost"))

    def new_room(self) -> None:
        self.line.do("server", m.NewEpoch())

    def device_pulled_out(self) -> None:
        held = self.engine.open.pop("microphone", None)
        if held is not None:
            self.engine.say(api.SourceChanged("microphone", "off", held.device, "device_lost"))
            self.may_be_heard = False

    def device_away(self) -> None:
        """Until it is back: what was chosen stays chosen."""
        self.engine.pull_out("microphone")

    def device_back(self) -> None:
        self.engine.plug_in("microphone")

    def nothing(self) -> None:
        """Time passes."""


STEPS = [name for name in vars(Room) if not name.startswith("_") and name not in ("state", "settle", "enter", "close", "codes", "heard")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_link_module, "RETRY_S", (0.0,))


def played(work: Callable[[Room], Any]) -> None:
    async def play() -> None:
        room = Room()
        try:
            await work(room)
        finally:
            await room.close()

    asyncio.run(play())


@given(st.sampled_from(["on", "muted"]), st.lists(st.tuples(st.sampled_from(STEPS), st.booleans()), max_size=14))
def test_nobody_is_heard_who_did_not_choose_it(begin: str, steps: list[tuple[str, bool]]) -> None:
    """The pledge, over every mixture of choices, mutes and losses, settled or not between them."""

    async def work(room: Room) -> None:
        await room.enter(begin)
        for name, settles in steps:
            getattr(room, name)()
            if settles:
                await room.settle()
                if room.line.up and not room.may_be_heard:
                    assert not room.heard(), f"heard after {name}"
        room.line_back()
        room.device_back()
        await room.settle()
        assert not (room.heard() and not room.may_be_heard), "heard at the end"
        own = room.line.server.participants[ME]
        if own.place == "admitted" and room.state.media == "connected":
            assert own.sources.microphone == room.state.sources["microphone"].told, "the room sees what is so"
            away = "microphone" in room.engine.waiting
            assert (own.sources.microphone == "on") == (
                room.engine.live("microphone") or (away and not room.engine.waiting["microphone"].muted)
            )
        unmutes = [
            step.event
            for _, step in room.line.steps
            if isinstance(step.event, m.SourceChanged) and step.actor != ME and step.event.state == "on"
        ]
        assert unmutes == [], "no command ever unmutes a person"

    played(work)


@given(
    st.lists(
        st.sampled_from(["line_cut", "line_back", "line_back_with_a_snapshot", "engine_crashes", "media_lost", "new_room", "nothing"]),
        max_size=12,
    ),
    st.booleans(),
)
def test_after_any_losses_it_is_as_before(losses: list[str], on: bool) -> None:
    """Who spoke goes on speaking, who was silent stays silent, without a click."""

    async def work(room: Room) -> None:
        await room.enter("on" if on else "muted")
        room.media.open("camera", "on")
        await room.settle()
        for name in losses:
            getattr(room, name)()
            await room.settle()
        room.line.back()
        for _ in range(5):
            await room.settle()
        assert room.state.media == "connected"
        assert room.heard() == on
        assert room.engine.live("camera")
        assert not room.state.reconnecting
        own = room.line.server.participants[ME].sources
        assert (own.microphone, own.camera) == ("on" if on else "muted", "on")
        assert room.engine.joined is not None
        assert room.engine.joined.token.endswith(f"@{room.line.server.epoch}"), "in the room of today"

    played(work)


@given(
    st.booleans(),
    st.lists(
        st.sampled_from(["device_away", "device_back", "line_cut", "line_back", "media_lost", "engine_crashes", "nothing"]), max_size=12
    ),
)
def test_a_device_that_comes_and_goes_changes_no_mute(on: bool, steps: list[str]) -> None:
    async def work(room: Room) -> None:
        await room.enter("on" if on else "muted")
        for name in steps:
            getattr(room, name)()
            await room.settle()
            assert room.state.sources["microphone"].wanted == ("on" if on else "muted")
            assert on or not room.heard()
        room.line.back()
        room.device_back()
        for _ in range(5):
            await room.settle()
        assert room.heard() == on
        assert room.line.server.participants[ME].sources.microphone == ("on" if on else "muted")

    played(work)


# ---- single cases ----


@pytest.mark.parametrize("command", [m.MuteAll(), m.Mute((ME,)), m.SetPermission("microphone", "by_floor")])
async def test_who_was_muted_while_the_headset_was_away_is_not_live_when_it_is_back(room: Room, command: m.Command) -> None:
    room.user_unmutes()
    await room.settle()
    room.device_away()
    await room.settle()
    assert room.state.sources["microphone"].waits
    room.line.do("chair", command)
    await room.settle()
    room.device_back()
    await room.settle()
    assert not room.heard()
    assert room.state.sources["microphone"].state == "muted"
    assert room.line.server.participants[ME].sources.microphone == "muted"


async def test_what_stands_in_is_told_by_name(room: Room) -> None:
    headset = api.Device("pulse:headset", "Tai nghe", "7")
    room.engine.say(api.Devices(microphones=(headset, api.Device("pulse:pc", "Micrô của máy"))))
    room.engine.say(
        api.DeviceSwitched("microphone", "lost", "pulse:headset", "pulse:pc"), api.DeviceSwitched("microphone", "back", "pulse:headset")
    )
    room.engine.say(api.DeviceSwitched("camera", "lost", "v4l2:a", "v4l2:b"), api.SpeakerChanged("default", "speaker_lost"))
    await room.settle()
    told = {notice.code: notice.detail for notice in room.state.notices}
    assert told == {"microphone_away": {"device": "Tai nghe", "stand_in": "Micrô của máy"}, "microphone_back": {"device": "Tai nghe"}}, (
        "of a closed camera nothing"
    )
    assert room.state.speaker_error == "speaker_lost"


@pytest.fixture
async def room() -> Any:
    made = Room()
    await made.enter()
    yield made
    await made.close()


async def test_the_floor_only_asks(room: Room) -> None:
    room.microphones_closed()
    room.floor_given()
    await room.settle()
    assert room.state.unmute_asked
    assert "floor_given" in room.codes()
    assert not room.heard()


@pytest.mark.parametrize("site", [True, False], ids=["a site", "a person"])
async def test_only_a_site_with_standing_consent_opens_by_itself(site: bool) -> None:
    """Whatever the server says: a person's microphone is the person's."""
    room = Room(site=site)
    await room.enter()
    own = room.line.server.participants[ME]
    room.line.server = replace(
        room.line.server, participants={**room.line.server.participants, ME: replace(own, kind="site", standing_consent=True)}
    )
    room.floor_given()
    await room.settle()
    assert room.heard() == site
    assert room.state.unmute_asked != site
    await room.close()


async def test_who_did_it_is_told_once(room: Room) -> None:
    room.user_unmutes()
    await room.settle()
    room.sfu_mutes()
    await room.settle()
    assert room.codes() == ["muted_by"]
    assert room.state.notices[0].detail["name"] == "Chủ trì"
    room.moderator_mutes()
    await room.settle()
    assert room.codes() == ["muted_by"], "who was muted anyway is not told"


@pytest.mark.parametrize(
    ("source", "command", "code"),
    [("camera", m.StopCamera((ME,)), "camera_stopped_by"), ("screen_share", m.StopShare((ME,)), "share_stopped_by")],
)
async def test_what_a_moderator_stops_is_closed(room: Room, source: LocalSourceName, command: m.Command, code: str) -> None:
    room.media.open(source, "on", "/tmp/page.png" if source == "screen_share" else "")
    await room.settle()
    room.line.do("chair", command)
    await room.settle()
    assert source not in room.engine.open
    assert room.codes() == [code]


async def test_a_refused_source_stops_at_once(room: Room) -> None:
    """The rules changed while the click was on its way."""
    room.user_unmutes()
    room.line.server = replace(room.line.server, permissions=Permissions(microphone="by_floor"))
    await room.settle()
    assert not room.heard()
    assert "needs_floor" in room.codes()


@pytest.mark.parametrize(
    "slow", [AskError("too_many_requests"), Refused(m.Refusal("too_many_changes", {"wait_s": 1}))], ids=["asked", "changed"]
)
@pytest.mark.parametrize("is_now", ["muted", "on", "off"])
async def test_who_was_too_quick_is_neither_cut_off_nor_forgotten(
    room: Room, monkeypatch: pytest.MonkeyPatch, slow: Exception, is_now: str
) -> None:
    monkeypatch.setattr(media_link_module, "TELL_AGAIN_S", 0.0)
    before = "muted" if is_now == "on" else "on"
    room.media.open("microphone", before)  # type: ignore[arg-type]
    await room.settle()
    asks, real = [], room.line.ask

    async def ask(command: m.Command) -> dict[str, Any]:
        asks.append(command)
        if len(asks) <= 3:
            raise slow
        return await real(command)

    room.media._ask = ask
    room.media.open("microphone", is_now)  # type: ignore[arg-type]
    for _ in range(10):
        await room.settle()
    assert room.line.server.participants[ME].sources.microphone == is_now
    assert room.engine.live("microphone") == (is_now == "on")
    assert len(asks) == 4
    assert room.codes() == [], "it came right by itself"


async def test_a_camera_keeps_its_place_in_the_room_and_closes_before_it() -> None:
    room = Room()
    room.media.open("camera", "on")
    room.media.mute("camera")
    await room.settle()
    assert "camera" not in room.engine.open
    await room.enter()
    room.media.open("camera", "on")
    room.media.mute("camera")
    await room.settle()
    assert room.engine.open["camera"].muted
    await room.close()


async def test_another_device_is_opened_where_the_other_state_is_only_muted(room: Room) -> None:
    room.engine.sent.clear()
    room.media.open("microphone", "on", "mic2")
    await room.settle()
    assert room.engine.sent[0] == api.OpenSource("microphone", "mic2", muted=False)
    room.media.open("microphone", "muted", "mic2")
    assert room.engine.sent[-1] == api.MuteSource("microphone", True)


async def test_what_is_watched_is_asked_again_when_it_comes_back(room: Room) -> None:
    room.engine.say(api.TrackAdded("T1", "p2.1", "camera", "video"))
    room.media.watch(api.WatchTrack("T1", 320, 180))
    await room.settle()
    room.engine.sent.clear()
    room.engine.say(api.TrackAdded("T1", "p2.1", "camera", "video"))
    await room.settle()
    assert api.WatchTrack("T1", 320, 180) in room.engine.sent
    room.engine.say(api.TrackRemoved("T1"), api.TrackAdded("T1", "p2.1", "camera", "video"))
    room.engine.sent.clear()
    await room.settle()
    assert room.engine.of(api.WatchTrack) == []


async def test_volumes_reach_who_comes_later_and_stay_within_bounds(room: Room) -> None:
    room.media.set_volume("p2", 9.0)
    room.media.set_volume(None, -1.0)
    assert room.engine.sent[-1] == api.SetVolume(None, 0.0)
    room.engine.say(api.TrackAdded("T1", "p2.7", "microphone", "audio"))
    await room.settle()
    assert api.SetVolume("p2.7", 2.0) in room.engine.sent
    room.media.set_volume("p2", 0.5)
    assert room.engine.sent[-1] == api.SetVolume("p2.7", 0.5)


async def test_the_end_closes_everything(room: Room) -> None:
    room.media.open("camera", "on")
    room.user_unmutes()
    await room.settle()
    room.line.do("chair", m.End())
    await room.settle()
    assert room.state.phase == "ended"
    assert room.engine.open == {}
    assert room.engine.joined is None
    assert {source.wanted for source in room.state.sources.values()} == {"off"}


async def test_a_fault_in_the_engine_is_told(room: Room) -> None:
    room.engine.say(api.Failed("codec_failed", "detail for the log"))
    await room.settle()
    assert [(n.code, n.family, n.detail) for n in room.state.notices] == [("codec_failed", "error", {})]


async def test_where_only_turn_may_be_used_and_none_is_named_the_user_is_told_so() -> None:
    room = Room()
    await room.enter()
    room.engine.say(api.StateChanged("closed", "no_turn"))
    await room.settle()
    assert "media_no_turn" in room.codes()
    assert "media_unreachable" not in room.codes(), "UDP has nothing to do with it"
    await room.close()

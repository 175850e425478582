"""Sharing as a participant does it: shown, paused, stopped by oneself, by a moderator or by the window's closing, with sound or without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fakes.engine import FakeEngine
from fakes.meeting_line import ME, MeetingLine

from vidconf.client.media_link import MediaLink
from vidconf.client.state import ClientState, LocalSource, ShareView
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.meeting import messages as m

WINDOW = ShareView("window:7", "Dự thảo.docx", sound=True)


class Sharer:
    """One who is in the meeting and shares."""

    def __init__(self) -> None:
        self.store, self.engine = Store(ClientState()), FakeEngine()
        self.line = MeetingLine(self.store)
        self.media = MediaLink(self.store, self.engine, self.line.ask)
        self.line.follow(self.media)
        self.run = asyncio.create_task(self.media.run())

    @property
    def source(self) -> LocalSource:
        return self.store.state.sources["screen_share"]

    @property
    def told(self) -> str:
        """What the meeting says of it."""
        return self.line.server.participants[ME].sources.screen_share

    def notices(self) -> list[tuple[str, dict[str, object]]]:
        return [(one.code, one.detail) for one in self.store.state.notices]

    async def settle(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    async def share(self, share: ShareView = WINDOW) -> None:
        self.media.share(share)
        await self.settle()

    async def said(self, *events: api.EngineEvent) -> None:
        self.engine.say(*events)
        await self.settle()


@pytest.fixture
async def sharer() -> AsyncIterator[Sharer]:
    made = Sharer()
    made.line.do("chair", m.Admit((ME,)))
    await made.settle()
    yield made
    await made.media.close()
    await made.engine.close()
    await made.run


async def test_a_window_with_sound_is_shown_paused_shown_again_and_stopped(sharer: Sharer) -> None:
    await sharer.share()
    assert sharer.engine.live("screen_share")
    assert sharer.engine.live("screen_share_audio")
    assert sharer.engine.open["screen_share_audio"].device == "computer"
    assert (sharer.told, sharer.store.state.share.kind) == ("on", "window")
    sharer.media.pause_share(True)
    await sharer.settle()
    assert not sharer.engine.live("screen_share")
    assert not sharer.engine.live("screen_share_audio"), "nothing leaves, sound neither"
    assert sharer.told == "muted"
    sharer.media.pause_share(False)
    await sharer.settle()
    assert sharer.engine.live("screen_share")
    assert sharer.engine.live("screen_share_audio")
    sharer.media.open("screen_share", "off")
    await sharer.settle()
    assert not sharer.engine.open
    assert sharer.told == "off"
    sharer.media.pause_share(False)
    await sharer.settle()
    assert not sharer.engine.open, "what was stopped is not resumed"


async def test_a_moderator_stops_all_of_it(sharer: Sharer) -> None:
    await sharer.share()
    sharer.line.do("chair", m.StopShare((ME,)))
    await sharer.settle()
    assert not sharer.engine.open
    assert sharer.source.state == "off"
    assert [code for code, _ in sharer.notices()] == ["share_stopped_by"]


async def test_a_window_that_closes_ends_the_share_and_is_no_fault(sharer: Sharer) -> None:
    await sharer.share()
    gone = api.SourceChanged("screen_share", "off", "window:7", "window_closed", "X error 3")
    await sharer.said(gone)
    assert (sharer.source.state, sharer.source.wanted, sharer.source.error) == ("off", "off", "")
    assert not sharer.engine.open
    assert sharer.engine.of(api.CloseSource).count(api.CloseSource("screen_share")) == 1
    assert sharer.notices() == [("share_window_closed", {"name": "Dự thảo.docx"})]
    assert sharer.told == "off"
    await sharer.said(gone)  # what closing it tells once more
    assert len(sharer.notices()) == 1
    assert sharer.source.error == ""


async def test_what_was_shared_before_does_not_end_what_is_shared_now(sharer: Sharer) -> None:
    await sharer.share()
    await sharer.share(ShareView("screen:0", "Màn hình 1"))
    assert sharer.engine.open["screen_share"].device == "screen:0"
    assert "screen_share_audio" not in sharer.engine.open, "this time without sound"
    await sharer.said(api.SourceChanged("screen_share", "off", "window:7", "window_closed"))
    assert sharer.engine.live("screen_share")
    assert sharer.source.state == "on"
    assert not sharer.notices()


async def test_what_cannot_be_opened_says_why_and_is_taken_out_of_the_room(sharer: Sharer) -> None:
    await sharer.share()
    await sharer.said(api.SourceChanged("screen_share", "off", "window:7", "not_found", "no such window"))
    assert (sharer.source.error, sharer.source.wanted) == ("not_found", "off")
    assert not sharer.engine.open
    assert not sharer.notices()
    await sharer.share()
    assert sharer.source.error == ""
    await sharer.said(api.SourceChanged("screen_share", "on", "window:7", "source_not_allowed"))
    assert not sharer.engine.open, "the SFU refused it"


async def test_sound_that_fails_is_told_and_the_picture_stays(sharer: Sharer) -> None:
    await sharer.share()
    await sharer.said(api.SourceChanged("screen_share_audio", "off", "computer", "no_sound_server"))
    assert sharer.notices() == [("share_sound_failed", {"code": "no_sound_server"})]
    assert set(sharer.engine.open) == {"screen_share"}
    assert not sharer.store.state.share.sound
    sharer.media.pause_share(True)
    await sharer.settle()
    assert "screen_share_audio" not in sharer.engine.open


async def test_a_pause_outlives_a_crash_of_the_engine(sharer: Sharer) -> None:
    await sharer.share()
    sharer.media.pause_share(True)
    await sharer.settle()
    sharer.engine.crash()
    await sharer.settle()
    assert (sharer.source.state, sharer.source.wanted) == ("muted", "muted")
    assert not sharer.engine.live("screen_share")
    assert sharer.told == "muted"


async def test_where_it_lies_is_known_of_what_is_shared_only(sharer: Sharer) -> None:
    await sharer.share()
    here = api.SharedArea("window:7", 10, 20, 640, 480)
    await sharer.said(here, api.SharedArea("window:8", 0, 0, 1, 1))
    assert sharer.store.state.share.area == here
    sharer.line.do("chair", m.Remove((ME,)))
    await sharer.settle()
    assert sharer.store.state.share == ShareView()


async def test_what_can_be_shared_keeps_its_pictures_until_it_goes(sharer: Sharer) -> None:
    one, other = (api.Shareable(f"window:{n}", f"W{n}", "window", 0, 0, 9, 9) for n in (1, 2))
    await sharer.said(
        api.Screens((one, other)), api.Thumbnail("window:1", "a"), api.Thumbnail("window:2", "b"), api.Thumbnail("window:3", "c")
    )
    assert dict(sharer.store.state.thumbnails) == {"window:1": "a", "window:2": "b"}
    await sharer.said(api.Screens((other,)))
    assert dict(sharer.store.state.thumbnails) == {"window:2": "b"}
    await sharer.said(api.Screens((), trouble="wayland"))
    assert not sharer.store.state.thumbnails

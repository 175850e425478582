"""The stage as a widget: real rings in, pixels out; what the engine is told; keyboard, names, letting go."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gui.stage_room import Films, House, flat, room, with_person, without
from PySide6.QtCore import QEvent, QObject, QPoint, QRect, Qt
from PySide6.QtGui import QColor, QContextMenuEvent, QImage, QPaintEvent, QRegion
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.engine import api
from vidconf.gui import theme
from vidconf.gui.focus_ring import FocusRing
from vidconf.gui.stage.pictures import WINDOW_S
from vidconf.gui.stage.stage import AHEAD, LATE_S, SETTLE_MS
from vidconf.gui.theme import T

MakeHouse = Callable[..., House]


@pytest.fixture
def make(qtbot: QtBot, qapp: QApplication) -> Iterator[MakeHouse]:
    """Builds stages, shown; lets them go at the end."""
    theme.apply(qapp, "light")
    words.set_language("vi")
    made: list[House] = []

    def build(state: ClientState, width: int = 960, height: int = 560) -> House:
        house = House(state, width, height)
        made.append(house)
        qtbot.waitExposed(house.window)
        qtbot.waitUntil(lambda: house.stage._exposure.seen)
        return house

    yield build
    for house in made:
        house.close()
    words.set_language("vi")


def near(a: QColor, b: QColor, by: int = 12) -> bool:
    return max(abs(a.red() - b.red()), abs(a.green() - b.green()), abs(a.blue() - b.blue())) <= by


def at(image: QImage, tile: QRect, x: float, y: float) -> QColor:
    """The colour at a share of the tile."""
    return image.pixelColor(tile.x() + round((tile.width() - 1) * x), tile.y() + round((tile.height() - 1) * y))


def shows(house: House, key: str, colour: QColor, x: float = 0.3, y: float = 0.4) -> bool:
    return near(at(house.grab(), house.tile(key).geometry(), x, y), colour)


# ---- pictures ----------------------------------------------------------------------------------------------------------------


def test_each_tile_shows_its_own_picture_and_ones_own_is_mirrored(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(6))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p5", Films.colours("cam5")[0]))
    image = house.grab()
    for n in (0, 2, 3, 4, 5):
        left, right = Films.colours(f"cam{n}")
        tile = house.tile(f"p{n}").geometry()
        assert near(at(image, tile, 0.3, 0.4), left), n
        assert near(at(image, tile, 0.7, 0.4), right), n
    left, right = Films.colours("local:camera")
    own = house.tile("p1").geometry()
    assert near(at(image, own, 0.3, 0.4), right)
    assert near(at(image, own, 0.7, 0.4), left)


def test_corners_are_rounded_the_ground_is_dark_and_the_plate_lies_lower_left(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(4))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p3", Films.colours("cam3")[0]))
    image, tile, ground = house.grab(), house.tile("p3").geometry(), QColor(T["stage"])
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        assert near(at(image, tile, x, y), ground, 3)
    assert near(image.pixelColor(tile.x() - 4, tile.center().y()), ground, 3)
    plate = image.pixelColor(tile.x() + 12, tile.bottom() - 13)
    assert plate.lightness() < 60
    assert near(at(image, tile, 0.95, 0.6), Films.colours("cam3")[1])
    text = [image.pixelColor(x, y).lightness() for x in range(tile.x() + 40, tile.x() + 120) for y in range(tile.bottom() - 50, tile.bottom() - 10)]
    assert max(text) > 220


def test_who_speaks_has_a_frame_and_bars_that_move(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(4))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p3", Films.colours("cam3")[0]))
    tile, green = house.tile("p3").geometry(), QColor(T["speaking"])
    assert not near(at(house.grab(), tile, 0.5, 0.0), green)
    house.change(speaking=(("p3", 0.3),))
    image = house.grab()
    for x, y in ((0.5, 0), (0.5, 1), (0, 0.5), (1, 0.5)):
        assert near(at(image, tile, x, y), green, 4)
    inside = image.pixelColor(tile.center().x(), tile.y() + 4)
    assert not near(inside, green)

    def bars() -> bytes:
        part = house.grab().copy(tile.x() + 9, tile.bottom() - 50, 28, 42)
        return bytes(part.constBits())

    first = bars()
    qtbot.waitUntil(lambda: bars() != first, timeout=2000)
    house.change(speaking=())
    assert not near(at(house.grab(), tile, 0.5, 0.0), green)


def test_without_a_camera_there_are_initials_on_a_disc(make: MakeHouse) -> None:
    house = make(room(4, camera=False))
    image, tile = house.grab(), house.tile("p3").geometry()
    assert near(at(image, tile, 0.1, 0.3), QColor(T["tile"]), 3)
    colours = {image.pixelColor(tile.center().x() + dx, tile.y() + round(tile.height() * 0.42)).name() for dx in range(-45, 46)}
    assert QColor(T["disc"]).name() in colours
    assert max(QColor(name).lightness() for name in colours) > 200  # the letters


def test_a_camera_that_is_switched_off_disappears_at_once(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    house.films.write()
    colour = Films.colours("cam2")[0]
    qtbot.waitUntil(lambda: shows(house, "p2", colour))
    house.said(api.TrackMuted("cam2", True))
    assert shows(house, "p2", QColor(T["tile"]), 0.1, 0.3)
    house.said(api.TrackMuted("cam2", False))
    assert shows(house, "p2", QColor(T["tile"]), 0.1, 0.3)  # not what was seen before
    house.films.write("cam2")
    qtbot.waitUntil(lambda: shows(house, "p2", colour))


def test_a_picture_that_the_line_does_not_carry_stands_still_and_says_why(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    house.films.write()
    colour = Films.colours("cam2")[0]
    qtbot.waitUntil(lambda: shows(house, "p2", colour))
    house.said(api.TrackHeldBack("cam2", True))
    assert shows(house, "p2", colour), "the last one stays"
    tile = house.tile("p2")
    assert tile.accessibleName().endswith("tạm dừng hình vì mạng yếu")
    assert "Mạng yếu: tạm dừng hình" in tile.toolTip()
    house.said(api.TrackHeldBack("cam2", False))
    assert "tạm dừng" not in tile.accessibleName()


def test_ones_own_camera_follows_its_source(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p1", Films.colours("local:camera")[1]))
    house.said(api.SourceChanged("camera", "muted"))
    assert shows(house, "p1", QColor(T["tile"]), 0.1, 0.3)


def test_a_ring_replaced_in_the_middle(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    house.films.write()
    before, after = Films.colours("cam2")[0], QColor("#F0F000")
    qtbot.waitUntil(lambda: shows(house, "p2", before))
    house.films.end("cam2")
    house.said(api.RingOpened("cam2", "a-ring-that-is-gone-already"))
    qtbot.wait(60)
    assert shows(house, "p2", before)  # the last good picture
    width, height = house.films.sizes()["cam2"]
    house.films.put("cam2", flat(width, height, after))
    qtbot.waitUntil(lambda: shows(house, "p2", after))


def test_a_track_that_goes_and_comes_back(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p2", Films.colours("cam2")[0]))
    size = house.films.sizes()["cam2"]
    house.films.end("cam2")
    house.watcher.take()
    house.said(api.TrackRemoved("cam2"))
    assert house.watcher.take() == []  # what is gone need not be told off
    assert shows(house, "p2", QColor(T["tile"]), 0.1, 0.3)
    house.said(api.TrackAdded("cam2", "p2.2", "camera", "video"))
    assert house.watcher.calls == [("cam2", *size, True, True)]
    house.films.write("cam2")
    qtbot.waitUntil(lambda: shows(house, "p2", Films.colours("cam2")[0]))


def test_a_picture_of_another_size_fills_its_tile(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    house.films.write("cam2", size=(90, 200))
    left, right = Films.colours("cam2")
    qtbot.waitUntil(lambda: shows(house, "p2", left))
    image, tile = house.grab(), house.tile("p2").geometry()
    assert near(at(image, tile, 0.06, 0.3), left)
    assert near(at(image, tile, 0.94, 0.6), right)


def test_a_picture_that_does_not_come_is_said_to_be_awaited(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    tile = house.tile("p2").geometry()

    def below_the_disc() -> int:
        image = house.grab().copy(tile.x(), tile.y() + 182, tile.width(), 22)
        return max(image.pixelColor(x, y).lightness() for x in range(0, image.width(), 2) for y in range(image.height()))

    assert below_the_disc() < 120
    qtbot.waitUntil(lambda: below_the_disc() > 150, timeout=round(LATE_S * 1000) + 2000)
    house.films.write("cam2")
    qtbot.waitUntil(lambda: shows(house, "p2", Films.colours("cam2")[0]))


# ---- a shared page ---------------------------------------------------------------------------------------------------------------


def test_a_shared_page_is_fitted_not_cropped(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(4, shares=(3,)), 960, 560)
    assert (house.stage.mode, house.tiles()[0]) == ("share", "page:page3")
    tile = house.tile("page:page3").geometry()
    asked = next(call for call in house.watcher.calls if call[0] == "page3")
    assert asked == ("page3", tile.width(), tile.height(), True, False)
    height = tile.height() // 2 * 2
    width = height * 3 // 4  # a page standing upright, as the engine fits it
    house.films.put("page3", house.films.picture("page3", width, height))
    left, right = Films.colours("page3")
    qtbot.waitUntil(lambda: shows(house, "page:page3", left, 0.5 - 0.4 * width / tile.width(), 0.01))
    image = house.grab()
    edge = tile.x() + (tile.width() - width) // 2
    for y in (tile.y() + 1, tile.bottom() - 2):
        assert near(image.pixelColor(edge + 1, y), left)
        assert near(image.pixelColor(edge + width - 2, y), right)
        assert near(image.pixelColor(edge - 2, y), QColor(T["stage"]), 3)
        assert near(image.pixelColor(edge + width + 2, y), QColor(T["stage"]), 3)


def test_ones_own_page_is_shown_with_the_words_that_it_is_shared(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    house.said(api.SourceChanged("screen_share", "on"))
    assert house.stage.mode == "share"
    assert ("local:screen_share", house.tile("page:local:screen_share").width()) in [call[:2] for call in house.watcher.calls]
    house.films.write("local:screen_share")
    qtbot.waitUntil(lambda: shows(house, "page:local:screen_share", Films.colours("local:screen_share")[0]))  # not mirrored
    assert house.stage._caption._text.text() == "Trang của tôi đang trình chiếu tới mọi người"
    house.said(api.SourceChanged("screen_share", "off"))
    assert house.stage.mode == "grid"


def test_several_pages_the_newest_first_and_a_way_to_the_others(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(4, shares=(2,)))
    house.said(api.TrackAdded("page3", "p3.1", "screen_share", "video"))
    assert house.tiles()[:2] == ["page:page3", "page:page2"]
    caption = house.stage._caption
    assert (caption._text.text(), caption.turn.text()) == ("Lê Văn Cường đang trình chiếu", "Trang khác (1/2)")
    qtbot.mouseClick(caption.turn, Qt.MouseButton.LeftButton)
    assert house.tiles()[:2] == ["page:page2", "page:page3"]
    qtbot.mouseClick(house.tile("page:page3"), Qt.MouseButton.LeftButton)
    assert house.tiles()[0] == "page:page3"
    house.said(api.TrackRemoved("page3"))
    assert house.tiles()[0] == "page:page2"
    assert not caption.turn.isVisible()


def test_the_viewer_may_turn_to_the_people_until_another_page_is_shared(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(4, shares=(2,)))
    modes: list[str] = []
    house.stage.mode_changed.connect(modes.append)
    house.stage.set_mode("speaker")
    house.stage.set_mode("grid")
    assert "page:page2" in house.tiles()
    house.stage.set_mode("share")
    house.stage.set_mode("grid")
    house.said(api.TrackAdded("page3", "p3.1", "screen_share", "video"))
    assert (house.stage.mode, house.tiles()[0]) == ("share", "page:page3")
    house.stage.set_mode("grid")
    qtbot.mouseClick(house.tile("page:page2"), Qt.MouseButton.LeftButton)
    assert (house.stage.mode, house.tiles()[0]) == ("share", "page:page2")
    house.to(room(4))
    assert modes == ["speaker", "grid", "share", "grid", "share", "grid", "share", "grid"]


# ---- what the engine is told ---------------------------------------------------------------------------------------------------------


def test_all_that_is_shown_is_watched_once_at_its_size(make: MakeHouse) -> None:
    house = make(room(5))
    expected = {
        (track, house.tile(key).width(), house.tile(key).height(), True, True)
        for key, track in (("p0", "cam0"), ("p1", "local:camera"), ("p2", "cam2"), ("p3", "cam3"), ("p4", "cam4"))
    }
    calls = house.watcher.take()
    assert len(calls) == 5
    assert set(calls) == expected
    house.change(unread_chat=3, speaking=(("p2", 0.2),), main_speaker="p2", quality={"p3": "poor"})
    house.change(speaking=(("p2", 0.4),))
    house.said(api.LocalLevel(0.4), api.FirstFrame("cam2"), api.Quality("p4.1", "lost"))
    assert house.watcher.take() == []


def test_a_new_size_is_told_when_it_has_come_to_rest(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(2, me="p0"))
    house.watcher.take()
    for width in range(961, 1000, 3):
        house.window.resize(width, 560)
        QApplication.processEvents()
    assert house.watcher.take() == []
    qtbot.waitUntil(lambda: len(house.watcher.calls) == 2, timeout=SETTLE_MS + 1000)
    tile = house.tile("p1")
    assert ("cam1", tile.width(), tile.height(), True, True) in house.watcher.take()
    qtbot.wait(SETTLE_MS + 30)
    assert house.watcher.take() == []


def test_a_size_that_goes_back_before_it_rests_is_never_told(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(2))
    house.watcher.take()
    house.window.resize(1100, 700)
    QApplication.processEvents()
    house.window.resize(960, 560)
    QApplication.processEvents()
    qtbot.wait(SETTLE_MS + 60)
    assert house.watcher.take() == []


def test_what_cannot_be_seen_is_not_decoded(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    first = sorted(house.watcher.take())
    off = sorted((track, 0, 0, False, True) for track in ("cam0", "cam2", "local:camera"))
    for hide, show in (
        (house.window.hide, house.window.show),
        (house.window.showMinimized, house.window.showNormal),
        (house.stage.hide, house.stage.show),
    ):
        hide()
        qtbot.waitUntil(lambda: len(house.watcher.calls) >= 3)
        assert sorted(house.watcher.take()) == off
        assert not house.stage._clock.isActive()
        assert house.stage.painted() == []
        show()
        qtbot.waitUntil(lambda: len(house.watcher.calls) >= 3)
        assert sorted(house.watcher.take()) == first


def test_turning_a_page_watches_the_new_and_lets_the_old_rest(make: MakeHouse) -> None:
    house = make(room(40), 640, 360)
    told: list[tuple[int, int]] = []
    house.stage.pages_changed.connect(lambda page, pages: told.append((page, pages)))
    first, count = house.tiles(), house.stage.pages
    assert count > 1
    house.watcher.take()
    house.stage.next_page()
    second, calls = house.tiles(), house.watcher.take()
    assert not set(first) & set(second)
    assert sorted(call[0] for call in calls if not call[3]) == sorted(f"cam{key[1:]}" if key != "p1" else "local:camera" for key in first)
    small = {call[0] for call in calls if call[1:3] == AHEAD}
    assert sorted(call[0] for call in calls if call[3] and call[0] not in small) == sorted(f"cam{key[1:]}" for key in second)
    house.stage.previous_page()
    assert house.tiles() == first
    house.stage.previous_page()
    assert told == [(1, count), (0, count)]
    seen = set(house.tiles())
    for _ in range(count):
        house.stage.next_page()
        seen |= set(house.tiles())
    assert len(seen) == 40
    assert told[-1] == (count - 1, count)


def test_the_next_page_is_kept_coming_small_so_that_it_is_there_when_turned_to(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(40), 640, 360)
    small = {track for track, size in house.films.sizes().items() if size == AHEAD}
    shown = {f"cam{key[1:]}" if key != "p1" else "local:camera" for key in house.tiles()}
    assert small
    assert not small & shown
    house.films.write()
    house.stage.next_page()
    assert {f"cam{key[1:]}" for key in house.tiles()} == small
    key = house.tiles()[0]
    qtbot.waitUntil(lambda: shows(house, key, Films.colours(f"cam{key[1:]}")[0]), timeout=500)  # nothing was written since
    tile = house.tile(key)
    assert house.films.sizes()[f"cam{key[1:]}"] == (tile.width(), tile.height())  # and its own size is wanted at once
    for _ in range(house.stage.pages):
        house.stage.next_page()
    assert AHEAD not in house.films.sizes().values()  # nothing comes after the last
    house.stage.previous_page()
    house.window.hide()
    qtbot.waitUntil(lambda: house.films.sizes() == {})


def test_the_pager_is_there_only_where_there_are_pages(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(40), 640, 360)
    pager = house.stage._pager
    assert pager.isVisible()
    assert (pager.previous.isEnabled(), pager.next.isEnabled()) == (False, True)
    qtbot.mouseClick(pager.next, Qt.MouseButton.LeftButton)
    assert house.stage.page == 1
    assert pager.previous.isEnabled()
    house.to(room(4))
    assert not pager.isVisible()
    assert (house.stage.page, house.stage.pages) == (0, 1)


# ---- painting no more than needed ---------------------------------------------------------------------------------------------------


class Paints(QObject):
    """What is painted on a widget."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__()
        self.regions: list[QRegion] = []
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QPaintEvent):
            self.regions.append(QRegion(event.region()))
        return False


def test_only_the_tiles_with_a_new_picture_are_painted_and_nothing_when_there_is_none(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(6))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p5", Films.colours("cam5")[0]))
    qtbot.wait(50)
    paints = Paints(house.stage._canvas)
    qtbot.wait(300)
    assert paints.regions == []
    house.films.write("cam3")
    qtbot.waitUntil(lambda: bool(paints.regions))
    assert [region.boundingRect() for region in paints.regions] == [house.tile("p3").geometry()]


def test_where_no_picture_can_come_there_is_no_clock(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(4, camera=False))
    assert not house.stage._clock.isActive()
    house.change(speaking=(("p2", 0.3),))
    assert house.stage._clock.isActive()
    house.change(speaking=())
    assert not house.stage._clock.isActive()


def test_nine_tiles_at_thirty_frames_a_second(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(9), 1280, 720)
    house.films.write()
    house.films.run()
    qtbot.wait(round(1000 * WINDOW_S) + 200)

    def slowest() -> float:
        return min(one["painted_fps"] for one in house.stage.painted())

    # A machine so busy that not even the writer comes to thirty cannot show more than was written.
    qtbot.waitUntil(lambda: slowest() >= min(25.0, 0.85 * house.films.fps()), timeout=15_000)
    assert house.films.fps() > 5
    told = house.stage.painted()
    assert sorted(one["participant"] for one in told) == [f"p{n}" for n in range(9)]
    for one in told:
        tile = house.tile(one["participant"])
        assert one["source"] == "camera"
        assert one["track"] == ("local:camera" if one["participant"] == "p1" else f"cam{one['participant'][1:]}")
        assert (one["width"], one["height"]) == (tile.width(), tile.height())
        assert one["painted"] >= 12
        assert 0 < one["age_ms"]["p50"] <= one["age_ms"]["p95"]


def test_a_tile_whose_picture_has_stopped_is_told_as_such(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(2, me="p0"))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p1", Films.colours("cam1")[0]))
    assert {one["track"]: one["painted_fps"] for one in house.stage.painted()} == {"cam1": 0.0, "local:camera": 0.0}
    off = room(2, me="p0", camera=False)
    house.to(off)
    assert house.stage.painted() == []


# ---- modes, pin, self view ---------------------------------------------------------------------------------------------------------


def test_speaker_view_follows_the_speaker_and_the_strip_does_not_jump(make: MakeHouse) -> None:
    house = make(room(5, main_speaker="p2"))
    modes: list[str] = []
    house.stage.mode_changed.connect(modes.append)
    house.stage.set_mode("speaker")
    house.stage.set_mode("speaker")
    assert (modes, house.stage.mode) == (["speaker"], "speaker")
    assert house.tiles()[0] == "p2"
    large = house.tile("p2").geometry()
    places = {key: house.tile(key).geometry() for key in house.tiles()}
    house.change(main_speaker="p4")
    assert house.tile("p4").geometry() == large
    assert house.tile("p2").geometry() == places["p4"]
    assert all(house.tile(key).geometry() == places[key] for key in ("p0", "p1", "p3"))


def test_the_spotlight_is_large_in_the_speaker_view_and_marked_everywhere(make: MakeHouse) -> None:
    house = make(room(5))
    state = house.store.state
    assert state.meeting is not None
    house.change(meeting=replace(state.meeting, spotlight="p3"))
    assert house.stage.mode == "grid"
    assert "tiêu điểm" in house.tile("p3").accessibleName()
    house.stage.set_mode("speaker")
    assert house.tiles()[0] == "p3"


def test_a_pin_shows_large_and_unpinning_gives_the_grid_back(make: MakeHouse) -> None:
    house = make(room(5))
    modes: list[str] = []
    house.stage.mode_changed.connect(modes.append)
    house.stage.pin("p4")
    assert (house.stage.pinned, house.tiles()[0]) == ("p4", "p4")
    house.stage.pin("p3")
    assert house.tiles()[0] == "p3"
    house.stage.pin(None)
    assert (modes, house.stage.pinned) == (["speaker", "grid"], None)
    house.stage.set_mode("speaker")
    house.stage.pin("p3")
    house.stage.pin(None)
    assert house.stage.mode == "speaker"


def test_a_pin_ends_when_the_pinned_leaves(make: MakeHouse) -> None:
    house = make(room(5))
    house.stage.pin("p4")
    house.to(without(house.store.state, "p4"))
    assert (house.stage.pinned, house.stage.mode) == (None, "grid")


def test_self_view(make: MakeHouse) -> None:
    house = make(room(3))
    house.watcher.take()
    house.stage.set_self_view(False)
    assert house.tiles() == ["p0", "p2"]
    assert ("local:camera", 0, 0, False, True) in house.watcher.take()
    house.stage.set_self_view(True)
    assert "p1" in house.tiles()


def test_an_unknown_mode_is_a_mistake_of_the_caller(make: MakeHouse) -> None:
    with pytest.raises(ValueError, match="mosaic"):
        make(room(2)).stage.set_mode("mosaic")


# ---- alone ---------------------------------------------------------------------------------------------------------------------


def test_alone_the_stage_says_who_will_come(make: MakeHouse) -> None:
    house = make(room(1, me="p0"))
    alone = house.stage._alone
    assert alone.isVisible()
    assert alone._title.text() == "Chưa có ai khác trong phòng"
    assert "liên kết mời" in alone._line.text()
    house.to(with_person(with_person(room(3, me="p0"), "p1", place="lobby"), "p2", place="lobby"))
    assert alone.isVisible()
    assert alone._line.text().startswith("Đang có 2 người ở phòng chờ")
    house.to(room(2, me="p0"))
    assert not alone.isVisible()


@pytest.mark.parametrize("size", [(640, 360), (312, 300), (1280, 720)])
def test_the_words_to_who_is_alone_are_not_cut(make: MakeHouse, size: tuple[int, int]) -> None:
    for language in ("vi", "en"):
        words.set_language(language)
        alone = make(room(1, me="p0"), *size).stage._alone
        for text in (alone._title, alone._line):
            assert text.heightForWidth(text.width()) <= text.height(), (language, text.text())
            assert alone.rect().contains(text.geometry())


def test_without_a_meeting_the_stage_is_empty(make: MakeHouse) -> None:
    house = make(ClientState())
    assert (house.tiles(), house.stage.first_focus(), house.watcher.calls) == ([], None, [])
    assert near(house.grab().pixelColor(100, 100), QColor(T["stage"]), 2)


# ---- keyboard, mouse, names ------------------------------------------------------------------------------------------------------


def test_arrows_move_between_tiles_and_tab_stops_once(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(9), 1280, 720)
    after = QPushButton("after", house.window)
    after.show()
    house.window.activateWindow()
    first = house.stage.first_focus()
    assert first is house.tile("p0")
    assert isinstance(first, QWidget)
    first.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.waitUntil(first.hasFocus)

    def press(key: Qt.Key) -> str:
        focused = QApplication.focusWidget()
        assert focused is not None
        QTest.keyClick(focused, key)
        now = QApplication.focusWidget()
        assert now is not None
        return now.objectName()

    assert press(Qt.Key.Key_Right) == "p1"
    assert press(Qt.Key.Key_Down) == "p4"
    assert press(Qt.Key.Key_Left) == "p3"
    assert press(Qt.Key.Key_Left) == "p2"  # the end of the row above
    assert press(Qt.Key.Key_End) == "p8"
    assert press(Qt.Key.Key_Right) == "p8"
    assert press(Qt.Key.Key_Up) == "p5"
    assert press(Qt.Key.Key_Home) == "p0"
    assert press(Qt.Key.Key_Down) == "p3"
    assert press(Qt.Key.Key_Tab) == after.objectName()
    assert QApplication.focusWidget() is after
    QTest.keyClick(after, Qt.Key.Key_Backtab)
    assert QApplication.focusWidget() is house.tile("p3")
    stops = [one for one in house.stage.findChildren(QWidget) if one.focusPolicy() & Qt.FocusPolicy.TabFocus and one.isVisible()]
    assert [one.objectName() for one in stops] == ["p3"]


def test_enter_pins_and_unpins_and_the_focus_stays_on_the_person(make: MakeHouse) -> None:
    house = make(room(5))
    tile = house.tile("p3")
    tile.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(tile, Qt.Key.Key_Return)
    assert (house.stage.pinned, house.stage.mode) == ("p3", "speaker")
    assert house.tile("p3").hasFocus()
    QTest.keyClick(house.tile("p3"), Qt.Key.Key_Enter, Qt.KeyboardModifier.KeypadModifier)
    assert (house.stage.pinned, house.stage.mode) == (None, "grid")
    assert house.tile("p3").hasFocus()


def test_enter_on_a_page_brings_it_to_the_front(make: MakeHouse) -> None:
    house = make(room(4, shares=(2, 3)))
    assert house.tiles()[0] == "page:page3"
    tile = house.tile("page:page2")
    tile.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(tile, Qt.Key.Key_Return)
    assert house.tiles()[0] == "page:page2"


def test_the_menu_is_asked_by_key_and_by_mouse(make: MakeHouse) -> None:
    house = make(room(4))
    asked: list[tuple[str, object]] = []
    house.stage.asked.connect(lambda what, detail: asked.append((what, detail)))
    tile = house.tile("p3")
    tile.setFocus(Qt.FocusReason.TabFocusReason)
    QApplication.sendEvent(tile, QContextMenuEvent(QContextMenuEvent.Reason.Keyboard, QPoint(5, 5), tile.mapToGlobal(QPoint(5, 5))))
    QTest.keyClick(tile, Qt.Key.Key_F10, Qt.KeyboardModifier.ShiftModifier)
    where = tile.mapToGlobal(QPoint(30, 40))
    QApplication.sendEvent(tile, QContextMenuEvent(QContextMenuEvent.Reason.Mouse, QPoint(30, 40), where))
    assert [what for what, _ in asked] == ["participant_menu"] * 3
    details = [detail for _, detail in asked]
    assert all(isinstance(detail, tuple) and detail[0] == "p3" for detail in details)
    assert details[2] == ("p3", where)
    area = QRect(tile.mapToGlobal(QPoint(0, 0)), tile.size())
    assert all(isinstance(detail, tuple) and area.contains(detail[1]) for detail in details)


def test_a_double_click_asks_for_the_full_screen(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    with qtbot.waitSignal(house.stage.asked) as caught:
        qtbot.mouseDClick(house.tile("p2"), Qt.MouseButton.LeftButton)
    qtbot.mouseRelease(house.tile("p2"), Qt.MouseButton.LeftButton)
    assert caught.args == ["full_screen", None]


def test_page_keys_and_the_wheel_turn_pages(make: MakeHouse) -> None:
    house = make(room(40), 640, 360)
    house.tile("p0").setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(house.tile("p0"), Qt.Key.Key_PageDown)
    assert house.stage.page == 1
    first = house.stage.first_focus()
    assert first is not None
    assert first.hasFocus()  # the keyboard is still on the stage
    QTest.keyClick(first, Qt.Key.Key_PageUp)
    assert house.stage.page == 0


class Keys(QWidget):
    """A window that notes what nobody below wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def keyPressEvent(self, event: object) -> None:
        self.seen.append(event.key())  # type: ignore[attr-defined]


def test_space_is_left_to_the_window_for_it_is_held_to_talk(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(3))
    outer = Keys()
    qtbot.addWidget(outer)
    house.window.setParent(outer)
    outer.show()
    house.window.show()
    QTest.keyClick(house.tile("p2"), Qt.Key.Key_Space)
    assert outer.seen == [Qt.Key.Key_Space]
    house.window.setParent(None)
    house.window.show()


def test_the_focus_ring_follows_the_tile(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(5))
    ring = FocusRing(house.window)
    house.window.activateWindow()
    tile = house.tile("p2")
    tile.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.waitUntil(ring.isVisible)
    assert ring.target is tile
    house.stage.pin("p2")  # it is large now, elsewhere
    centre = ring.geometry().center()
    assert house.tile("p2").geometry().contains(centre)
    assert ring.geometry().width() > house.tile("p2").width()


def test_names_for_screen_readers_in_both_languages(make: MakeHouse) -> None:
    house = make(room(3, speaking=(("p0", 0.3),)))
    assert house.tile("p0").accessibleName() == "Lê Thu Hà, Chủ trì, mic bật, đang phát biểu"
    assert house.tile("p0").accessibleDescription() == "Phó Giám đốc, Sở Nông nghiệp và Môi trường tỉnh Thừa Thiên Huế"
    assert house.tile("p1").accessibleName() == "Phạm Thị Ngọc Dung (tôi), mic tắt"
    house.change(speaking=(), sources={**house.store.state.sources, "microphone": LocalSource("on"), "camera": LocalSource("off")})
    assert house.tile("p0").accessibleName() == "Lê Thu Hà, Chủ trì, mic bật"
    assert house.tile("p1").accessibleName() == "Phạm Thị Ngọc Dung (tôi), mic bật, camera tắt"
    words.set_language("en")
    house.stage.refresh_look()
    assert house.tile("p0").accessibleName() == "Lê Thu Hà, Chair, mic on"
    assert house.stage.accessibleName() == "Pictures of those in the room"


def test_the_look_is_the_same_dark_stage_in_both_themes(make: MakeHouse, qapp: QApplication) -> None:
    house = make(room(4, camera=False, me="p0"))
    light = house.grab()
    theme.apply(qapp, "dark")
    house.stage.refresh_look()
    assert house.grab() == light


# ---- letting go -----------------------------------------------------------------------------------------------------------------


def test_letting_go_gives_everything_back(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(4))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p3", Films.colours("cam3")[0]))
    house.watcher.take()
    names = [ring.name.lstrip("/") for ring in house.films.rings.values()]
    house.stage.let_go()
    house.films.close()
    gc.collect()
    maps = Path("/proc/self/maps").read_text()
    assert not [name for name in names if name in maps]
    assert sorted(house.watcher.take()) == sorted((track, 0, 0, False, True) for track in ("cam0", "cam2", "cam3", "local:camera"))
    assert not house.stage._clock.isActive()
    assert house.store._listeners == []
    house.stage.let_go()
    house.change(speaking=(("p2", 0.3),))
    house.stage.set_mode("speaker")
    house.stage.next_page()
    house.window.resize(700, 500)
    QApplication.processEvents()
    house.grab()
    assert house.watcher.take() == []
    assert house.stage.painted() == []


def test_a_full_house_comes_and_goes_without_a_word_too_many(make: MakeHouse, qtbot: QtBot) -> None:
    house = make(room(60), 1280, 720)
    for state in (room(1, me="p0"), room(60), room(2), ClientState(phase="meeting"), room(30, shares=(5, 6)), room(9)):
        house.to(state)
        QApplication.processEvents()
        shown = house.tiles()
        assert len(shown) == len(set(shown))
        living = [one for one in house.stage.findChildren(QWidget) if one.objectName() in shown and one.isVisible()]
        assert len(living) == len(shown)
    wanted = {track for track in house.films.sizes() if track in house.store.state.tracks or track == "local:camera"}
    assert wanted == {"local:camera", *(f"cam{n}" for n in range(9) if n != 1)}

"""The stage as a widget: real rings in, pixels out; pictures and pages, modes, alone, letting go."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest
from gui.stage_room import Films, MakeHouse, at, flat, near, room, shows, with_person, without
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.engine import api
from vidconf.gui.stage.stage import LATE_S
from vidconf.gui.theme import T

# ---- pictures ----------------------------------------------------------------------------------------------------------------


def test_each_tile_shows_its_own_picture_and_ones_own_is_mirrored(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(6))
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


def test_corners_are_rounded_the_ground_is_dark_and_the_plate_lies_lower_left(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(4))
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


def test_who_speaks_has_a_frame_and_bars_that_move(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(4))
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


def test_without_a_camera_there_are_initials_on_a_disc(make_house: MakeHouse) -> None:
    house = make_house(room(4, camera=False))
    image, tile = house.grab(), house.tile("p3").geometry()
    assert near(at(image, tile, 0.1, 0.3), QColor(T["tile"]), 3)
    colours = {image.pixelColor(tile.center().x() + dx, tile.y() + round(tile.height() * 0.42)).name() for dx in range(-45, 46)}
    assert QColor(T["disc"]).name() in colours
    assert max(QColor(name).lightness() for name in colours) > 200  # the letters


def test_a_camera_that_is_switched_off_disappears_at_once(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
    house.films.write()
    colour = Films.colours("cam2")[0]
    qtbot.waitUntil(lambda: shows(house, "p2", colour))
    house.said(api.TrackMuted("cam2", True))
    assert shows(house, "p2", QColor(T["tile"]), 0.1, 0.3)
    house.said(api.TrackMuted("cam2", False))
    assert shows(house, "p2", QColor(T["tile"]), 0.1, 0.3)  # not what was seen before
    house.films.write("cam2")
    qtbot.waitUntil(lambda: shows(house, "p2", colour))


def test_a_picture_that_the_line_does_not_carry_stands_still_and_says_why(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
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


def test_ones_own_camera_follows_its_source(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p1", Films.colours("local:camera")[1]))
    house.said(api.SourceChanged("camera", "muted"))
    assert shows(house, "p1", QColor(T["tile"]), 0.1, 0.3)


def test_a_ring_replaced_in_the_middle(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
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


def test_a_track_that_goes_and_comes_back(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
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


def test_a_picture_of_another_size_fills_its_tile(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
    house.films.write("cam2", size=(90, 200))
    left, right = Films.colours("cam2")
    qtbot.waitUntil(lambda: shows(house, "p2", left))
    image, tile = house.grab(), house.tile("p2").geometry()
    assert near(at(image, tile, 0.06, 0.3), left)
    assert near(at(image, tile, 0.94, 0.6), right)


def test_a_picture_that_does_not_come_is_said_to_be_awaited(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
    tile = house.tile("p2").geometry()

    def below_the_disc() -> int:
        image = house.grab().copy(tile.x(), tile.y() + 182, tile.width(), 22)
        return max(image.pixelColor(x, y).lightness() for x in range(0, image.width(), 2) for y in range(image.height()))

    assert below_the_disc() < 120
    qtbot.waitUntil(lambda: below_the_disc() > 150, timeout=round(LATE_S * 1000) + 2000)
    house.films.write("cam2")
    qtbot.waitUntil(lambda: shows(house, "p2", Films.colours("cam2")[0]))


# ---- a shared page ---------------------------------------------------------------------------------------------------------------


def test_a_shared_page_is_fitted_not_cropped(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(4, shares=(3,)), 960, 560)
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


def test_ones_own_page_is_shown_with_the_words_that_it_is_shared(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
    house.said(api.SourceChanged("screen_share", "on"))
    assert house.stage.mode == "share"
    assert ("local:screen_share", house.tile("page:local:screen_share").width()) in [call[:2] for call in house.watcher.calls]
    house.films.write("local:screen_share")
    qtbot.waitUntil(lambda: shows(house, "page:local:screen_share", Films.colours("local:screen_share")[0]))  # not mirrored
    assert house.stage._caption._text.text() == "Tôi đang trình chiếu tới mọi người"
    house.said(api.SourceChanged("screen_share", "off"))
    assert house.stage.mode == "grid"


def test_several_pages_the_newest_first_and_a_way_to_the_others(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(4, shares=(2,)))
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


def test_the_viewer_may_turn_to_the_people_until_another_page_is_shared(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(4, shares=(2,)))
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


# ---- modes, pin, self view ---------------------------------------------------------------------------------------------------------


def test_speaker_view_follows_the_speaker_and_the_strip_does_not_jump(make_house: MakeHouse) -> None:
    house = make_house(room(5, main_speaker="p2"))
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


def test_the_spotlight_is_large_in_the_speaker_view_and_marked_everywhere(make_house: MakeHouse) -> None:
    house = make_house(room(5))
    state = house.store.state
    assert state.meeting is not None
    house.change(meeting=replace(state.meeting, spotlight="p3"))
    assert house.stage.mode == "grid"
    assert "tiêu điểm" in house.tile("p3").accessibleName()
    house.stage.set_mode("speaker")
    assert house.tiles()[0] == "p3"


def test_a_pin_shows_large_and_unpinning_gives_the_grid_back(make_house: MakeHouse) -> None:
    house = make_house(room(5))
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


def test_a_pin_ends_when_the_pinned_leaves(make_house: MakeHouse) -> None:
    house = make_house(room(5))
    house.stage.pin("p4")
    house.to(without(house.store.state, "p4"))
    assert (house.stage.pinned, house.stage.mode) == (None, "grid")


def test_self_view(make_house: MakeHouse) -> None:
    house = make_house(room(3))
    house.watcher.take()
    house.stage.set_self_view(False)
    assert house.tiles() == ["p0", "p2"]
    assert ("local:camera", 0, 0, False, True) in house.watcher.take()
    house.stage.set_self_view(True)
    assert "p1" in house.tiles()


def test_an_unknown_mode_is_a_mistake_of_the_caller(make_house: MakeHouse) -> None:
    with pytest.raises(ValueError, match="mosaic"):
        make_house(room(2)).stage.set_mode("mosaic")


# ---- alone ---------------------------------------------------------------------------------------------------------------------


def test_alone_the_stage_says_who_will_come(make_house: MakeHouse) -> None:
    house = make_house(room(1, me="p0"))
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
def test_the_words_to_who_is_alone_are_not_cut(make_house: MakeHouse, size: tuple[int, int]) -> None:
    for language in ("vi", "en"):
        words.set_language(language)
        alone = make_house(room(1, me="p0"), *size).stage._alone
        for text in (alone._title, alone._line):
            assert text.heightForWidth(text.width()) <= text.height(), (language, text.text())
            assert alone.rect().contains(text.geometry())


def test_without_a_meeting_the_stage_is_empty(make_house: MakeHouse) -> None:
    house = make_house(ClientState())
    assert (house.tiles(), house.stage.first_focus(), house.watcher.calls) == ([], None, [])
    assert near(house.grab().pixelColor(100, 100), QColor(T["stage"]), 2)


# ---- letting go -----------------------------------------------------------------------------------------------------------------


def test_letting_go_gives_everything_back(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(4))
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


def test_a_full_house_comes_and_goes_without_a_word_too_many(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(60), 1280, 720)
    for state in (room(1, me="p0"), room(60), room(2), ClientState(phase="meeting"), room(30, shares=(5, 6)), room(9)):
        house.to(state)
        QApplication.processEvents()
        shown = house.tiles()
        assert len(shown) == len(set(shown))
        living = [one for one in house.stage.findChildren(QWidget) if one.objectName() in shown and one.isVisible()]
        assert len(living) == len(shown)
    wanted = {track for track in house.films.sizes() if track in house.store.state.tracks or track == "local:camera"}
    assert wanted == {"local:camera", *(f"cam{n}" for n in range(9) if n != 1)}

"""What the stage asks of the engine, and when it paints: no more than is seen."""

from __future__ import annotations

from gui.stage_room import Films, MakeHouse, room, shows
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QPaintEvent, QRegion
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from vidconf.engine import api
from vidconf.gui.stage.pictures import WINDOW_S
from vidconf.gui.stage.stage import AHEAD, SETTLE_MS

# ---- what the engine is told ---------------------------------------------------------------------------------------------------------


def test_all_that_is_shown_is_watched_once_at_its_size(make_house: MakeHouse) -> None:
    house = make_house(room(5))
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


def test_a_new_size_is_told_when_it_has_come_to_rest(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(2, me="p0"))
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


def test_a_size_that_goes_back_before_it_rests_is_never_told(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(2))
    house.watcher.take()
    house.window.resize(1100, 700)
    QApplication.processEvents()
    house.window.resize(960, 560)
    QApplication.processEvents()
    qtbot.wait(SETTLE_MS + 60)
    assert house.watcher.take() == []


def test_what_cannot_be_seen_is_not_decoded(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
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


def test_turning_a_page_watches_the_new_and_lets_the_old_rest(make_house: MakeHouse) -> None:
    house = make_house(room(40), 640, 360)
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


def test_the_next_page_is_kept_coming_small_so_that_it_is_there_when_turned_to(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(40), 640, 360)
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


def test_the_pager_is_there_only_where_there_are_pages(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(40), 640, 360)
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


def test_only_the_tiles_with_a_new_picture_are_painted_and_nothing_when_there_is_none(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(6))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p5", Films.colours("cam5")[0]))
    qtbot.wait(50)
    paints = Paints(house.stage._canvas)
    qtbot.wait(300)
    assert paints.regions == []
    house.films.write("cam3")
    qtbot.waitUntil(lambda: bool(paints.regions))
    assert [region.boundingRect() for region in paints.regions] == [house.tile("p3").geometry()]


def test_where_no_picture_can_come_there_is_no_clock(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(4, camera=False))
    assert not house.stage._clock.isActive()
    house.change(speaking=(("p2", 0.3),))
    assert house.stage._clock.isActive()
    house.change(speaking=())
    assert not house.stage._clock.isActive()


def test_nine_tiles_at_thirty_frames_a_second(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(9), 1280, 720)
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


def test_a_tile_whose_picture_has_stopped_is_told_as_such(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(2, me="p0"))
    house.films.write()
    qtbot.waitUntil(lambda: shows(house, "p1", Films.colours("cam1")[0]))
    assert {one["track"]: one["painted_fps"] for one in house.stage.painted()} == {"cam1": 0.0, "local:camera": 0.0}
    off = room(2, me="p0", camera=False)
    house.to(off)
    assert house.stage.painted() == []

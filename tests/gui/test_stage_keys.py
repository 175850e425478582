"""The stage by keyboard and mouse, and what a screen reader is told of it."""

from __future__ import annotations

from gui.stage_room import MakeHouse, room
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from vidconf import words
from vidconf.client.state import LocalSource
from vidconf.gui import theme
from vidconf.gui.focus_ring import FocusRing

# ---- keyboard, mouse, names ------------------------------------------------------------------------------------------------------


def test_arrows_move_between_tiles_and_tab_stops_once(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(9), 1280, 720)
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


def test_enter_pins_and_unpins_and_the_focus_stays_on_the_person(make_house: MakeHouse) -> None:
    house = make_house(room(5))
    tile = house.tile("p3")
    tile.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(tile, Qt.Key.Key_Return)
    assert (house.stage.pinned, house.stage.mode) == ("p3", "speaker")
    assert house.tile("p3").hasFocus()
    QTest.keyClick(house.tile("p3"), Qt.Key.Key_Enter, Qt.KeyboardModifier.KeypadModifier)
    assert (house.stage.pinned, house.stage.mode) == (None, "grid")
    assert house.tile("p3").hasFocus()


def test_enter_on_a_page_brings_it_to_the_front(make_house: MakeHouse) -> None:
    house = make_house(room(4, shares=(2, 3)))
    assert house.tiles()[0] == "page:page3"
    tile = house.tile("page:page2")
    tile.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(tile, Qt.Key.Key_Return)
    assert house.tiles()[0] == "page:page2"


def test_the_menu_is_asked_by_key_and_by_mouse(make_house: MakeHouse) -> None:
    house = make_house(room(4))
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


def test_a_double_click_asks_for_the_full_screen(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
    with qtbot.waitSignal(house.stage.asked) as caught:
        qtbot.mouseDClick(house.tile("p2"), Qt.MouseButton.LeftButton)
    qtbot.mouseRelease(house.tile("p2"), Qt.MouseButton.LeftButton)
    assert caught.args == ["full_screen", None]


def test_page_keys_and_the_wheel_turn_pages(make_house: MakeHouse) -> None:
    house = make_house(room(40), 640, 360)
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


def test_space_is_left_to_the_window_for_it_is_held_to_talk(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(3))
    outer = Keys()
    qtbot.addWidget(outer)
    house.window.setParent(outer)
    outer.show()
    house.window.show()
    QTest.keyClick(house.tile("p2"), Qt.Key.Key_Space)
    assert outer.seen == [Qt.Key.Key_Space]
    house.window.setParent(None)
    house.window.show()


def test_the_focus_ring_follows_the_tile(make_house: MakeHouse, qtbot: QtBot) -> None:
    house = make_house(room(5))
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


def test_names_for_screen_readers_in_both_languages(make_house: MakeHouse) -> None:
    house = make_house(room(3, speaking=(("p0", 0.3),)))
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


def test_the_look_is_the_same_dark_stage_in_both_themes(make_house: MakeHouse, qapp: QApplication) -> None:
    house = make_house(room(4, camera=False, me="p0"))
    light = house.grab()
    theme.apply(qapp, "dark")
    house.stage.refresh_look()
    assert house.grab() == light

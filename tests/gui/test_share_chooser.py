"""Choosing what to share, the bar that says so, the frame around it, and the strip that stays while the window is away."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from gui import states
from gui.meeting_room import cut_texts, focus, nameless, outside, own, press, quiet
from gui.page_room import Window, in_room, page_of
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QPoint, QRect, Qt
from PySide6.QtGui import QColor, QGuiApplication, QPixmap
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from vidconf import words
from vidconf.client.changes import EngineSaid, Set
from vidconf.client.state import ShareView
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.gui import share_chooser
from vidconf.gui.main_window import MainWindow
from vidconf.gui.share_chooser import ShareSheet, ShareTile
from vidconf.gui.share_frame import THICK, SharingStrip, on_desktop
from vidconf.gui.tray import Tray
from vidconf.meeting.models import Permissions

LONG = "Báo cáo tổng hợp ý kiến của các bộ, ngành, địa phương về dự thảo Luật Đất đai (sửa đổi) lần thứ 5.docx - Trình soạn thảo"
SCREEN = api.Shareable("screen:0", "HDMI-1", "screen", 0, 0, 1920, 1080)
SECOND = api.Shareable("screen:1", "DP-2", "screen", 1920, 0, 2560, 1440)
WORD = api.Shareable("window:7", LONG, "window", 10, 20, 900, 600)
SHEETS = api.Shareable("window:8", "<b>Bảng</b>", "window", 0, 0, 400, 300, True)


def screens(*shareable: api.Shareable, trouble: str = "", sound: str = "") -> api.Screens:
    return api.Screens(shareable or (SCREEN, WORD, SHEETS), trouble, sound)


def jpeg(colour: str, width: int = 320, height: int = 180) -> str:
    drawn = QPixmap(width, height)
    drawn.fill(QColor(colour))
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    drawn.save(buffer, "JPG")
    return base64.b64encode(bytes(data.data())).decode()


def opened(made: MainWindow) -> ShareSheet:
    page_of(made).toolbar.share.click()
    QApplication.processEvents()
    assert isinstance(made._sheet, ShareSheet)
    return made._sheet


def say(store: Store, *events: api.EngineEvent) -> None:
    for event in events:
        store.dispatch(EngineSaid(event))
    QApplication.processEvents()


def tile(sheet: ShareSheet, id_: str) -> ShareTile:
    return sheet._tiles[id_]


# ---- the chooser -----------------------------------------------------------------------------------------------------------


def test_screens_and_windows_are_looked_for_again_and_again(
    window: Window, store: Store, actions: RecordingActions, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_chooser, "LOOK_MS", 20)
    store.dispatch(Set({"screens": screens(SECOND)}))
    sheet = opened(window(in_room()))
    assert sheet._looking.isVisible(), "what was there an hour ago is not shown"
    assert not sheet.go.isEnabled()
    qtbot.waitUntil(lambda: actions.names().count("list_screens") > 2)
    say(store, screens())
    assert not sheet._looking.isVisible()
    assert [(one.name, one.isVisible()) for one in (*sheet._screens.tiles, *sheet._windows.tiles)] == [
        ("Màn hình 1 (1920×1080)", True), (LONG, True), ("<b>Bảng</b>", True),
    ]  # fmt: skip
    assert tile(sheet, "window:8").accessibleName() == "Cửa sổ <b>Bảng</b>, Đang thu nhỏ"
    assert "&lt;b&gt;" in tile(sheet, "window:8").toolTip()
    sheet.reject()
    count = actions.names().count("list_screens")
    qtbot.wait(60)
    assert actions.names().count("list_screens") == count


def test_a_window_is_chosen_and_shared_with_sound(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(in_room())
    sheet = opened(made)
    say(store, screens())
    tile(sheet, "window:7").click()
    sheet.sound.click()
    assert sheet.go.isEnabled()
    sheet.go.click()
    assert actions.named("share") == [{"device": "window:7", "name": LONG, "sound": True}]
    assert made._sheet is None


def test_by_keyboard_alone(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(in_room())
    made.on_shortcut("share")
    sheet = made._sheet
    assert isinstance(sheet, ShareSheet)
    say(store, screens(SCREEN, SECOND, WORD))
    assert focus() is tile(sheet, "screen:0"), "the first one has the keyboard as soon as it is there"
    press(focus(), Qt.Key.Key_Space)
    assert tile(sheet, "screen:0").isChecked()
    press(focus(), Qt.Key.Key_Right)
    assert (focus(), tile(sheet, "screen:1").isChecked()) == (tile(sheet, "screen:1"), True)
    press(focus(), Qt.Key.Key_Return)
    assert actions.named("share") == [{"device": "screen:1", "name": "Màn hình 2 (DP-2, 2560×1440)", "sound": False}]


def test_a_double_click_shares_and_escape_gives_up(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(in_room())
    sheet = opened(made)
    say(store, screens())
    QTest.mouseDClick(tile(sheet, "screen:0"), Qt.MouseButton.LeftButton)
    assert [call["device"] for call in actions.named("share")] == ["screen:0"]
    opened(made)
    press(focus(), Qt.Key.Key_Escape)
    assert made._sheet is None
    assert len(actions.named("share")) == 1


def test_what_was_chosen_stays_chosen_while_it_is_there(window: Window, store: Store) -> None:
    sheet = opened(window(in_room()))
    say(store, screens())
    tile(sheet, "window:7").click()
    kept = tile(sheet, "window:7")
    say(store, screens(SCREEN, SECOND, api.Shareable("window:7", "Tên mới", "window", 0, 0, 9, 9)))
    assert tile(sheet, "window:7") is kept
    assert kept.isChecked()
    assert kept.name == "Tên mới"
    kept.setFocus()
    say(store, screens(SCREEN, SECOND))
    assert "window:7" not in sheet._tiles
    assert not sheet.go.isEnabled()
    assert sheet._no_windows.isVisible()
    assert focus() is tile(sheet, "screen:0"), "the keyboard is not lost with the window"


def test_pictures_come_and_what_is_none_does_not_matter(window: Window, store: Store) -> None:
    sheet = opened(window(in_room()))
    say(store, screens(), api.Thumbnail("window:7", jpeg("#20b040")), api.Thumbnail("screen:0", "no base64!"), api.Thumbnail("window:8", jpeg("red")))
    shown = tile(sheet, "window:7")
    image = shown.grab().toImage()
    colour = image.pixelColor(image.width() // 2, image.height() // 3)
    assert abs(colour.green() - 0xB0) < 12
    assert colour.red() < 60
    assert tile(sheet, "screen:0")._pixmap.isNull()
    minimised = tile(sheet, "window:8").grab().toImage()
    assert minimised.pixelColor(minimised.width() // 4, minimised.height() // 4).red() < 60, "no old picture of what is minimised"


@pytest.mark.parametrize("code", ["wayland", "no_display", "unsupported", "screen_not_allowed", "from_next_year"])
def test_where_nothing_can_be_shared_it_says_why_and_a_page_can(window: Window, store: Store, code: str) -> None:
    made = window(in_room())
    sheet = opened(made)
    say(store, api.Screens((), code))
    assert sheet._trouble.isVisible()
    assert sheet._what.text()
    assert code != "wayland" or "X11" in sheet._cure.text()
    assert not sheet.sound.isVisible()
    assert not sheet.go.isEnabled()
    assert sheet.page.isEnabled()
    assert cut_texts(sheet) == []
    say(store, screens())
    assert not sheet._trouble.isVisible()


def test_sound_is_offered_where_it_can_come_and_by_who_may_speak(window: Window, store: Store) -> None:
    made = window(in_room())
    sheet = opened(made)
    say(store, screens())
    sheet.sound.click()
    assert "trừ tiếng cuộc họp" in sheet._no_sound.text()
    say(store, screens(sound="no_sound_server"))
    assert (sheet.sound.isEnabled(), sheet.sound.isChecked()) == (False, False)
    assert "PulseAudio" in sheet._no_sound.text()
    say(store, screens())
    assert sheet.sound.isEnabled()
    sheet.reject()
    go_to(store, in_room("p3", meeting=quiet(permissions=Permissions(microphone="moderators"))))
    sheet = opened(made)
    say(store, screens())
    assert not sheet.sound.isEnabled(), "else it would be a second microphone"
    assert sheet._no_sound.text()


def test_who_may_not_share_is_told_instead(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(in_room("p3", meeting=quiet(permissions=Permissions(screen_share="moderators"))))
    page_of(made).toolbar.share.click()
    assert made._sheet is None
    assert "tell_refusal" in actions.names()


def test_it_goes_with_the_meeting(window: Window, store: Store) -> None:
    made = window(in_room())
    opened(made)
    listeners = len(store._listeners)
    go_to(store, states.ended("left"))
    assert made._sheet is None
    assert len(store._listeners) < listeners


@pytest.mark.parametrize("size", [(1280, 800), (800, 600), (640, 480)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_and_everything_has_a_name(window: Window, store: Store, size: tuple[int, int], theme: str, qapp: QApplication) -> None:
    from vidconf.gui import theme as themes

    themes.apply(qapp, theme)  # type: ignore[arg-type]
    for language in words.LANGUAGES:
        words.set_language(language)
        made = window(in_room(), *size)
        sheet = opened(made)
        many = [api.Shareable(f"window:{n}", f"{LONG} {n}", "window", 0, 0, 9, 9) for n in range(30)]
        say(store, screens(SCREEN, SECOND, *many, sound="no_sound_server"))
        assert made.rect().contains(sheet.card.geometry())
        assert cut_texts(sheet) == []
        assert nameless(sheet) == []
        assert outside(sheet) == []
        sheet.reject()


# ---- while one shares ------------------------------------------------------------------------------------------------------


def sharing(store: Store, share: ShareView, state: str = "on", **fields: Any) -> None:
    store.dispatch(Set({"share": share}))
    own(store, "screen_share", **{"state": state, "wanted": state, "device": share.device, **fields})
    QApplication.processEvents()


def test_the_bar_says_what_is_seen_pauses_and_stops(window: Window, store: Store, actions: RecordingActions) -> None:
    page = page_of(window(in_room()))
    bar = page.bars.sharing
    sharing(store, ShareView("window:7", "Dự thảo", sound=True))
    assert bar._text.text() == "Mọi người đang thấy cửa sổ Dự thảo, có âm thanh máy tính"
    bar.pause.click()
    assert actions.named("pause_share") == [{"paused": True}]
    sharing(store, ShareView("window:7", "Dự thảo", sound=True), "muted")
    assert bar.isVisible()
    assert "tạm dừng" in bar._text.text()
    assert bar.property("tone") == "warn"
    assert bar.pause.text() == "Tiếp tục"
    bar.pause.click()
    assert actions.named("pause_share")[-1] == {"paused": False}
    assert bar.pause.toolTip().endswith("(Ctrl+Alt+B)")
    page.on_shortcut("pause_share")
    assert [call["paused"] for call in actions.named("pause_share")] == [True, False, False]
    hidden = api.SharedArea("window:7", 0, 0, 9, 9, False)
    sharing(store, ShareView("window:7", "Dự thảo", area=hidden))
    assert bar._text.text() == "Cửa sổ Dự thảo đang thu nhỏ, mọi người thấy hình cuối cùng của nó"
    sharing(store, ShareView("screen:0", "Màn hình 1"))
    assert bar._text.text() == "Mọi người đang thấy Màn hình 1"
    bar.stop.click()
    assert actions.names()[-1] == "stop_share"
    page.toolbar.share.click()
    assert actions.names()[-1] == "stop_share"
    sharing(store, ShareView(), "off")
    actions.forget()
    page.on_shortcut("pause_share")
    assert actions.names() == []


def test_the_frame_is_around_what_is_seen_and_only_then(window: Window, store: Store) -> None:
    made = window(in_room())
    area = api.SharedArea("window:7", 100, 120, 300, 200)
    sharing(store, ShareView("window:7", "Dự thảo"))
    assert made.sharing.frame is None, "nobody knows yet where it is"
    sharing(store, ShareView("window:7", "Dự thảo", area=area))
    frame = made.sharing.frame
    assert frame is not None
    assert frame.visible
    seen = QRect(100, 120, 300, 200)
    around = [edge.geometry() for edge in frame.edges]
    assert not any(one.intersects(seen) for one in around), "it is not in the picture"
    assert around[0] == QRect(100 - THICK, 120 - THICK, 300 + 2 * THICK, THICK)
    flags = frame.edges[0].windowFlags()
    for flag in (Qt.WindowType.WindowTransparentForInput, Qt.WindowType.WindowStaysOnTopHint, Qt.WindowType.FramelessWindowHint):
        assert flag in flags
    sharing(store, ShareView("window:7", "Dự thảo", area=api.SharedArea("window:7", 200, 120, 300, 200)))
    assert frame.edges[0].geometry().x() == 200 - THICK, "it goes along"
    sharing(store, ShareView("window:7", "Dự thảo", area=area), "muted")
    assert not frame.visible, "paused: nobody sees what is there now"
    sharing(store, ShareView("window:7", "Dự thảo", area=api.SharedArea("window:7", 0, 0, 300, 200, False)))
    assert not frame.visible
    sharing(store, ShareView("screen:0", "Màn hình 1", area=api.SharedArea("screen:0", 0, 0, 800, 800)))
    assert frame.visible
    assert all(QRect(0, 0, 800, 800).contains(edge.geometry()) for edge in frame.edges), "a screen has no outside"
    sharing(store, ShareView(), "off")
    assert not frame.visible
    made.sharing.let_go()


def test_the_strip_is_there_while_the_window_is_not(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(in_room())
    sharing(store, ShareView("screen:0", "Màn hình 1"))
    assert made.sharing.strip is None
    made.hide()
    strip = made.sharing.strip
    assert isinstance(strip, SharingStrip)
    assert strip.isVisible()
    assert strip.text.text() == "Mọi người đang thấy Màn hình 1"
    assert nameless(strip) == []
    assert cut_texts(strip) == []
    strip.pause.click()
    assert actions.named("pause_share") == [{"paused": True}]
    strip.microphone.click()
    assert actions.names()[-1] == "set_microphone"
    sharing(store, ShareView("screen:0", "Màn hình 1"), "muted")
    assert made.sharing.strip is strip
    assert strip.pause.text() == "Tiếp tục"
    strip.stop.click()
    assert actions.names()[-1] == "stop_share"
    where = strip.pos()
    QTest.mousePress(strip, Qt.MouseButton.LeftButton, pos=QPoint(3, 3))
    QTest.mouseMove(strip, QPoint(40, 30))
    QTest.mouseRelease(strip, Qt.MouseButton.LeftButton, pos=QPoint(3, 3))
    assert strip.pos() != where
    strip.back.click()
    assert made.isVisible()
    assert made.sharing.strip is None
    made.showMinimized()
    assert made.sharing.strip is not None
    sharing(store, ShareView(), "off")
    assert made.sharing.strip is None
    made.showNormal()


def test_a_moderator_who_stops_it_takes_the_frame_and_the_strip(window: Window, store: Store) -> None:
    made = window(in_room())
    sharing(store, ShareView("screen:0", "Màn hình 1", area=api.SharedArea("screen:0", 0, 0, 800, 800)))
    made.hide()
    assert made.sharing.frame is not None
    sharing(store, ShareView(), "off", wanted="off")
    assert not made.sharing.frame.visible
    assert made.sharing.strip is None
    sharing(store, ShareView("screen:0", "Màn hình 1", area=api.SharedArea("screen:0", 0, 0, 800, 800)))
    go_to(store, states.ended("removed"))
    assert not made.sharing.frame.visible
    assert made.sharing.strip is None
    made.show()


def test_the_tray_stops_it_too(store: Store, actions: RecordingActions) -> None:
    tray = Tray(store, actions)
    assert not tray._stop_share.isVisible()
    go_to(store, in_room())
    assert not tray._stop_share.isVisible()
    own(store, "screen_share", state="muted", wanted="muted")
    assert tray._stop_share.isVisible()
    tray._stop_share.trigger()
    assert actions.names() == ["stop_share"]
    tray.close()


class Screen:
    """As much of a QScreen as is asked of it."""

    def __init__(self, left: int, top: int, width: int, height: int, ratio: float) -> None:
        self._at, self._ratio = QRect(left, top, width, height), ratio

    def geometry(self) -> QRect:
        return self._at

    def devicePixelRatio(self) -> float:
        return self._ratio


def test_places_are_found_on_scaled_screens() -> None:
    plain, fine = Screen(0, 0, 1920, 1080, 1.0), Screen(1920, 0, 1920, 1080, 2.0)
    both: Any = [plain, fine]
    assert on_desktop(api.SharedArea("window:1", 100, 50, 400, 300), both) == (QRect(100, 50, 400, 300), plain.geometry())
    assert on_desktop(api.SharedArea("window:1", 2120, 100, 400, 300), both) == (QRect(2020, 50, 200, 150), fine.geometry())
    assert on_desktop(api.SharedArea("screen:1", 1920, 0, 3840, 2160), both) == (fine.geometry(), fine.geometry())
    assert on_desktop(api.SharedArea("window:1", -9000, 0, 40, 30), both)[1] == plain.geometry()


def test_the_frame_of_a_window_that_fills_the_screen_is_still_on_it(window: Window, store: Store) -> None:
    made = window(in_room())
    whole = QGuiApplication.primaryScreen().geometry()
    area = api.SharedArea("window:7", whole.x(), whole.y(), whole.width(), whole.height())
    sharing(store, ShareView("window:7", "Dự thảo", area=area))
    assert made.sharing.frame is not None
    assert all(whole.contains(edge.geometry()) for edge in made.sharing.frame.edges)

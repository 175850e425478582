"""The meeting's page in the real window: bars, panels beside and over the stage, keys, what comes from the stage, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gui import states
from gui.meeting_room import (
    change,
    choose,
    come,
    cut_texts,
    entries,
    focus,
    open_menu,
    own,
    press,
    write,
)
from gui.page_room import Window, in_room, page_of
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import QMetaObject, QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel, QWidget

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.store import Store
from vidconf.gui.meeting_page import BESIDE, MeetingPage
from vidconf.gui.panels.frame import WIDTH as PANEL
from vidconf.gui.share_chooser import ShareSheet
from vidconf.gui.top_bar import network

pytestmark = pytest.mark.usefixtures("clock")

# ---- the top bar -------------------------------------------------------------------------------------------------------------------


def test_the_top_bar_says_what_where_and_since_when(window: Window, store: Store, clock: list[float]) -> None:
    top = page_of(window(in_room())).top
    assert top._title.text() == states.LONG_TITLE
    assert top._clock.text() == "00:29:50"
    clock[0] += 3600
    top._show_time()
    assert top._clock.text() == "01:29:50"
    store.dispatch(Set({"clock_offset_s": -30.0}))  # the server's clock is what counts
    assert top._clock.text() == "01:29:20"
    change(store, started_at=None)
    assert top._clock.text() == "Chưa bắt đầu"
    assert top._lock.toolTip() == "Phòng đang mở"
    change(store, locked=True)
    assert top._lock.toolTip() == "Phòng đang khóa"


@pytest.mark.parametrize(
    ("fields", "how", "word"),
    [
        ({"quality": {"p1": "excellent"}}, "good", "Mạng tốt"), ({"quality": {"p1": "good"}}, "fair", "Mạng tạm"),
        ({"quality": {"p1": "poor"}}, "weak", "Mạng yếu"), ({"quality": {"p1": "lost"}}, "lost", "Mất mạng"), ({"quality": {}}, "good", "Mạng tốt"),
        ({"control": "reconnecting", "reconnecting": True}, "lost", "Mất mạng"), ({"media": "reconnecting"}, "lost", "Mất mạng"),
        ({"media": "connecting"}, "connecting", "Đang nối…"),
    ],
)  # fmt: skip
def test_the_network_is_bars_and_a_word(window: Window, fields: dict[str, Any], how: str, word: str) -> None:
    state = in_room(**fields)
    assert network(state) == how
    made = window(state)
    top = page_of(made).top
    assert top._network_word.text() == word
    assert top._network_word.isVisible()
    assert top._network.accessibleName() == word
    made.resize(700, 600)
    QApplication.processEvents()
    # Where there is little room, what is well keeps its sign only, what is not is still said.
    assert top._network_word.isVisible() == (how not in ("good", "fair"))


def test_the_view_is_chosen_by_name_and_by_key(window: Window) -> None:
    made = window(in_room())
    page = page_of(made)
    assert page.top.view.text() == "Lưới"
    page.top.view.click()
    assert entries(open_menu()) == ["Lưới", "Người nói", "Hiện hình của tôi"]
    choose(open_menu(), "Người nói")
    assert (page.stage.mode, page.top.view.text()) == ("speaker", "Người nói")
    made.on_shortcut("view")
    assert (page.stage.mode, page.top.view.text()) == ("grid", "Lưới")
    page.top.view.click()
    choose(open_menu(), "Hiện hình của tôi")
    assert not page.stage.self_view
    page.stage.pin("p3")
    page._show_view()
    page.top.view.click()
    choose(open_menu(), "Bỏ ghim")
    assert page.stage.pinned is None


def test_information_gives_the_link_without_any_secret(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(in_room(link=states.CHAIR_LINK))
    page = page_of(made)
    page.top.information.click()
    card = page._popover
    assert card is not None
    shown = [label.text() for label in card.findChildren(QLabel) if label.isVisible()]
    assert states.LONG_TITLE in shown
    assert states.CODE in shown
    assert "7 trong phòng, có 1 điểm cầu" in shown
    assert not any("sss" in text for text in shown)
    assert cut_texts(card) == []
    assert card.isAncestorOf(focus())
    card.copy.click()  # type: ignore[union-attr]
    assert QGuiApplication.clipboard().text() == f"{states.SERVER}/m/{states.CODE}"
    come(store, states.person("z", "Thêm một"))
    assert any(label.text() == "8 trong phòng, có 1 điểm cầu" for label in card.findChildren(QLabel))
    press(focus(), Qt.Key.Key_Escape)
    assert page._popover is None
    assert focus() is page.top.information


def test_a_popover_goes_on_a_click_elsewhere_and_on_the_same_button(window: Window) -> None:
    made = window(in_room())
    page = page_of(made)
    button = page.toolbar.microphone_devices
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    card = page._popover
    assert card is not None
    assert page.rect().contains(card.geometry())
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert page._popover is None
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    QTest.mouseClick(page.stage, Qt.MouseButton.LeftButton, pos=QPoint(4, 4))
    assert page._popover is None
    QTest.mouseClick(page.toolbar.camera_devices, Qt.MouseButton.LeftButton)
    QTest.mouseClick(page.top.information, Qt.MouseButton.LeftButton)
    assert page._popover is not None
    assert page._popover.objectName() == "information"


def test_devices_are_switched_live_and_the_level_is_seen(window: Window, store: Store, actions: RecordingActions) -> None:
    page = page_of(window(in_room()))
    page.toolbar.microphone_devices.click()
    assert "refresh_devices" in actions.names()
    card: Any = page._popover
    assert focus() is card.lists.microphone
    listed = [card.lists.microphone.itemText(n) for n in range(card.lists.microphone.count())]
    assert "Micrô tích hợp" in listed
    card.lists.microphone.setCurrentIndex(listed.index("Micrô tích hợp"))
    card.lists.microphone.activated.emit(listed.index("Micrô tích hợp"))
    assert actions.named("choose_device") == [{"source": "microphone", "device_id": "mic2"}]
    card.lists.speaker.activated.emit(2)
    assert actions.named("choose_speaker") == [{"device_id": "spk2"}]
    own(store, "microphone", level=0.5)
    assert card.level.gauge.level > 0.5
    own(store, "microphone", state="off", wanted="off", error="device_lost", level=0.0)
    assert "Micrô vừa bị rút" in card._trouble.text()
    QApplication.processEvents()
    assert cut_texts(card) == []


# ---- panels ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [640, 800, BESIDE - 1, BESIDE, 1280])
def test_the_panel_stands_beside_the_stage_or_over_it(window: Window, width: int) -> None:
    made = window(in_room(), width, 600)
    page = page_of(made)
    page.open_panel("people")
    QApplication.processEvents()
    panel = page.people
    assert panel.width() == PANEL
    assert panel.geometry().right() == page.middle.width() - 1
    assert panel.height() == page.middle.height()
    assert page._room.width() == (width - PANEL if width >= BESIDE else width)
    page.close_panel()
    assert page._room.width() == width


def test_one_panel_at_a_time_and_its_button_says_so(window: Window) -> None:
    page = page_of(window(in_room()))
    page.toolbar.people.click()
    assert (page.open, page.people.isVisible(), page.chat.isVisible()) == ("people", True, False)
    assert page.toolbar.people.property("state") == "open"
    page.toolbar.chat.click()
    assert (page.open, page.people.isVisible(), page.chat.isVisible()) == ("chat", False, True)
    assert (page.toolbar.people.property("state"), page.toolbar.chat.property("state")) == ("", "open")
    assert focus() is page.chat.composer.text
    press(focus(), Qt.Key.Key_Escape)
    assert page.open == ""
    assert focus() is page.toolbar.chat
    page.toolbar.chat.click()
    page.chat.close_button.click()
    assert page.open == ""


def test_the_keys_of_the_table(window: Window, actions: RecordingActions, store: Store) -> None:
    made = window(in_room())
    page = page_of(made)
    made.on_shortcut("people")
    assert page.open == "people"
    made.on_shortcut("chat")
    assert page.open == "chat"
    made.on_shortcut("chat")
    assert page.open == ""
    made.on_shortcut("toolbar")
    assert focus() is page.toolbar.microphone
    made.on_shortcut("hand")
    made.on_shortcut("microphone")
    made.on_shortcut("admit")
    assert [call.name for call in actions.calls if call.name != "watch"] == ["raise_hand", "set_microphone", "admit"]
    own(store, "screen_share", state="on", wanted="on", device="/tmp/a.png")
    made.on_shortcut("share")
    assert "stop_share" in actions.names()
    assert not page.on_shortcut("no_such")


def test_real_keys_reach_the_page(window: Window) -> None:
    made = window(in_room())
    page = page_of(made)
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    press(focus(), Qt.Key.Key_C, both)
    assert page.open == "chat"
    write(page.chat.composer.text, "đang viết")
    press(focus(), Qt.Key.Key_P, both)
    assert page.open == "people"
    assert page.chat.composer.text.toPlainText() == "đang viết"
    press(focus(), Qt.Key.Key_F2)
    assert focus() is page.toolbar.microphone


def test_f6_goes_round_the_panes(window: Window) -> None:
    made = window(in_room())
    page = page_of(made)
    page.open_panel("people")
    page.toolbar.microphone.setFocus()
    panes: list[QWidget] = [page.top, page._room, page.people, page.toolbar]
    for pane in panes:
        press(focus(), Qt.Key.Key_F6)
        assert pane.isAncestorOf(focus()), pane
    page.close_panel()
    page.toolbar.microphone.setFocus()
    for pane in (page.top, page._room, page.toolbar):
        press(focus(), Qt.Key.Key_F6)
        assert pane.isAncestorOf(focus()), pane


def test_the_keyboard_begins_at_the_microphone(window: Window, qtbot: Any) -> None:
    made = window(in_room())
    qtbot.waitUntil(lambda: QApplication.focusWidget() is page_of(made).toolbar.microphone)


def test_tab_goes_from_the_top_over_the_stage_and_the_panel_to_the_bar_and_never_stops(window: Window) -> None:
    made = window(in_room())
    page = page_of(made)
    page.open_panel("people")
    page.top.view.setFocus()
    order: list[str] = []
    names = {page.top: "top", page._room: "stage", page.people: "panel", page.toolbar: "bar", page.toast: "toast"}
    for _ in range(90):
        QTest.keyClick(focus(), Qt.Key.Key_Tab)
        name = next((name for pane, name in names.items() if pane.isAncestorOf(focus())), type(focus()).__name__)
        if not order or order[-1] != name:
            order.append(name)
        if focus() is page.top.view:
            break
    assert focus() is page.top.view, order
    assert order == ["top", "stage", "panel", "bar", "top"]


# ---- sharing -----------------------------------------------------------------------------------------------------------------------


def test_a_page_is_chosen_in_a_dialog_that_holds_nothing_up(
    window: Window, store: Store, actions: RecordingActions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "exec", lambda *_: pytest.fail("exec stops the loop"))
    QApplication.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs, True)
    picture = tmp_path / "trang 1.png"
    picture.write_bytes(b"x")
    made = window(in_room())
    page = page_of(made)
    page.toolbar.share.click()
    chooser = made._sheet
    assert isinstance(chooser, ShareSheet)
    chooser.page.click()
    dialog = page._dialog
    assert dialog is not None
    assert made._sheet is None
    assert dialog.isVisible()
    assert "*.png *.jpg" in dialog.nameFilters()[0]
    page.choose_page()
    assert page._dialog is dialog, "one at a time"
    store.dispatch(Set({"unread_chat": 7}))
    assert page.toolbar._chat_badge._text == "7", "the meeting goes on meanwhile"
    dialog.setDirectory(str(tmp_path))
    dialog.selectFile(str(picture))
    QMetaObject.invokeMethod(dialog, "accept")
    QApplication.processEvents()
    assert actions.named("share_image") == [{"path": str(picture)}]
    assert page._dialog is None
    page.choose_page()
    assert page._dialog is not None
    page._dialog.reject()
    assert len(actions.named("share_image")) == 1
    QApplication.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs, False)


def test_a_click_while_it_opens_gives_it_up(window: Window, store: Store, actions: RecordingActions) -> None:
    page = page_of(window(in_room()))
    own(store, "screen_share", wanted="on", pending=True)
    page.toolbar.share.click()
    assert actions.names() == ["stop_share"]
    assert page._dialog is None


# ---- the stage ---------------------------------------------------------------------------------------------------------------------


def test_a_tiles_menu_is_the_lists_menu(window: Window, actions: RecordingActions) -> None:
    page = page_of(window(in_room()))
    page.stage.asked.emit("participant_menu", ("p5", page.mapToGlobal(QPoint(200, 200))))
    choose(open_menu(), "Tắt micrô")
    assert actions.named("mute") == [{"participants": ["p5"]}]
    page.stage.asked.emit("participant_menu", ("p3", page.mapToGlobal(QPoint(200, 200))))
    choose(open_menu(), "Đưa ra khỏi phòng…")
    row: Any = page.people.list.row_of(("room", "p3"))
    assert page.open == "people"
    assert row.question.isVisible(), "asked where the person stands in the list"
    assert focus() is row.question.no
    page.stage.asked.emit("participant_menu", ("p2", page.mapToGlobal(QPoint(200, 200))))
    choose(open_menu(), "Nhắn riêng")
    assert page.open == "chat"
    assert page.chat.composer.recipient == "p2"
    assert focus() is page.chat.composer.text
    page.stage.asked.emit("participant_menu", ("p2", page.mapToGlobal(QPoint(200, 200))))
    choose(open_menu(), "Ghim, chỉ máy này thấy")
    assert page.stage.pinned == "p2"
    page.stage.asked.emit("participant_menu", ("nobody", QPoint(1, 1)))
    assert QApplication.activePopupWidget() is None


def test_full_screen_from_stage_bar_and_menu(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    made = window(in_room())
    page = page_of(made)
    turned: list[int] = []
    monkeypatch.setattr(made, "turn_full_screen", lambda: turned.append(1))
    page.stage.asked.emit("full_screen", None)
    page.top.full_screen.click()
    page.toolbar.asked.emit("full_screen")
    assert len(turned) == 3
    monkeypatch.undo()
    made.showFullScreen()
    QApplication.processEvents()
    assert "Thôi" in page.top.full_screen.toolTip()
    made.showNormal()
    QApplication.processEvents()
    assert "Thôi" not in page.top.full_screen.toolTip()


def test_more_leads_to_settings_shortcuts_and_the_link(window: Window) -> None:
    made = window(in_room())
    page = page_of(made)
    for text, sheet in (("Cài đặt", "SettingsSheet"), ("Phím tắt", "ShortcutsSheet")):
        page.toolbar.more.click()
        choose(open_menu(), next(entry for entry in entries(open_menu()) if entry.startswith(text)))
        assert type(made._sheet).__name__ == sheet
        made._sheet.reject()  # type: ignore[union-attr]
    page.toolbar.more.click()
    choose(open_menu(), "Chép liên kết mời")
    assert QGuiApplication.clipboard().text() == f"{states.SERVER}/m/{states.CODE}"
    page.toolbar.leave.click()
    assert type(made._sheet).__name__ == "LeaveSheet"


# ---- made anew ---------------------------------------------------------------------------------------------------------------------


def test_another_language_keeps_what_was_open_and_written(window: Window, qtbot: Any) -> None:
    made = window(in_room())
    page = page_of(made)
    page._set_mode("speaker")
    page.stage.pin("p3")
    page.stage.set_self_view(False)
    page.open_panel("chat")
    page.chat.write_to("p3")
    write(page.chat.composer.text, "Đang viết dở")
    page.people.search.setText("quảng")
    words.set_language("en")
    made.rebuild()
    anew = page_of(made)
    assert anew is not page
    assert anew.toolbar.people.text() == "People"
    assert (anew.open, anew.stage.mode, anew.stage.pinned, anew.stage.self_view) == ("chat", "speaker", "p3", False)
    qtbot.waitUntil(lambda: anew.chat.composer.text.toPlainText() == "Đang viết dở")
    assert anew.chat.composer.recipient == "p3"
    assert anew.people.search.text() == "quảng"


def test_the_page_lets_go_of_everything(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(in_room())
    page = page_of(made)
    page.toolbar.microphone_devices.click()
    page.choose_page()
    listeners = len(store._listeners)
    go_to(store, states.ended("left"))
    assert page._popover is None
    assert len(store._listeners) <= listeners - 1
    assert not page.top._tick.isActive()
    assert not page.bars.floor._tick.isActive()


def test_out_of_the_meeting_and_in_again(window: Window, store: Store) -> None:
    made = window(in_room())
    go_to(store, states.in_lobby())
    assert not isinstance(made.page, MeetingPage)
    go_to(store, in_room())
    assert page_of(made).people is not None

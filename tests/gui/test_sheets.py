"""Sheets: they take the keyboard, keep it, give it back; leaving, creating a meeting, the list of keys, about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gui import states
from gui.finding import button, focusable, has_button, tab_round, texts
from gui.meeting_room import cut_texts, focus, nameless, press, write
from gui.recording import RecordingActions
from PySide6.QtCore import QDateTime, QEvent, QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from shiboken6 import isValid

from vidconf import __version__, words
from vidconf.client.changes import Set
from vidconf.client.rest import CODES
from vidconf.client.store import Store
from vidconf.gui import shortcuts
from vidconf.gui.create_sheet import TITLE_LIMIT, CreateSheet
from vidconf.gui.main_window import MainWindow
from vidconf.gui.parts import Text
from vidconf.gui.questions import AboutSheet, LeaveSheet, ShortcutsSheet
from vidconf.gui.sheet import EDGE, Sheet

Window = Callable[..., MainWindow]
SIZES = [(1280, 800), (800, 600), (640, 480)]


def sheet_of(window: MainWindow) -> Any:
    QApplication.processEvents()
    assert window._sheet is not None
    return window._sheet


OPEN: dict[str, Callable[[MainWindow], None]] = {
    "create": lambda window: window._on_asked("create", None), "shortcuts": lambda window: window._on_asked("shortcuts", None),
    "about": lambda window: window._on_asked("about", None), "settings": lambda window: window._on_asked("settings", None),
}  # fmt: skip


# ---- every sheet ----


@pytest.mark.parametrize("which", OPEN)
@pytest.mark.parametrize("size", SIZES)
def test_it_lies_inside_the_window_whole_and_named(window: Window, which: str, size: tuple[int, int]) -> None:
    for language in words.LANGUAGES:
        words.set_language(language)
        made = window(states.home(devices=states.DEVICES), *size)
        OPEN[which](made)
        sheet = sheet_of(made)
        assert sheet.geometry() == made.rect(), "the rest cannot be clicked"
        assert made.rect().adjusted(EDGE, EDGE, -EDGE, -EDGE).contains(sheet.card.geometry())
        assert sheet.accessibleName()
        assert cut_texts(sheet) == []
        assert nameless(sheet) == []


@pytest.mark.parametrize("which", OPEN)
def test_tab_goes_round_inside(window: Window, which: str) -> None:
    made = window(states.home(devices=states.DEVICES))
    OPEN[which](made)
    sheet = sheet_of(made)
    assert sheet.isAncestorOf(focus())
    assert set(tab_round(made)) == set(focusable(sheet))
    first = focus()
    press(first, Qt.Key.Key_Backtab, Qt.KeyboardModifier.ShiftModifier)
    press(focus(), Qt.Key.Key_Tab)
    assert focus() is first


@pytest.mark.parametrize("which", OPEN)
def test_esc_closes_it_and_the_keyboard_is_where_it_was(window: Window, which: str) -> None:
    made = window(states.home())
    before = focus()
    OPEN[which](made)
    sheet = sheet_of(made)
    press(focus(), Qt.Key.Key_Escape)
    assert made._sheet is None
    assert not sheet.isVisible()
    assert focus() is before


@pytest.mark.parametrize("which", OPEN)
def test_it_takes_nothing_with_it_when_it_goes(window: Window, which: str) -> None:
    """The window's own handle, as PySide knows it, outlives every sheet, tabbed through or not."""
    made = window(states.home(devices=states.DEVICES))
    handle = made.windowHandle()
    for tabs in (0, 40):
        OPEN[which](made)
        for _ in range(tabs):
            press(focus(), Qt.Key.Key_Tab)
        press(focus(), Qt.Key.Key_Escape)
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        assert isValid(handle)


def test_one_at_a_time(window: Window) -> None:
    made = window(states.home())
    OPEN["create"](made)
    first = sheet_of(made)
    OPEN["about"](made)
    assert not first.isVisible()
    assert isinstance(sheet_of(made), AboutSheet)


def test_it_grows_and_shrinks_with_the_window(window: Window) -> None:
    made = window(states.home())
    OPEN["shortcuts"](made)
    for width, height in ((640, 480), (1280, 800), (700, 500)):
        made.resize(width, height)
        QApplication.processEvents()
        assert sheet_of(made).geometry() == made.rect()
        assert made.rect().contains(sheet_of(made).card.geometry())


def test_what_is_longer_than_the_window_scrolls_its_answers_stay(window: Window) -> None:
    made = window(states.home(), 640, 480)
    sheet = Sheet(made, "Dài")
    sheet.put(*[Text(f"Dòng {n}", wrap=True) for n in range(60)])
    from vidconf.gui.parts import button as make_button

    answer = make_button("Đóng", "accent", do=sheet.accept)
    sheet.answers(None, answer)
    made.open_sheet(sheet)
    QApplication.processEvents()
    assert made.rect().contains(answer.mapTo(made, answer.rect().bottomRight()))
    assert sheet._area.verticalScrollBar().maximum() > 0


def test_the_page_behind_cannot_be_clicked(window: Window, actions: RecordingActions) -> None:
    made = window(states.home())
    at = made.page.link.mapTo(made, QPoint(5, 5))  # type: ignore[union-attr]
    OPEN["about"](made)
    assert made.childAt(at) is sheet_of(made) or sheet_of(made).isAncestorOf(made.childAt(at))


# ---- leaving ----


@pytest.mark.parametrize(
    ("state", "answers"),
    [
        (states.in_lobby(), {"Ở lại", "Rời phòng chờ"}), (states.in_meeting("p3"), {"Ở lại", "Rời họp"}),
        (states.in_meeting("p1"), {"Ở lại", "Kết thúc cho tất cả", "Rời họp"}), (states.in_meeting("p7"), {"Ở lại", "Rời họp"}),
    ],
    ids=["lobby", "delegate", "chair", "technician"],
)  # fmt: skip
def test_who_may_do_what_on_leaving(window: Window, state: Any, answers: set[str]) -> None:
    made = window(state)
    made.ask_leave()
    sheet = sheet_of(made)
    assert isinstance(sheet, LeaveSheet)
    assert all(has_button(sheet, answer) for answer in answers)
    assert has_button(sheet, "Kết thúc cho tất cả") == ("Kết thúc cho tất cả" in answers)


@pytest.mark.parametrize(("answer", "asked"), [("Ở lại", []), ("Rời họp", ["leave"]), ("Kết thúc cho tất cả", ["end_for_all"])])
@pytest.mark.parametrize("by", ["click", "space", "enter"])
def test_leaving_or_staying(window: Window, actions: RecordingActions, answer: str, asked: list[str], by: str) -> None:
    made = window(states.in_meeting())
    made.ask_leave()
    one = button(sheet_of(made), answer)
    actions.forget()
    if by == "click":
        QTest.mouseClick(one, Qt.MouseButton.LeftButton)
    else:
        one.setFocus()
        press(one, Qt.Key.Key_Space if by == "space" else Qt.Key.Key_Return)
    assert actions.names() == asked
    assert made._sheet is None


def test_the_question_goes_when_the_meeting_does(window: Window, store: Store) -> None:
    made = window(states.in_meeting())
    made.ask_leave()
    sheet = sheet_of(made)
    store.dispatch(Set({"phase": "ended", "end_reason": "removed", "meeting": None}))
    QApplication.processEvents()
    assert not sheet.isVisible()
    assert made._sheet is None


# ---- creating ----


@pytest.fixture
def create(window: Window, actions: RecordingActions) -> tuple[MainWindow, CreateSheet]:
    made = window(states.home())
    OPEN["create"](made)
    sheet = sheet_of(made)
    assert isinstance(sheet, CreateSheet)
    actions.forget()
    return made, sheet


def test_now_with_a_lobby_by_keyboard_alone(create: tuple[MainWindow, CreateSheet], actions: RecordingActions) -> None:
    _, sheet = create
    assert focus() is sheet.name
    write(sheet.name, "Giao ban quý IV")
    press(sheet.name, Qt.Key.Key_Return)
    assert actions.named("create_meeting") == [{"title": "Giao ban quý IV", "start": None, "lobby": True, "duration_s": None}]


def test_at_a_time_without_a_lobby(create: tuple[MainWindow, CreateSheet], actions: RecordingActions) -> None:
    _, sheet = create
    sheet.name.setText("Họp")
    assert not sheet.at.isVisible()
    sheet.when.setFocus()
    press(sheet.when, Qt.Key.Key_Down)
    assert sheet.at.isVisible()
    when = QDateTime.currentDateTime().addDays(3)
    when.setTime(when.time().fromString("08:30", "HH:mm"))
    sheet.at.setDateTime(when)
    sheet.lobby.setFocus()
    press(sheet.lobby, Qt.Key.Key_Space)
    sheet.go.setFocus()
    press(sheet.go, Qt.Key.Key_Return)
    assert actions.named("create_meeting") == [{"title": "Họp", "start": float(when.toSecsSinceEpoch()), "lobby": False, "duration_s": None}]


def test_the_time_offered_is_the_next_full_hour(create: tuple[MainWindow, CreateSheet]) -> None:
    _, sheet = create
    offered = sheet.at.dateTime()
    assert (offered.time().minute(), offered.time().second()) == (0, 0)
    assert 0 < QDateTime.currentDateTime().secsTo(offered) <= 3600


def test_without_a_name_nothing_is_created(create: tuple[MainWindow, CreateSheet], actions: RecordingActions) -> None:
    _, sheet = create
    for title in ("", "   "):
        sheet.name.setText(title)
        sheet.go.click()
        assert actions.names() == []
        assert sheet.name.property("wrong") == "true"
        assert focus() is sheet.name
    sheet.name.setText("x" * 5000)
    assert len(sheet.name.text()) == TITLE_LIMIT


def asked(sheet: CreateSheet, store: Store, **answer: Any) -> None:
    sheet.name.setText("Họp")
    sheet.go.click()
    store.dispatch(Set({"busy": frozenset({"create"})}))
    assert not sheet.go.isEnabled()
    assert sheet.go.text() == "Đang tạo…"
    store.dispatch(Set(answer))
    store.dispatch(Set({"busy": frozenset()}))
    QApplication.processEvents()


@pytest.mark.parametrize("code", CODES)
def test_what_went_wrong_is_told_here_and_it_may_be_tried_again(create: tuple[MainWindow, CreateSheet], store: Store, actions: RecordingActions, code: str) -> None:
    made, sheet = create
    asked(sheet, store, join_error=code, join_detail={"wait_s": 7, "host": "a.vn"})
    assert words.error(code, {"host": "a.vn"}) in texts(sheet)
    assert words.help_for(code, {"wait_s": 7}) in texts(sheet)
    assert cut_texts(sheet) == []
    assert made.rect().contains(sheet.card.geometry())
    assert sheet.go.isEnabled()
    sheet.go.click()
    assert actions.names() == ["create_meeting", "create_meeting"]


def test_an_older_trouble_is_not_of_this_meeting(create: tuple[MainWindow, CreateSheet], store: Store) -> None:
    _, sheet = create
    store.dispatch(Set({"join_error": "timeout"}))
    QApplication.processEvents()
    assert words.error("timeout") not in texts(sheet)


def test_its_links_are_shown_and_copied(create: tuple[MainWindow, CreateSheet], store: Store, actions: RecordingActions) -> None:
    made, sheet = create
    link, chair = f"{states.SERVER}/m/{states.CODE}", f"{states.SERVER}/m/{states.CODE}#k={'s' * 24}"
    asked(sheet, store, created={"id": "M", "link": link, "chair_link": chair})
    assert sheet.title.text() == "Đã tạo cuộc họp"
    assert focus() is button(sheet, "Vào họp ngay")
    for name, value, code in (("Chép liên kết mời", link, "copied_link"), ("Chép liên kết chủ trì", chair, "copied_chair_link")):
        button(sheet, name).click()
        assert QGuiApplication.clipboard().text() == value
        assert store.state.notices[-1].code == code
    press(button(sheet, "Vào họp ngay"), Qt.Key.Key_Space)
    assert actions.named("open_link") == [{"text": chair}]
    QApplication.processEvents()
    assert made._sheet is None


@pytest.mark.parametrize("created", [{}, {"link": None, "chair_link": 7}, {"link": f"{states.SERVER}/m/{states.CODE}"}])
def test_an_answer_that_lacks_something(create: tuple[MainWindow, CreateSheet], store: Store, created: dict[str, Any]) -> None:
    _, sheet = create
    asked(sheet, store, created=created)
    assert sheet.title.text() == "Đã tạo cuộc họp"
    assert has_button(sheet, "Chép liên kết chủ trì") == bool(created.get("chair_link"))


def test_away_from_home_it_is_given_up(create: tuple[MainWindow, CreateSheet], store: Store) -> None:
    made, _ = create
    store.dispatch(Set({"phase": "prejoin", "link": states.LINK}))
    QApplication.processEvents()
    assert made._sheet is None


# ---- keys, about ----


def test_every_key_is_listed_as_it_is_bound(window: Window) -> None:
    shortcuts.load({"hand": "Ctrl+K"})
    made = window(states.home())
    press(made, Qt.Key.Key_F1)
    sheet = sheet_of(made)
    assert isinstance(sheet, ShortcutsSheet)
    for one in shortcuts.TABLE:
        assert words.text(f"shortcut.{one.id}") in texts(sheet)
        assert shortcuts.shown(one.id) in texts(sheet)
    assert "Ctrl+K" in texts(sheet)
    button(sheet, "Đổi phím tắt").click()
    QApplication.processEvents()
    assert sheet_of(made)._nav["keyboard"].property("kind") == "here"


def test_about_copies_what_a_help_desk_asks(window: Window) -> None:
    made = window(states.home())
    OPEN["about"](made)
    button(sheet_of(made), "Chép thông tin phiên bản").click()
    told = QGuiApplication.clipboard().text()
    assert f"vidconf {__version__}" in told
    assert "Qt 6" in told

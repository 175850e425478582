"""The window: the page of each phase, what a change of language or theme keeps, closing, keys, the talk key let go, its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from gui import states
from gui.finding import button, field, texts
from gui.meeting_room import focus, press
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QWidget

from vidconf import words
from vidconf.client import phases
from vidconf.client.changes import EngineSaid, Navigate, SnapshotTaken
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState, Phase
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.gui import theme
from vidconf.gui.ended import EndedPage
from vidconf.gui.home import HomePage
from vidconf.gui.lobby import LobbyPage
from vidconf.gui.main_window import LEAST_HEIGHT, LEAST_WIDTH, MainWindow
from vidconf.gui.meeting_page import MeetingPage
from vidconf.gui.page import Page
from vidconf.gui.prejoin import PrejoinPage
from vidconf.gui.questions import LeaveSheet
from vidconf.gui.settings_dialog import SettingsSheet
from vidconf.gui.sign_in import SignInPage

Window = Callable[..., MainWindow]
OF_PHASE: dict[str, tuple[ClientState, type[QWidget], str]] = {
    "home": (states.home(), HomePage, "Trang chủ – vidconf"),
    "sign_in": (ClientState(phase="sign_in", server=states.SERVER), SignInPage, "Đăng nhập – vidconf"),
    "prejoin": (states.prejoin(), PrejoinPage, "Chuẩn bị vào họp – vidconf"),
    "joining": (states.prejoin(phase="joining"), PrejoinPage, "Chuẩn bị vào họp – vidconf"),
    "lobby": (states.in_lobby(), LobbyPage, "Phòng chờ – vidconf"),
    "meeting": (states.in_meeting(), MeetingPage, f"{states.LONG_TITLE} – vidconf"),
    "ended": (states.ended("left"), EndedPage, f"{states.LONG_TITLE} – vidconf"),
}


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "now", staticmethod(lambda: states.NOW))


def forget_deleted() -> None:
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()


# ---- pages ----


def test_there_is_a_page_for_every_phase() -> None:
    assert set(OF_PHASE) == set(get_args(Phase))


@pytest.mark.parametrize("phase", OF_PHASE)
def test_the_page_of_each_phase(window: Window, phase: str) -> None:
    state, page, title = OF_PHASE[phase]
    made = window(state)
    assert type(made.page) is page
    assert made.windowTitle() == title
    assert made.isAncestorOf(focus()), "the keyboard is on the page"


def test_the_way_of_a_whole_meeting_by_what_happens(window: Window, store: Store) -> None:
    made = window(states.guest_home())
    seen = []

    def happen(change: Any) -> None:
        store.dispatch(change)
        QApplication.processEvents()
        seen.append(type(made.page))

    happen(Navigate(phases.LinkOpened(states.LINK)))
    happen(Navigate(phases.JoinStarted()))
    waiting = states.in_lobby()
    assert waiting.meeting is not None
    happen(SnapshotTaken(waiting.meeting, "p8", states.NOW))
    inside = states.meeting(participants={**states.people(), "p8": states.person("p8", "Nguyễn Thị Hồng Nhung")})
    happen(SnapshotTaken(inside, "p8", states.NOW))
    happen(EngineSaid(api.StateChanged("connected")))
    happen(Navigate(phases.Over("removed")))
    happen(Navigate(phases.WentHome()))
    assert seen == [PrejoinPage, PrejoinPage, LobbyPage, MeetingPage, MeetingPage, EndedPage, HomePage]


def test_joining_keeps_the_page_and_what_is_on_it(window: Window, store: Store) -> None:
    made = window(states.prejoin())
    page = made.page
    store.dispatch(Navigate(phases.JoinStarted()))
    store.dispatch(Navigate(phases.Failed("timeout")))
    assert made.page is page
    assert words.error("timeout") in texts(made)


def test_a_page_let_go_follows_nothing_and_is_gone(window: Window, store: Store) -> None:
    made = window(states.home())
    forget_deleted()
    before = len(QApplication.allWidgets())
    for _ in range(3):
        for phase in ("prejoin", "lobby", "ended", "sign_in", "home"):
            go_to(store, OF_PHASE[phase][0])
            QApplication.processEvents()
            forget_deleted()
    assert len(QApplication.allWidgets()) <= before + 2
    assert store.counts["listener_failed"] == 0
    assert made.isVisible()


# ---- language, theme ----


def test_language_changes_without_a_start_and_keeps_what_was_typed(window: Window) -> None:
    made = window(states.guest_home())
    field(made, "Vào bằng liên kết hoặc mã").setText("kx7m-2pqa")
    field(made, "Tên hiển thị").setText("Lê Văn An")
    words.set_language("en")
    made.rebuild()
    QApplication.processEvents()
    assert made.windowTitle() == "Home – vidconf"
    assert field(made, words.text("home.join.title")).text() == "kx7m-2pqa"
    assert field(made, words.text("home.name")).text() == "Lê Văn An"
    assert not any(text in texts(made) for text in ("Trang chủ", "Hôm nay", "Đăng nhập"))


@pytest.mark.parametrize("phase", OF_PHASE)
def test_no_word_of_the_other_language_is_left(window: Window, phase: str) -> None:
    made = window(OF_PHASE[phase][0])
    words.set_language("en")
    made.rebuild()
    QApplication.processEvents()
    forget_deleted()
    vi, en = words.table("vi"), words.table("en")
    only_vi = {said for key, said in vi.items() if en[key] != said and "{" not in said} - set(en.values())
    assert [text for text in texts(made) if text in only_vi] == []


def test_theme_changes_without_a_start(window: Window, qapp: QApplication) -> None:
    made = window(states.home())
    field(made, "Vào bằng liên kết hoặc mã").setText("kx7m")
    light = QColor(made.grab().toImage().pixel(300, 790))
    theme.apply(qapp, "dark")
    made.rebuild()
    QApplication.processEvents()
    dark = QColor(made.grab().toImage().pixel(300, 790))
    assert (light.name().upper(), dark.name().upper()) == (theme.LIGHT["canvas"], theme.DARK["canvas"])
    assert field(made, "Vào bằng liên kết hoặc mã").text() == "kx7m"


def test_settings_stay_open_where_they_were_when_the_language_changes(window: Window) -> None:
    made = window(states.home(devices=states.DEVICES))
    made.open_settings("look")
    made._sheet.turn_to("keyboard")  # type: ignore[union-attr]
    words.set_language("en")
    made.rebuild()
    QApplication.processEvents()
    assert isinstance(made._sheet, SettingsSheet)
    assert made._sheet._nav["keyboard"].property("kind") == "here"
    assert "Settings" in texts(made)


def test_a_change_of_language_leaves_nothing_behind(window: Window) -> None:
    made = window(states.home())
    forget_deleted()
    before = len(QApplication.allWidgets())
    for language in ("en", "vi", "en", "vi"):
        words.set_language(language)
        made.rebuild()
        forget_deleted()
    assert len(QApplication.allWidgets()) <= before + 2


# ---- closing ----


class Wishes:
    """What the window asks of the program."""

    def __init__(self, window: MainWindow) -> None:
        self.quit = self.hide = 0
        window.quit_wanted.connect(lambda: self._count("quit"))
        window.hide_wanted.connect(lambda: self._count("hide"))

    def _count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)


@pytest.mark.parametrize(
    ("tray", "close_to_tray", "quits", "hides"), [(False, True, 1, 0), (True, True, 0, 1), (True, False, 1, 0)], ids=["no tray", "to the tray", "not to the tray"]
)
def test_x_on_home(window: Window, settings: Settings, tray: bool, close_to_tray: bool, quits: int, hides: int) -> None:
    settings.set("close_to_tray", close_to_tray)
    made = window(states.home())
    made.stays_in_tray = tray
    wishes = Wishes(made)
    made.close()
    assert (wishes.quit, wishes.hide) == (quits, hides)
    assert made.isVisible(), "the program decides"


@pytest.mark.parametrize("tray", [False, True])
@pytest.mark.parametrize("state", [states.in_meeting(), states.in_lobby()], ids=["meeting", "lobby"])
def test_x_in_a_meeting_asks(window: Window, store: Store, actions: RecordingActions, settings: Settings, state: ClientState, tray: bool) -> None:
    settings.set("confirm_leave", False)
    made = window(state)
    made.stays_in_tray = tray
    wishes = Wishes(made)
    made.close()
    QApplication.processEvents()
    if isinstance(made._sheet, LeaveSheet):
        assert ("Chương trình đóng sau khi rời." in texts(made)) == (not tray)
        button(made._sheet, "Rời họp" if state.phase == "meeting" else "Rời phòng chờ").click()
    assert actions.names()[-1] == "leave"
    assert (wishes.quit, wishes.hide) == (0, 0)
    go_to(store, states.ended("left"))
    assert wishes.quit == (0 if tray else 1), "where there is no tray the program ends behind the meeting"


def test_x_again_and_staying(window: Window, store: Store) -> None:
    made = window(states.in_meeting())
    wishes = Wishes(made)
    made.close()
    made.close()
    button(made, "Ở lại").click()
    go_to(store, states.ended("removed"))
    assert wishes.quit == 0, "who stayed, and was put out later, did not ask to quit"


def test_leaving_asks_only_where_it_is_wanted(window: Window, actions: RecordingActions, settings: Settings) -> None:
    made = window(states.in_meeting())
    press(made, Qt.Key.Key_W, Qt.KeyboardModifier.ControlModifier)
    assert isinstance(made._sheet, LeaveSheet)
    press(focus(), Qt.Key.Key_Escape)
    assert actions.names().count("leave") == 0
    settings.set("confirm_leave", False)
    press(made, Qt.Key.Key_W, Qt.KeyboardModifier.ControlModifier)
    assert made._sheet is None
    assert actions.names().count("leave") == 1


# ---- hold to talk ----


@pytest.fixture
def talker(window: Window, actions: RecordingActions) -> MainWindow:
    """In the meeting, the keyboard on the window itself: nobody else takes Space."""
    made = window(states.in_meeting("p3"))
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    made.setFocus()
    QApplication.processEvents()
    actions.forget()
    return made


def test_space_held_talks(talker: MainWindow, actions: RecordingActions) -> None:
    QTest.keyPress(talker, Qt.Key.Key_Space)
    for _ in range(5):
        QApplication.sendEvent(talker, QKeyEvent(QEvent.Type.KeyRelease, Qt.Key.Key_Space, Qt.KeyboardModifier.NoModifier, " ", True))
        QApplication.sendEvent(talker, QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Space, Qt.KeyboardModifier.NoModifier, " ", True))
    assert actions.named("talk_while_held") == [{"down": True}], "held, not pressed again and again"
    QTest.keyRelease(talker, Qt.Key.Key_Space)
    assert actions.named("talk_while_held") == [{"down": True}, {"down": False}]


def test_it_is_let_go_when_another_window_has_the_keyboard(talker: MainWindow, actions: RecordingActions, show: Any) -> None:
    QTest.keyPress(talker, Qt.Key.Key_Space)
    show(QWidget(), 200, 100)
    assert actions.named("talk_while_held") == [{"down": True}, {"down": False}]
    talker.activateWindow()
    QApplication.processEvents()
    QTest.keyRelease(talker, Qt.Key.Key_Space)
    assert len(actions.named("talk_while_held")) == 2, "a release that was heard elsewhere is no second one"


@pytest.mark.parametrize("how", ["focus", "sheet", "hidden", "phase"])
def test_it_is_let_go_whatever_takes_the_keyboard(talker: MainWindow, actions: RecordingActions, store: Store, how: str) -> None:
    QTest.keyPress(talker, Qt.Key.Key_Space)
    if how == "focus":
        talker.page.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # type: ignore[union-attr]
        talker.page.setFocus()  # type: ignore[union-attr]
    elif how == "sheet":
        talker.open_settings()
    elif how == "hidden":
        talker.hide()
    else:
        go_to(store, states.ended("removed"))
    QApplication.processEvents()
    assert actions.named("talk_while_held") == [{"down": True}, {"down": False}]


def test_a_space_typed_is_a_space(talker: MainWindow, actions: RecordingActions) -> None:
    line = QLineEdit(talker)
    line.show()
    line.setFocus()
    QTest.keyClick(line, Qt.Key.Key_Space)
    assert line.text() == " "
    assert actions.named("talk_while_held") == []


def test_no_talking_outside_the_meeting(window: Window, actions: RecordingActions) -> None:
    made = window(states.in_lobby())
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    made.setFocus()
    QTest.keyClick(made, Qt.Key.Key_Space)
    assert actions.named("talk_while_held") == []


# ---- keys of the window ----


@pytest.mark.parametrize(("phase", "asked"), [("sign_in", ["cancel"]), ("prejoin", ["cancel"]), ("joining", ["cancel"]), ("ended", ["back_home"]), ("home", []), ("lobby", [])])
def test_esc(window: Window, actions: RecordingActions, phase: str, asked: list[str]) -> None:
    made = window(OF_PHASE[phase][0])
    actions.forget()
    press(focus(), Qt.Key.Key_Escape)
    assert actions.names() == asked
    assert made.isVisible()


def test_full_screen_and_back(window: Window, store: Store) -> None:
    made = window(states.in_meeting())
    press(made, Qt.Key.Key_F11)
    assert made.isFullScreen()
    press(focus(), Qt.Key.Key_Escape)
    assert not made.isFullScreen()
    made.turn_full_screen()
    go_to(store, states.ended("left"))
    QApplication.processEvents()
    assert not made.isFullScreen(), "only a meeting fills the screen"


def test_enter_presses_the_button_that_has_the_keyboard(window: Window, actions: RecordingActions) -> None:
    made = window(states.ended("left"))
    assert focus() is button(made, "Vào lại")
    press(focus(), Qt.Key.Key_Return)
    assert actions.names() == ["join"]


def test_what_a_page_asks_that_nobody_knows_is_an_error_in_the_log(window: Window, logged_errors: list[str]) -> None:
    made = window(states.home())
    made._on_asked("something", None)
    assert len(logged_errors) == 1
    logged_errors.clear()


# ---- nothing stray ----


class _Strays(QObject):
    """Parts that are shown before they have their place are windows of their own, and take the keyboard."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow() and not isinstance(watched, MainWindow):
            self.found.append(type(watched).__name__)
        return False


@pytest.fixture
def strays(qapp: QApplication) -> Iterator[list[str]]:
    watch = _Strays()
    qapp.installEventFilter(watch)
    yield watch.found
    qapp.removeEventFilter(watch)


def test_nothing_is_shown_outside_the_window(window: Window, store: Store, strays: list[str]) -> None:
    made = window(states.home(devices=states.DEVICES))
    for phase in ("sign_in", "prejoin", "joining", "lobby", "meeting", "ended", "home"):
        go_to(store, OF_PHASE[phase][0])
        QApplication.processEvents()
        assert strays == [], phase
    for what in ("settings", "shortcuts", "about", "create"):
        made._on_asked(what, None)
        QApplication.processEvents()
        assert strays == [], what
    made.rebuild()
    assert strays == []


# ---- size ----


def test_the_first_size_is_the_last_of_before(store: Store, actions: RecordingActions, show: Any) -> None:
    settings = Settings()
    settings.set("window", {"width": "720", "height": "540", "maximized": "no"})
    made = MainWindow(store, actions, settings)
    assert (made.width(), made.height()) == (720, 540)
    show(made, 700, 500)
    assert made.size_to_keep() == {"width": "700", "height": "500", "maximized": "no"}


@pytest.mark.parametrize("held", [{}, {"width": "wide"}, {"width": "-5", "height": "0"}, {"width": "99999", "height": "99999"}, {"width": "9" * 300, "height": "1e3"}, {"maximized": "maybe"}])
def test_whatever_size_was_kept_it_fits_the_screen(store: Store, actions: RecordingActions, show: Any, held: dict[str, str]) -> None:
    settings = Settings()
    settings.set("window", held)
    made = MainWindow(store, actions, settings)
    room = QApplication.primaryScreen().availableGeometry()
    assert LEAST_WIDTH <= made.width() <= max(LEAST_WIDTH, room.width())
    assert LEAST_HEIGHT <= made.height() <= max(LEAST_HEIGHT, room.height())
    show(made, made.width(), made.height())


def test_it_cannot_be_made_smaller_than_its_pages(window: Window) -> None:
    made = window(states.home())
    made.resize(100, 100)
    assert (made.width(), made.height()) == (LEAST_WIDTH, LEAST_HEIGHT)


@pytest.mark.parametrize("phase", OF_PHASE)
def test_no_page_wants_more_than_the_least(window: Window, phase: str) -> None:
    made = window(OF_PHASE[phase][0], LEAST_WIDTH, LEAST_HEIGHT)
    hint = made.page.minimumSizeHint()  # type: ignore[union-attr]
    assert hint.width() <= LEAST_WIDTH, hint
    assert hint.height() <= LEAST_HEIGHT, hint
    assert (made.width(), made.height()) == (LEAST_WIDTH, LEAST_HEIGHT)

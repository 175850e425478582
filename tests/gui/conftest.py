"""For the window's tests: its look, a real store, actions that are remembered, pages on the screen; and that nothing goes wrong
unheard: an error in the program's log fails the test, as every warning of Qt and Python does.

    store, actions = …; page = show(HomePage(store, actions)); …; assert actions.named("open_link") == [{"text": "…"}]
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from gui import states
from gui.recording import RecordingActions, go_to
from gui.stage_room import House, MakeHouse
from PySide6.QtCore import QEvent, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from vidconf import words
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.gui import shortcuts, theme
from vidconf.gui.bridge import make_loop
from vidconf.gui.garbage import collect_due
from vidconf.gui.main_window import MainWindow
from vidconf.gui.page import Page

W = TypeVar("W", bound=QWidget)
P = TypeVar("P", bound=Page)
Show = Callable[..., Any]
Run = Callable[[Callable[..., Coroutine[Any, Any, None]]], None]


@pytest.fixture(autouse=True)
def look(qapp: QApplication) -> Iterator[None]:
    """Light, Vietnamese, keys as they are in the table; whatever a test changes is put back."""
    qapp.setQuitOnLastWindowClosed(False)
    _plain(qapp)
    yield
    _plain(qapp)


def _plain(app: QApplication) -> None:
    words.set_language("vi")
    shortcuts.load({})
    if theme.current() != "light" or not app.styleSheet():
        theme.apply(app, "light")


@pytest.fixture(autouse=True)
def garbage() -> Iterator[None]:
    """Collecting is off (`tests/conftest.py`): what is due is collected here, on this thread."""
    yield
    collect_due()


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture(autouse=True)
def logged_errors() -> Iterator[list[str]]:
    """Errors in the program's log. A test that means them looks, and clears the list."""
    handler = _Errors()
    logging.getLogger("vidconf").addHandler(handler)
    yield handler.said
    logging.getLogger("vidconf").removeHandler(handler)
    assert handler.said == []


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def actions(store: Store) -> RecordingActions:
    return RecordingActions(store)


@pytest.fixture
def settings() -> Settings:
    """In memory, no policy."""
    return Settings()


@pytest.fixture
def show(qtbot: QtBot) -> Iterator[Show]:
    """`show(widget, width=1280, height=800)`: on the screen and active, the widget back; let go of at the end."""
    shown: list[QWidget] = []

    def put(widget: W, width: int = 1280, height: int = 800) -> W:
        shown.append(widget)
        widget.resize(width, height)
        widget.show()
        widget.activateWindow()
        qtbot.waitUntil(widget.isActiveWindow)
        QApplication.processEvents()
        return widget

    yield put
    for widget in shown:
        let_go = getattr(widget, "let_go", None)
        if let_go is not None:
            let_go()
        widget.hide()
        widget.deleteLater()
    QApplication.processEvents()
    # Outside a running loop Qt keeps what is to be deleted, and each further widget makes every change of the style sheet dearer.
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def window(store: Store, actions: RecordingActions, settings: Settings, show: Show) -> Callable[..., MainWindow]:
    """`window(state, width=1280, height=800)`: the main window in a state, with the keyboard."""

    def make(state: ClientState | None = None, width: int = 1280, height: int = 800) -> MainWindow:
        if state is not None:
            go_to(store, state)
        made: MainWindow = show(MainWindow(store, actions, settings), width, height)
        QApplication.processEvents()
        return made

    return make


@pytest.fixture
def show_ready(show: Show, actions: RecordingActions) -> Show:
    """As `show`, for a page: with the keyboard where it first is, and nothing asked for yet."""

    def put(page: P, width: int = 1280, height: int = 800) -> P:
        show(page, width, height)
        first = page.first_focus()
        assert first is not None
        first.setFocus()
        QApplication.processEvents()
        actions.forget()
        return page

    return put


@pytest.fixture
def run(qapp: QApplication) -> Iterator[Run]:
    """`run(work)`: a coroutine on a loop that also runs Qt's, as the program has it."""
    loop = make_loop(qapp)

    async def bounded(work: Callable[..., Coroutine[Any, Any, None]]) -> None:
        async with asyncio.timeout(20):
            await work()

    yield lambda work: loop.run_until_complete(bounded(work))
    loop.close()
    asyncio.set_event_loop(None)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What every page takes for now; a test sets its one entry."""
    at = [states.NOW]
    monkeypatch.setattr(Page, "now", staticmethod(lambda: at[0]))
    return at


@pytest.fixture(autouse=True)
def no_button_stays_pressed() -> Iterator[None]:
    """A click that ends in a menu or on a widget that is gone leaves Qt believing that a button is held: let go of it."""
    yield
    app = QApplication.instance()
    if app is not None and QApplication.mouseButtons() != Qt.MouseButton.NoButton:
        ground = QWidget()
        ground.show()
        for held in (Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton):
            if QApplication.mouseButtons() & held:
                QTest.mouseRelease(ground, held)
        ground.close()
        ground.deleteLater()


@pytest.fixture
def make_house(qtbot: QtBot, qapp: QApplication) -> Iterator[MakeHouse]:
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

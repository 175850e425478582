"""For the tests of the meeting's page: changes as they come over the wire, crowds, and what must hold of every page: no text is
cut, nothing that can be pressed is without a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gui import states
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QInputMethodEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractScrollArea,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QToolButton,
    QWidget,
)

from vidconf.client.changes import EventsCame, Set
from vidconf.client.store import Store
from vidconf.gui.parts import Text
from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting, Participant, Sources


def crowd(count: int, **fields: Any) -> Meeting:
    """The chair p1 and others; nobody knocks, no hand is up."""
    others = [
        states.person(f"q{n}", f"Nguyễn Văn {chr(65 + n % 26)} {n}", sources=Sources("on" if n % 7 == 0 else "muted", "on"), unit=f"Đơn vị số {n}")
        for n in range(1, count)
    ]
    everybody = {one.id: one for one in (states.people()["p1"], *others)}
    return states.meeting(participants=everybody, hands=(), chat=(), floor=None, **fields)


def quiet(**fields: Any) -> Meeting:
    """As `states.meeting`, without a floor, and microphones for all."""
    return states.meeting(**{"floor": None, "permissions": replace(states.meeting().permissions, microphone="all"), **fields})


def change(store: Store, **fields: Any) -> None:
    """Other fields of the store's meeting."""
    assert store.state.meeting is not None
    store.dispatch(Set({"meeting": replace(store.state.meeting, **fields)}))


def change_person(store: Store, id_: str, **fields: Any) -> None:
    assert store.state.meeting is not None
    people = store.state.meeting.participants
    change(store, participants={**people, id_: replace(people[id_], **fields)})


def come(store: Store, *people: Participant) -> None:
    assert store.state.meeting is not None
    change(store, participants={**store.state.meeting.participants, **{one.id: one for one in people}})


def happen(store: Store, *events: m.Event, actor: str = "server", at: float = states.NOW) -> None:
    """Events, as they come over the wire."""
    assert store.state.meeting is not None
    seq = store.state.meeting.seq
    store.dispatch(EventsCame(tuple(m.Recorded(seq + n, at, actor, event) for n, event in enumerate(events, 1)), at))


def own(store: Store, kind: str, **fields: Any) -> None:
    """One of one's own sources."""
    store.dispatch(Set({"sources": {**store.state.sources, kind: replace(store.state.sources[kind], **fields)}}))


# ---- menus -----------------------------------------------------------------------------------------------------------------


def open_menu() -> QMenu:
    """The menu that is shown, which must not hold up the program."""
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    return menu


def entries(menu: QMenu) -> list[str]:
    return [action.text() for action in menu.actions() if not action.isSeparator()]


def choose(menu: QMenu, *path: str) -> None:
    """Press an entry, through submenus, as the keyboard does: the menu closes first, then it is done."""
    window = _window_of(menu)
    for text in path:
        action = next(action for action in menu.actions() if action.text() == text)
        assert action.isEnabled(), text
        inner = action.menu()
        menu.setActiveAction(action)
        QTest.keyClick(menu, Qt.Key.Key_Return)
        QApplication.processEvents()
        if isinstance(inner, QMenu):
            menu = inner
    assert QApplication.activePopupWidget() is None
    _activate(window)


def close_menus() -> None:
    window = None
    while (popup := QApplication.activePopupWidget()) is not None:
        window = _window_of(popup)
        popup.close()
        QApplication.processEvents()
    if window is not None:
        _activate(window)


def _window_of(popup: QWidget) -> QWidget:
    widget: QWidget = popup
    while widget.isWindow() and (parent := widget.parentWidget()) is not None:
        widget = parent.window()
    return widget


def _activate(window: QWidget) -> None:
    """Qt's offscreen platform takes a menu for a window that has the keyboard, and gives it back to nobody."""
    window.activateWindow()
    QApplication.processEvents()


def press(widget: QWidget, key: Qt.Key, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    QTest.keyClick(widget, key, modifiers)
    QApplication.processEvents()


def write(field: QWidget, text: str) -> None:
    """As a Vietnamese input method does: each word is composed in the field, then committed."""
    for n, word in enumerate(text.split(" ")):
        QApplication.sendEvent(field, QInputMethodEvent(word, []))
        committed = QInputMethodEvent()
        committed.setCommitString(word if n == 0 else f" {word}")
        QApplication.sendEvent(field, committed)


def focus() -> QWidget:
    now = QApplication.focusWidget()
    assert now is not None, "nobody has the keyboard"
    return now


# ---- what must hold everywhere ---------------------------------------------------------------------------------------------


def in_sight(root: QWidget) -> Iterator[QWidget]:
    """Every widget of `root` that is shown, and not scrolled out of sight."""
    for widget in root.findChildren(QWidget):
        if not widget.isVisible() or widget.size().isEmpty():
            continue
        area = QRect(widget.mapToGlobal(QPoint(0, 0)), widget.size())
        parent = widget.parentWidget()
        while parent is not None and parent is not root.window():
            if isinstance(parent.parentWidget(), QAbstractScrollArea):
                area = area.intersected(QRect(parent.mapToGlobal(QPoint(0, 0)), parent.size()))
            parent = parent.parentWidget()
        if not area.isEmpty():
            yield widget


def cut_texts(root: QWidget) -> list[str]:
    """Words that do not have the room they need. Names that come from outside may give way (`Text.elide`), but keep a tooltip."""
    found = []
    for widget in in_sight(root):
        if isinstance(widget, QLabel) and widget.text():
            inner = widget.contentsRect()
            if isinstance(widget, Text) and widget.elide:
                if not widget.toolTip() or inner.width() < 20:
                    found.append(f"{widget.text()!r} may give way, and has no tooltip or no room at all")
            elif widget.wordWrap():
                if inner.height() + 1 < widget.heightForWidth(widget.width()):
                    found.append(f"{widget.text()!r} needs {widget.heightForWidth(widget.width())} lines of pixels, has {inner.height()}")
            elif widget.width() + 1 < widget.sizeHint().width():
                found.append(f"{widget.text()!r} needs {widget.sizeHint().width()}, has {widget.width()}")
        elif isinstance(widget, QAbstractButton) and widget.text():
            wanted = widget.sizeHint()
            wide = widget.fontMetrics().horizontalAdvance(widget.text().replace("&&", "&"))
            if isinstance(widget, QToolButton) and widget.width() < wide + 8:
                found.append(f"{widget.text()!r} needs {wide + 8}, has {widget.width()}")
            elif not isinstance(widget, QToolButton) and (widget.width() < wanted.width() or widget.height() < wanted.height()):
                found.append(f"{widget.text()!r} needs {wanted.width()}×{wanted.height()}, has {widget.width()}×{widget.height()}")
    return found


def nameless(root: QWidget) -> list[str]:
    """What takes the keyboard and has no name for who does not see it."""
    found = []
    for widget in in_sight(root):
        takes = widget.focusPolicy() != Qt.FocusPolicy.NoFocus and isinstance(widget, QAbstractButton | QLineEdit | QPlainTextEdit | QComboBox)
        if takes and not (widget.accessibleName() or (isinstance(widget, QAbstractButton) and widget.text())):
            found.append(f"{type(widget).__name__} at {widget.pos()}")
    return found


def outside(root: QWidget) -> list[str]:
    """What can be pressed but lies outside the window."""
    window = root.window()
    whole = window.rect()
    found = []
    for widget in in_sight(root):
        if isinstance(widget, QAbstractButton | QLineEdit | QPlainTextEdit):
            area = QRect(widget.mapTo(window, QPoint(0, 0)), widget.size())
            inside_list = any(isinstance(parent, QAbstractScrollArea) for parent in _parents(widget))
            if not whole.contains(area) and not inside_list:
                found.append(f"{type(widget).__name__} {widget.accessibleName()!r} at {area}")
    return found


def _parents(widget: QWidget) -> Iterator[QWidget]:
    parent = widget.parentWidget()
    while parent is not None:
        yield parent
        parent = parent.parentWidget()

"""Finding one's way on a page as a user does: by what is read, by Tab. For all GUI tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QLineEdit, QWidget

W = TypeVar("W", bound=QWidget)


def shown(root: QWidget, kind: type[W]) -> Iterator[W]:
    """All of a kind that can be seen, in the order they were made."""
    return (one for one in root.findChildren(kind) if one.isVisible())


def texts(root: QWidget) -> list[str]:
    """Every label that can be read."""
    return [one.text() for one in shown(root, QLabel) if one.text()]


def button(root: QWidget, name: str) -> QAbstractButton:
    """The one button with this text or accessible name."""
    found = [one for one in shown(root, QAbstractButton) if name in (one.text(), one.accessibleName())]
    assert len(found) == 1, f"{len(found)} buttons {name!r}; there are {[one.accessibleName() for one in shown(root, QAbstractButton)]}"
    return found[0]


def has_button(root: QWidget, name: str) -> bool:
    return any(name in (one.text(), one.accessibleName()) for one in shown(root, QAbstractButton))


def field(root: QWidget, name: str) -> QLineEdit:
    """The one line to write in with this accessible name."""
    (found,) = [one for one in shown(root, QLineEdit) if one.accessibleName() == name]
    return found


def tab_to(window: QWidget, wanted: Callable[[QWidget], bool], most: int = 80) -> QWidget:
    """Press Tab until the keyboard is where `wanted` says."""
    for _ in range(most):
        now = QApplication.focusWidget()
        if now is not None and wanted(now):
            return now
        QTest.keyClick(now or window, Qt.Key.Key_Tab)
        QApplication.processEvents()
    raise AssertionError("Tab does not lead there")


def tab_round(window: QWidget, most: int = 120) -> list[QWidget]:
    """Every widget Tab leads to, once round."""
    found: list[QWidget] = []
    for _ in range(most):
        now = QApplication.focusWidget()
        assert now is not None, "the keyboard is lost"
        if now in found:
            return found
        found.append(now)
        QTest.keyClick(now, Qt.Key.Key_Tab)
        QApplication.processEvents()
    raise AssertionError("Tab does not come round")


def focusable(root: QWidget) -> list[QWidget]:
    """What takes the keyboard by Tab, and can be seen and used."""
    found = [one for one in shown(root, QWidget) if one.focusPolicy() & Qt.FocusPolicy.TabFocus and one.isEnabled()]
    return [one for one in found if one.focusProxy() is None]

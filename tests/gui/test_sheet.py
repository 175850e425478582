"""A sheet lies inside its window: it is no window of its own, covers all of it, and goes without a trace."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from vidconf.gui.sheet import Sheet


def window_with_a_button(qtbot: QtBot) -> tuple[QWidget, QPushButton]:
    window = QWidget()
    button = QPushButton("under", window)
    QVBoxLayout(window).addWidget(button)
    window.resize(800, 600)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    return window, button


def test_it_is_inside_the_window_and_over_all_of_it(qtbot: QtBot) -> None:
    window, button = window_with_a_button(qtbot)
    sheet = Sheet(window, "Hỏi")
    sheet.open()
    assert not sheet.isWindow()
    assert sheet.window() is window
    assert sheet.geometry() == window.rect()
    assert window.childAt(button.geometry().center()) is not button, "what lies under it cannot be clicked"
    window.resize(1000, 700)
    assert sheet.geometry() == window.rect()
    assert window.grab().toImage().pixelColor(5, 5) != Qt.GlobalColor.white


def test_esc_gives_the_keyboard_back(qtbot: QtBot) -> None:
    window, button = window_with_a_button(qtbot)
    window.activateWindow()
    button.setFocus()
    sheet = Sheet(window, "Hỏi")
    with qtbot.waitSignal(sheet.finished) as finished:
        sheet.open()
        qtbot.keyClick(sheet, Qt.Key.Key_Escape)
    assert finished.args == [0]
    assert window.focusWidget() is button

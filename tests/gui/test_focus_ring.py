"""The ring round what has the keyboard: where it is, for whom it is drawn, what it survives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gui import states
from gui.finding import button, shown
from gui.meeting_room import press
from gui.recording import go_to
from PySide6.QtCore import QEvent, QPoint, QRect, Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QScrollArea, QWidget

from vidconf.client.store import Store
from vidconf.gui.focus_ring import REACH
from vidconf.gui.main_window import MainWindow
from vidconf.gui.theme import T

Window = Callable[..., MainWindow]


def place(window: MainWindow, widget: QWidget) -> QRect:
    return QRect(widget.mapTo(window, QPoint(0, 0)), widget.size()).adjusted(-REACH, -REACH, REACH, REACH)


def test_it_goes_where_the_keyboard_goes(window: Window) -> None:
    made = window(states.home())
    for _ in range(6):
        held = QApplication.focusWidget()
        assert held is not None
        assert made.ring.isVisible()
        assert made.ring.geometry() == place(made, held)
        press(held, Qt.Key.Key_Tab)


def test_its_two_tones_show_on_any_ground(window: Window) -> None:
    made = window(states.ended("left"))
    image = made.grab().toImage()
    area = made.ring.geometry()
    seen = {QColor(image.pixel(area.left() + n, area.center().y())).name().upper() for n in range(REACH)}
    assert T["focus"] in seen
    assert T["focus_gap"] in seen


def test_a_click_draws_none_but_in_a_field(window: Window) -> None:
    made = window(states.home(account=None, upcoming=()))
    QTest.mousePress(button(made, "Cài đặt"), Qt.MouseButton.LeftButton)
    assert not made.ring.isVisible()
    QTest.mouseRelease(button(made, "Cài đặt"), Qt.MouseButton.LeftButton, pos=QPoint(-50, -50))
    link = made.page.link  # type: ignore[union-attr]
    QTest.mouseClick(link, Qt.MouseButton.LeftButton)
    assert made.ring.isVisible(), "a caret is easily lost"


def test_it_moves_with_what_it_rings(window: Window) -> None:
    made = window(states.home())
    held = QApplication.focusWidget()
    assert held is not None
    for width, height in ((800, 600), (1100, 700)):
        made.resize(width, height)
        QApplication.processEvents()
        assert made.ring.geometry() == place(made, held)


def test_it_does_not_leave_the_list_that_scrolls(window: Window) -> None:
    made = window(states.home(), 640, 480)
    area = next(shown(made, QScrollArea))
    rows = [one for one in shown(area, QPushButton) if one.objectName().startswith("join:")]
    rows[-1].setFocus(Qt.FocusReason.TabFocusReason)
    area.verticalScrollBar().setValue(0)
    QApplication.processEvents()
    view = QRect(area.viewport().mapTo(made, QPoint(0, 0)), area.viewport().size()).adjusted(-REACH, 0, REACH, 0)
    mask = made.ring.mask()
    drawn = mask.boundingRect().translated(made.ring.pos()) if not mask.isEmpty() else made.ring.geometry()
    assert view.contains(drawn) or drawn.width() <= 1


def test_it_takes_no_click(window: Window) -> None:
    made = window(states.home())
    assert made.ring.testAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    assert made.ring.focusPolicy() == Qt.FocusPolicy.NoFocus


@pytest.mark.parametrize("how", ["page", "deleted", "hidden"])
def test_it_goes_with_what_it_rings(window: Window, store: Store, how: str) -> None:
    made = window(states.home())
    held: Any = QPushButton("x", made)
    held.setGeometry(100, 700, 80, 40)
    held.show()
    held.setFocus(Qt.FocusReason.TabFocusReason)
    assert made.ring.target is held
    if how == "page":
        go_to(store, states.in_lobby())
    elif how == "deleted":
        held.deleteLater()
    else:
        held.hide()
    QApplication.processEvents()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()
    now = QApplication.focusWidget()
    assert (not made.ring.isVisible()) or (now is not None and made.ring.geometry() == place(made, now))

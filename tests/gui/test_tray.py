"""The tray: what its menu says and does by the state, in both languages; the icon tells the microphone by shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from gui import states
from gui.recording import RecordingActions, go_to
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QApplication, QSystemTrayIcon

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.state import LocalSource
from vidconf.client.store import Store
from vidconf.gui.tray import Tray


@pytest.fixture
def tray(store: Store, actions: RecordingActions) -> Iterator[Tray]:
    made = Tray(store, actions)
    yield made
    made.close()
    made.deleteLater()
    QApplication.processEvents()


def entries(tray: Tray) -> list[str]:
    return [one.text() for one in tray._menu.actions() if one.isVisible() and not one.isSeparator()]


def entry(tray: Tray, text: str) -> QAction:
    return next(one for one in tray._menu.actions() if one.text() == text)


def test_on_home(tray: Tray, store: Store) -> None:
    assert entries(tray) == ["Mở cửa sổ", "Thoát"]
    assert tray._icon.toolTip() == "vidconf"
    go_to(store, states.home())
    assert entries(tray) == ["Mở cửa sổ", f"Tiếp theo {words.clock(states.NOW + 540)}: {states.LONG_TITLE[:60]}", "Thoát"]


@pytest.mark.parametrize(
    ("source", "text", "tip", "on"),
    [
        (states.MICROPHONE_ON, "Tắt micrô", "vidconf · Mic bật", False), (states.MICROPHONE_MUTED, "Bật micrô", "vidconf · Mic tắt", True),
        (LocalSource("muted", True, wanted="on"), "Tắt micrô", "vidconf · Mic tắt", False), (LocalSource(), "Bật micrô", "vidconf · Mic tắt", True),
    ],
)  # fmt: skip
def test_in_a_meeting_the_microphone(tray: Tray, store: Store, actions: RecordingActions, source: LocalSource, text: str, tip: str, on: bool) -> None:
    go_to(store, states.in_meeting(sources=states.sources(microphone=source)))
    assert text in entries(tray)
    assert tray._icon.toolTip() == tip
    entry(tray, text).trigger()
    assert actions.named("set_microphone") == [{"on": on}]


def test_the_icon_tells_on_from_off_by_shape(tray: Tray, store: Store) -> None:
    shapes = []
    for source in (states.MICROPHONE_ON, states.MICROPHONE_MUTED):
        go_to(store, states.in_meeting(sources=states.sources(microphone=source)))
        image = tray._icon.icon().pixmap(32).toImage()
        shapes.append({(x, y) for x in range(image.width()) for y in range(image.height()) if image.pixelColor(x, y).alpha() > 128})
    assert len(shapes[0] ^ shapes[1]) > 20


def test_show_and_quit_are_the_programs(tray: Tray) -> None:
    asked: list[str] = []
    tray.show_wanted.connect(lambda: asked.append("show"))
    tray.quit_wanted.connect(lambda: asked.append("quit"))
    entry(tray, "Mở cửa sổ").trigger()
    tray._icon.activated.emit(QSystemTrayIcon.ActivationReason.Trigger)
    tray._icon.activated.emit(QSystemTrayIcon.ActivationReason.Context)
    entry(tray, "Thoát").trigger()
    assert asked == ["show", "show", "quit"]


def test_in_the_other_language(tray: Tray, store: Store) -> None:
    go_to(store, states.in_meeting())
    words.set_language("en")
    tray.refresh(store.state, again=True)
    assert entries(tray) == [words.text("tray.show"), words.text("tray.unmute"), words.text("tray.quit")]


def test_a_level_changes_nothing(tray: Tray, store: Store) -> None:
    """Ten times a second, while one talks."""
    go_to(store, states.in_meeting(sources=states.sources(microphone=states.MICROPHONE_ON)))
    before = tray._icon.icon().cacheKey()
    store.dispatch(Set({"sources": states.sources(microphone=LocalSource("on", wanted="on", level=0.5))}))
    assert tray._icon.icon().cacheKey() == before


def test_that_it_is_still_here_is_said_once(tray: Tray, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    show: Callable[..., None] = lambda title, text, *rest: said.append(text)  # noqa: E731
    monkeypatch.setattr(tray._icon, "showMessage", show)
    tray.say_still_here()
    tray.say_still_here()
    assert said == [words.text("tray.still_here")]


def test_closed_it_follows_nothing(store: Store, actions: RecordingActions) -> None:
    made = Tray(store, actions)
    made.close()
    made.deleteLater()
    QApplication.processEvents()
    go_to(store, states.in_meeting())
    assert store.counts["listener_failed"] == 0

"""Whether everything on a page has the room it needs: walked in both languages, at every size, and (`python -m gui.fitting`) at the
scale of the process it runs in. Used by `test_fit`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from gui import states
from gui.meeting_room import cut_texts, in_sight, nameless, outside
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import QEvent
from PySide6.QtGui import QTextLayout, QTextOption
from PySide6.QtWidgets import QApplication, QComboBox, QLabel, QLineEdit, QWidget

from vidconf import words
from vidconf.client.changes import EngineSaid, Set, Told
from vidconf.client.links import LINK_ERRORS
from vidconf.client.rest import CODES
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState, JoinLink, LocalSource
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.gui import shortcuts, theme
from vidconf.gui.main_window import MainWindow
from vidconf.gui.page import Page
from vidconf.gui.parts import Text

SIZES = ((640, 480), (800, 600), (1280, 800))
LONG_HOST = "https://hoi-nghi-truc-tuyen.nongnghiepvamoitruong.thuathienhue.example.vn:8443"
UNKNOWN = JoinLink(LONG_HOST, states.CODE, confirm=True)
WRONG = {"host": "hop.moitruong.example.vn", "wait_s": 86400, "ref": "a1b2c3d4e5f6", "capacity": 500}


def longest(codes: tuple[str, ...]) -> str:
    """The error with most to say."""
    return max(codes, key=lambda code: len(words.error(code)) + len(words.help_for(code)))


def scenes() -> Iterator[tuple[str, ClientState, Callable[[MainWindow, Store], None] | None]]:
    """(name, state, what is done then) of every page and sheet there is before, around and after a meeting."""
    error = {"join_error": longest((*CODES, *LINK_ERRORS)), "join_detail": WRONG}
    yield "home", states.home(), None
    yield "home, empty", states.home(upcoming=(), account=states.MEMBER), None
    yield "home, loading", states.home(upcoming=(), busy=frozenset({"upcoming"})), None
    yield "home, guest", states.guest_home(**error), None
    yield "home, no server", ClientState(), None
    yield "home, update", states.home(update=states.UPDATE), None
    yield "home, guest, update", states.guest_home(update=replace(states.UPDATE, own_doing=True), **error), None
    yield "home, long", states.home(account=replace(states.ORGANISER, name=states.LONG_NAME), server=LONG_HOST, name=states.LONG_NAME), None
    yield "sign in", ClientState(phase="sign_in", server=LONG_HOST, **error), None
    yield "signing in", ClientState(phase="sign_in", busy=frozenset({"sign_in"})), None
    broken = states.sources(microphone=LocalSource(error="no_permission"), camera=LocalSource(error="device_in_use"))
    yield "pre-join", states.prejoin(), None
    yield "pre-join, trouble", states.prejoin(sources=broken, name=states.LONG_NAME, **error), None
    yield "pre-join, muted", states.prejoin(sources=states.sources(microphone=states.MICROPHONE_MUTED)), None
    yield "pre-join, account", states.prejoin(account=states.MEMBER, name=states.LONG_NAME, link=states.CHAIR_LINK), None
    yield "pre-join, turning on", states.prejoin(sources=states.sources(microphone=LocalSource("off", True, wanted="on"), camera=LocalSource("off", True, wanted="on"))), None
    yield "pre-join, new server", states.prejoin(link=UNKNOWN, link_meeting=None), None
    yield "joining", states.prejoin(phase="joining"), None
    yield "lobby", states.in_lobby(), None
    yield "lobby, long and lost", states.in_lobby(lobby_since=states.NOW - 4000, reconnecting=True), None
    for reason in ("left", "meeting_ended", "denied", "removed", "banned", "lobby_timeout", "replaced", "lost", f"error:{longest(CODES)}", "from_next_year"):
        yield f"ended, {reason}", states.ended(reason, end_detail=WRONG), None
    yield "ended, with a reason", states.ended("denied", end_detail={"reason": "Phiên họp chỉ dành cho thành viên Ban soạn thảo " * 5}), None
    for what in ("create", "shortcuts", "about"):
        yield what, states.home(), lambda window, store, what=what: window._on_asked(what, None)  # type: ignore[misc]
    yield "created", states.home(), created
    yield "create, trouble", states.home(), create_fails
    yield "licences", states.home(), lambda window, store: window._on_asked("licences", None)
    yield "about, with logs", states.home(), about_with_logs
    for closed, state in (("guest_join", states.prejoin()), ("password_login", states.guest_home()), ("chat", states.in_meeting("p1"))):
        yield f"closed, {closed}", replace(state, closed=frozenset({closed, "screen_share"})), None
    yield "closed, every way in", replace(states.prejoin(), closed=frozenset({"guest_join", "password_login"})), None
    for group in ("look", "devices", "window", "keyboard", "server"):
        yield f"settings, {group}", states.home(devices=states.DEVICES), lambda window, store, group=group: window.open_settings(group)  # type: ignore[misc]
    yield "leave", states.in_meeting("p1"), lambda window, store: window.ask_leave(closing=True)
    yield "leave the lobby", states.in_lobby(), lambda window, store: window.ask_leave(closing=True)
    yield "share", states.in_meeting("p1"), lambda window, store: share(window, store, "no_sound_server")
    yield "share, with sound", states.in_meeting("p1"), lambda window, store: share(window, store, "")
    yield "share, Wayland", states.in_meeting("p1"), lambda window, store: share(window, store, "no_sound_server", "wayland")
    yield "notices", states.home(), notices


def about_with_logs(window: MainWindow, store: Store) -> None:
    window.log_folder = Path("logs")
    window._on_asked("about", None)


def created(window: MainWindow, store: Store) -> None:
    window._on_asked("create", None)
    ask(window, store)
    store.dispatch(Set({"created": {"link": f"{LONG_HOST}/m/{states.CODE}", "chair_link": f"{LONG_HOST}/m/{states.CODE}#k={'s' * 43}"}, "busy": frozenset()}))


def create_fails(window: MainWindow, store: Store) -> None:
    window._on_asked("create", None)
    window._sheet.when.setCurrentIndex(1)  # type: ignore[union-attr]
    window._sheet._on_when("at")  # type: ignore[union-attr]
    ask(window, store)
    store.dispatch(Set({"join_error": longest(CODES), "join_detail": WRONG, "busy": frozenset()}))


def ask(window: MainWindow, store: Store) -> None:
    window._sheet.name.setText(states.LONG_TITLE)  # type: ignore[union-attr]
    window._sheet.go.click()  # type: ignore[union-attr]
    store.dispatch(Set({"busy": frozenset({"create"})}))


def share(window: MainWindow, store: Store, sound: str, trouble: str = "") -> None:
    window.open_share()
    many = [api.Shareable(f"window:{n}", f"{states.LONG_TITLE} {n}", "window", 0, 0, 900, 600, n == 1) for n in range(12)]
    found = (api.Shareable("screen:0", "HDMI-1", "screen", 0, 0, 1920, 1080), api.Shareable("screen:1", "DP-2", "screen", 0, 0, 3840, 2160), *many)
    store.dispatch(EngineSaid(api.Screens(() if trouble else found, trouble, sound)))


def notices(window: MainWindow, store: Store) -> None:
    store.dispatch(Told("warn", "muted_by", {"name": states.LONG_NAME}, states.NOW))
    store.dispatch(Told("error", "media_unreachable", {}, states.NOW, "error"))
    store.dispatch(Told("warn", "co_chair_is_delegate", {}, states.NOW, "refusal"))
    store.dispatch(Set({"unmute_asked": True}))


def show(store: Store, settings: Settings, state: ClientState, do: Callable[[MainWindow, Store], None] | None, width: int, height: int) -> MainWindow:
    go_to(store, state)
    window = MainWindow(store, RecordingActions(store), settings)
    window.resize(width, height)
    window.show()
    QApplication.processEvents()
    if do is not None:
        do(window, store)
    QApplication.processEvents()
    return window


def let_go(window: MainWindow) -> None:
    window.let_go()
    window.hide()
    window.deleteLater()
    QApplication.processEvents()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


# ---- what must hold ----


def too_wide_words(root: QWidget) -> list[str]:
    """A label that wraps breaks between words: one longer than the line runs out of it."""
    found = []
    for label in in_sight(root):
        if not isinstance(label, QLabel) or not label.wordWrap() or not label.text():
            continue
        layout = QTextLayout(label.text(), label.font())
        option = QTextOption()
        option.setWrapMode(QTextOption.WrapMode.WordWrap)
        layout.setTextOption(option)
        layout.beginLayout()
        while (line := layout.createLine()).isValid():
            line.setLineWidth(label.contentsRect().width())
            if line.naturalTextWidth() > label.contentsRect().width() + 1:
                found.append(f"a word of {label.text()!r} needs {line.naturalTextWidth():.0f}, has {label.contentsRect().width()}")
        layout.endLayout()
    return found


def cut_hints(root: QWidget) -> list[str]:
    """What a field says before anything is typed."""
    found = []
    for line in in_sight(root):
        if isinstance(line, QLineEdit) and line.placeholderText() and not line.text():
            room = line.width() - 2 * 12 - (24 if line.property("sign") else 0) - (24 if line.actions()[1:] else 0)
            wanted = line.fontMetrics().horizontalAdvance(line.placeholderText())
            if wanted > room:
                found.append(f"the hint {line.placeholderText()!r} needs {wanted}, has {room}")
        elif isinstance(line, QComboBox) and line.currentText() and line.currentData() in ("default", "now", "at", "none", "vi", "en", "system", "light", "dark"):
            room, wanted = line.width() - 20 - 28 - 28, line.fontMetrics().horizontalAdvance(line.currentText())
            if wanted > room:
                found.append(f"the choice {line.currentText()!r} needs {wanted}, has {room}")
    return found


def crowded(root: QWidget) -> list[str]:
    """Texts that lie over one another on the page itself (what lies over the page on purpose is a sheet, or a notice)."""
    labels = [one for one in in_sight(root) if isinstance(one, Text) and one.text() and one.parentWidget() is not None]
    found = []
    for n, one in enumerate(labels):
        for other in labels[n + 1 :]:
            if one.parentWidget() is other.parentWidget() and one.geometry().adjusted(1, 1, -1, -1).intersects(other.geometry().adjusted(1, 1, -1, -1)):
                found.append(f"{one.text()!r} and {other.text()!r} lie over one another")
    return found


def faults(window: MainWindow) -> list[str]:
    """Everything that is wrong with what is shown."""
    top = window._sheet or window
    return [*cut_texts(top), *too_wide_words(top), *cut_hints(top), *nameless(top), *outside(top), *crowded(top)]


def walk(sizes: tuple[tuple[int, int], ...] = SIZES) -> list[str]:
    """All scenes in both languages at all sizes; what is wrong, and where."""
    found = []
    for language in words.LANGUAGES:
        words.set_language(language)
        for width, height in sizes:
            for name, state, do in scenes():
                store = Store()
                window = show(store, Settings(), state, do, width, height)
                found += [f"{name} at {width}×{height} in {language}: {fault}" for fault in faults(window)]
                if (window.width(), window.height()) != (width, height):
                    found.append(f"{name} in {language} wants {window.width()}×{window.height()}")
                let_go(window)
    return found


def main() -> int:
    """At the scale of this process (QT_SCALE_FACTOR)."""
    app = QApplication([])
    Page.now = staticmethod(lambda: states.NOW)  # type: ignore[assignment]
    shortcuts.load({})
    theme.apply(app, "light")
    assert app.primaryScreen().devicePixelRatio() == float(os.environ["QT_SCALE_FACTOR"])
    found = walk(((640, 480), (960, 540)))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())



"""The one window: shows the page of `ClientState.phase`, and what lies over it (notices, sheets, the focus ring). The window's thread.

Pages are made when they are needed and made anew when language or theme change. Keys of the meeting go to its page
(`on_shortcut(id)`), keys of the window are handled here. Closing asks first while in a meeting.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QRect, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QCloseEvent, QDesktopServices, QGuiApplication, QHideEvent, QKeyEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.changes import Told
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState, LocalSource
from vidconf.client.store import Store
from vidconf.gui import shortcuts
from vidconf.gui.create_sheet import CreateSheet
from vidconf.gui.ended import EndedPage
from vidconf.gui.focus_ring import FocusRing
from vidconf.gui.home import HomePage
from vidconf.gui.icons import program_icon
from vidconf.gui.licences_sheet import LicencesSheet
from vidconf.gui.lobby import LobbyPage
from vidconf.gui.notices import Notices
from vidconf.gui.own_sources import wanted_on
from vidconf.gui.page import Page
from vidconf.gui.parts import enter_clicks
from vidconf.gui.prejoin import PrejoinPage
from vidconf.gui.questions import AboutSheet, LeaveSheet, ShortcutsSheet
from vidconf.gui.settings_dialog import SettingsSheet
from vidconf.gui.share_chooser import ShareSheet
from vidconf.gui.share_frame import SharingSigns
from vidconf.gui.sheet import Sheet
from vidconf.gui.sign_in import SignInPage
from vidconf.gui.stage.graphics import Graphics
from vidconf.gui.statistics import StatisticsSheet
from vidconf.meeting import messages as m

log = logging.getLogger("vidconf.window")

LEAST_WIDTH, LEAST_HEIGHT = 640, 480
FIRST_WIDTH, FIRST_HEIGHT = 1280, 800
IN = ("lobby", "meeting")
_TITLES = {"home": "home.title", "sign_in": "sign_in.title", "prejoin": "prejoin.title", "joining": "prejoin.title", "lobby": "lobby.title"}


def _page_kind(phase: str) -> str:
    return "prejoin" if phase == "joining" else phase


class MainWindow(QWidget):
    """`quit_wanted`: the program is to end; `hide_wanted`: the window is closed but the program stays (tray)."""

    quit_wanted = Signal()
    hide_wanted = Signal()

    def __init__(self, store: Store, actions: Any, settings: Settings) -> None:
        super().__init__()
        self.store, self.do, self.settings = store, actions, settings
        self.page: QWidget | None = None
        self.stays_in_tray = False
        """Whether closing on home only hides: a tray is there, and the setting says so."""
        self.log_folder: Path | None = None
        """Where the program's logs lie, for who wants to look; None: nowhere."""
        self._kind = ""
        self._sheet: Sheet | None = None
        self._quit_after = False
        self._talking = False
        self.graphics = Graphics(settings, self)
        self.setWindowIcon(program_icon())
        self.setProperty("page", "plain")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setMinimumSize(LEAST_WIDTH, LEAST_HEIGHT)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.notices = Notices(self, store, actions)
        self.ring = FocusRing(self)
        self.sharing = SharingSigns(self, store, actions, self.come_forward)
        self.keys = shortcuts.WindowKeys(self)
        self.keys.pressed.connect(self.on_shortcut)
        self._unsubscribe = store.subscribe(self._on_state)
        self._first_size()
        self._show_page(store.state)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._on_focus_changed)
        self.graphics.start()

    # ---- pages
    def _on_state(self, old: ClientState, new: ClientState) -> None:
        if _page_kind(new.phase) != self._kind:
            self._show_page(new)
        if old.phase != new.phase:
            if old.phase in IN and new.phase not in IN:
                self._close_sheet(LeaveSheet)
                if self._quit_after:
                    self.quit_wanted.emit()
            if new.phase != "meeting" and self.isFullScreen():
                self.showNormal()
        if (old.phase, old.link_meeting, old.meeting is None) != (new.phase, new.link_meeting, new.meeting is None):
            self._show_title(new)

    def _make(self, kind: str) -> QWidget:
        match kind:
            case "sign_in":
                return SignInPage(self.store, self.do)
            case "prejoin":
                return PrejoinPage(self.store, self.do)
            case "lobby":
                return LobbyPage(self.store, self.do)
            case "meeting":
                from vidconf.gui.meeting_page import MeetingPage  # its stage and panels are not needed before

                return MeetingPage(self.store, self.do, self.graphics)
            case "ended":
                return EndedPage(self.store, self.do)
        return HomePage(self.store, self.do)

    def _show_page(self, state: ClientState, kept: dict[str, Any] | None = None) -> None:
        kind = _page_kind(state.phase)
        log.info("page: %s", kind)
        old = self.page
        self._kind = kind
        self.page = page = self._make(kind)
        asked = getattr(page, "asked", None)
        if asked is not None:
            asked.connect(self._on_asked)
        if kept and isinstance(page, Page):
            page.restore(kept)
        if old is not None:
            self._let_go(old)
        self._layout.addWidget(page)
        page.show()
        self._over()
        self._show_title(state)
        if self._sheet is None:
            # After the page has its size: a focus ring belongs to where things have come to rest.
            QTimer.singleShot(0, page, self._focus_first)

    def _focus_first(self) -> None:
        page = self.page
        first = page.first_focus() if page is not None and hasattr(page, "first_focus") else None
        if first is not None and self._sheet is None:
            first.setFocus(Qt.FocusReason.TabFocusReason)

    def _let_go(self, page: QWidget) -> None:
        let_go = getattr(page, "let_go", None)
        if let_go is not None:
            let_go()
        self._layout.removeWidget(page)
        page.hide()
        page.deleteLater()

    def _over(self) -> None:
        """What lies over the page, in order."""
        if self._sheet is not None:
            self._sheet.raise_()
        self.notices.place()
        self.ring.raise_()

    def rebuild(self) -> None:
        """Language or theme have changed: everything that has words or colours is made anew, what was typed is kept."""
        page = self.page
        kept = page.keep() if page is not None and hasattr(page, "keep") else {}
        group = self._settings_group if isinstance(self._sheet, SettingsSheet) else ""
        self._close_sheet(Sheet)
        self.notices.let_go()
        self.notices.hide()
        self.notices.deleteLater()
        self.notices = Notices(self, self.store, self.do)
        self._show_page(self.store.state, kept)
        self.sharing.draw_again()
        if group:
            self.open_settings(group)

    def _show_title(self, state: ClientState) -> None:
        if state.phase in ("meeting", "ended"):
            title = state.meeting.title if state.meeting is not None else state.link_meeting.title if state.link_meeting is not None else ""
        else:
            title = words.text(_TITLES[state.phase])
        self.setWindowTitle(words.text("app.window_title", page=title) if title else words.text("app.name"))

    # ---- sheets
    def open_sheet(self, sheet: Sheet) -> None:
        """One at a time: the one before gives up."""
        self._close_sheet(Sheet)
        self._sheet = sheet
        sheet.finished.connect(lambda *_: self._on_sheet_finished(sheet))
        sheet.open()
        self._over()

    def _on_sheet_finished(self, sheet: Sheet) -> None:
        if self._sheet is sheet:
            self._sheet = None
        sheet.deleteLater()

    def _close_sheet(self, kind: type[Sheet]) -> None:
        if self._sheet is not None and isinstance(self._sheet, kind):
            sheet, self._sheet = self._sheet, None
            sheet.reject()

    def _on_asked(self, what: str, detail: object) -> None:
        match what:
            case "settings":
                self.open_settings(str(detail or "look"))
            case "shortcuts":
                self.open_shortcuts()
            case "statistics":
                self.open_statistics()
            case "about":
                self.open_about()
            case "licences":
                self.open_sheet(LicencesSheet(self))
            case "log_folder":
                self.open_log_folder()
            case "create":
                self.open_sheet(CreateSheet(self, self.store, self.do, self.copy_link))
            case "copy_link":
                self.copy_link(str(detail))
            case "leave":
                self.ask_leave()
            case "full_screen":
                self.turn_full_screen()
            case "share":
                self.open_share()
            case _:
                log.error("a page asked for something unknown: %s", what)

    def open_settings(self, group: str = "look") -> None:
        sheet = SettingsSheet(self, self.store, self.do, self.settings, group)
        self._settings_group = group
        sheet.turned.connect(self._on_settings_turned)
        self.open_sheet(sheet)

    def _on_settings_turned(self, group: str) -> None:
        self._settings_group = group

    def open_shortcuts(self) -> None:
        sheet = ShortcutsSheet(self)
        sheet.change.connect(lambda: self.open_settings("keyboard"))
        self.open_sheet(sheet)

    def open_about(self) -> None:
        sheet = AboutSheet(self, logs=self.log_folder is not None)
        sheet.asked.connect(lambda what: self._on_asked(what, None))
        self.open_sheet(sheet)

    def open_log_folder(self) -> None:
        """In the system's own file manager."""
        if self.log_folder is None or not QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.log_folder))):
            self.store.dispatch(Told("warn", "log_folder_unopened", {"folder": str(self.log_folder or "")}, Page.now()))

    def open_share(self) -> None:
        sheet = ShareSheet(self, self.store, self.do)
        sheet.page_wanted.connect(self._choose_page)
        self.open_sheet(sheet)

    def _choose_page(self) -> None:
        choose = getattr(self.page, "choose_page", None)
        if choose is not None:
            choose()

    def open_statistics(self) -> None:
        self.open_sheet(StatisticsSheet(self, self.store, self.graphics.painter, self.graphics.renderer))

    def copy_link(self, link: str, *, chair: bool = False) -> None:
        QGuiApplication.clipboard().setText(link)
        self.store.dispatch(Told("info", "copied_chair_link" if chair else "copied_link", {}, Page.now()))

    # ---- leaving, closing
    def ask_leave(self, *, closing: bool = False) -> None:
        """Leave, end for all, or stay; without a question where the user wants none and nobody else is concerned."""
        state = self.store.state
        if state.phase not in IN:
            return
        if not closing and state.phase == "meeting" and not self.settings.on("confirm_leave"):
            self._quit_after = False
            self.do.leave()
            return
        may_end = state.phase == "meeting" and self.do.can(m.End()) is None
        sheet = LeaveSheet(self, in_lobby=state.phase == "lobby", may_end=may_end, closing=closing)
        sheet.chosen.connect(lambda what: self._on_leave(what, closing))
        self.open_sheet(sheet)

    def _on_leave(self, what: str, closing: bool) -> None:
        self._quit_after = closing
        if what == "end":
            self.do.end_for_all()
        else:
            self.do.leave()

    def closeEvent(self, event: QCloseEvent) -> None:
        """X: asks in a meeting, hides to the tray on home where the user wants that, else ends the program."""
        event.ignore()
        state = self.store.state
        if state.phase in IN:
            self.ask_leave(closing=not self.stays_in_tray)
        elif self.stays_in_tray and self.settings.on("close_to_tray"):
            self.hide_wanted.emit()
        else:
            self.quit_wanted.emit()

    def come_forward(self) -> None:
        """In front of the other windows, as far as the system lets us."""
        if self.isMinimized():
            self.showNormal()
        self.show()
        self.raise_()
        self.activateWindow()

    def let_go(self) -> None:
        """Before the program ends."""
        self._unsubscribe()
        self.sharing.let_go()
        self.graphics.let_go()
        self.notices.let_go()
        if self.page is not None:
            self._let_go(self.page)
            self.page = None

    # ---- keys
    def on_shortcut(self, id_: str) -> None:
        state = self.store.state
        match id_:
            case "help":
                self.open_shortcuts()
            case "settings":
                self.open_settings()
            case "microphone" if state.phase in ("prejoin", "lobby", "meeting"):
                self.do.set_microphone(not wanted_on(state.sources.get("microphone", LocalSource())))
            case "camera" if state.phase in ("prejoin", "lobby", "meeting"):
                self.do.set_camera(not wanted_on(state.sources.get("camera", LocalSource())))
            case "leave" if state.phase in IN:
                self.ask_leave()
            case "statistics" if state.phase == "meeting":
                self.open_statistics()
            case "full_screen":
                self.turn_full_screen()
            case "hand" if state.phase == "meeting":
                self._turn_hand(state)
            case "admit" if state.phase == "meeting" and state.meeting is not None:
                first = next(iter(state.meeting.knocking()), None)
                if first is not None:
                    self.do.admit([first.id])
            case _:
                handle = getattr(self.page, "on_shortcut", None)
                if (handle is None or not handle(id_)) and id_ == "next_pane":
                    self.focusNextChild()

    def _turn_hand(self, state: ClientState) -> None:
        if state.meeting is None or state.me is None:
            return
        if state.meeting.hand_position(state.me) is None:
            self.do.raise_hand()
        else:
            self.do.lower_hand()

    def turn_full_screen(self) -> None:
        if self.isFullScreen():
            self.showNormal()
        else:
            self.showFullScreen()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Plain keys nobody below wanted: hold to talk, Enter on a button, Esc."""
        if self.keys.is_talk(event.key(), event.modifiers()) and self.store.state.phase == "meeting" and self._sheet is None:
            if not event.isAutoRepeat() and not self._talking:
                self._talking = True
                self.do.talk_while_held(True)
            return
        if enter_clicks(event):
            return
        if event.key() == Qt.Key.Key_Escape:
            if self.isFullScreen():
                self.showNormal()
            elif self._kind in ("sign_in", "ended"):
                self.do.cancel() if self._kind == "sign_in" else self.do.back_home()
            elif self._kind == "prejoin":
                self.do.cancel()
            return
        super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if self._talking and not event.isAutoRepeat() and self.keys.is_talk(event.key(), Qt.KeyboardModifier.NoModifier):
            self._stop_talking()
            return
        super().keyReleaseEvent(event)

    def _stop_talking(self) -> None:
        """Let go of the key, or the window lost the keyboard: a key released elsewhere is never heard of."""
        if self._talking:
            self._talking = False
            self.do.talk_while_held(False)

    def _on_focus_changed(self, old: QWidget | None, now: QWidget | None) -> None:
        self._stop_talking()

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.ActivationChange and not self.isActiveWindow():
            self._stop_talking()
        if event.type() == QEvent.Type.WindowStateChange:
            self.sharing.follow()
        super().changeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.sharing.follow()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self.sharing.follow()

    # ---- size
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.notices.place()

    def _first_size(self) -> None:
        held = self.settings.mapping("window")
        screen = QGuiApplication.primaryScreen()
        room = screen.availableGeometry() if screen is not None else QRect(0, 0, FIRST_WIDTH, FIRST_HEIGHT)
        try:
            width, height = int(held.get("width", FIRST_WIDTH)), int(held.get("height", FIRST_HEIGHT))
        except ValueError:
            width, height = FIRST_WIDTH, FIRST_HEIGHT
        self.resize(max(LEAST_WIDTH, min(width, room.width())), max(LEAST_HEIGHT, min(height, room.height())))
        if held.get("maximized") == "yes":
            self.setWindowState(Qt.WindowState.WindowMaximized)

    def size_to_keep(self) -> dict[str, str]:
        """For the setting `window`."""
        whole = self.isMaximized()
        size = self.normalGeometry() if whole or self.isFullScreen() else self.geometry()
        return {"width": str(size.width()), "height": str(size.height()), "maximized": "yes" if whole else "no"}

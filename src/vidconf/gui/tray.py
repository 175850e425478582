"""The program in the system's tray, where there is one: microphone's state in the icon, mute, show, quit. The window's thread."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QAction, QIcon
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.gui.icons import icon, picture, program_icon
from vidconf.gui.own_sources import wanted_on
from vidconf.gui.page import StateSource

IN = ("lobby", "meeting")


class Tray(QObject):
    """`show_wanted`, `quit_wanted`: what the user asked for there."""

    show_wanted = Signal()
    quit_wanted = Signal()

    def __init__(self, store: StateSource, actions: Any) -> None:
        super().__init__()
        self.store, self.do = store, actions
        self._icon = QSystemTrayIcon(program_icon())
        self._menu = QMenu()
        self._mute = QAction(self._menu)
        self._mute.triggered.connect(self._turn_microphone)
        self._show = QAction(self._menu)
        self._show.triggered.connect(self.show_wanted)
        self._quit = QAction(self._menu)
        self._quit.triggered.connect(self.quit_wanted)
        self._stop_share = QAction(self._menu)
        self._stop_share.triggered.connect(lambda: self.do.stop_share())
        self._next = QAction(self._menu)
        self._next.setEnabled(False)
        self._menu.addActions([self._show, self._mute, self._stop_share, self._next])
        self._menu.addSeparator()
        self._menu.addAction(self._quit)
        self._icon.setContextMenu(self._menu)
        self._icon.activated.connect(self._on_activated)
        self._told_once = False
        self._key: object = None
        self._unsubscribe = store.subscribe(lambda old, new: self.refresh(new))
        self.refresh(store.state)

    @staticmethod
    def available() -> bool:
        return QSystemTrayIcon.isSystemTrayAvailable()

    def start(self) -> None:
        self._icon.show()

    def close(self) -> None:
        self._unsubscribe()
        self._icon.hide()

    def say_still_here(self) -> None:
        """Once: the window is gone, the program is not."""
        if not self._told_once:
            self._told_once = True
            self._icon.showMessage(words.text("app.name"), words.text("tray.still_here"), program_icon())

    def refresh(self, state: ClientState, *, again: bool = False) -> None:
        """`again`: the language or theme has changed."""
        microphone = state.sources.get("microphone", LocalSource())
        inside, on = state.phase in IN, microphone.state == "on"
        sharing = state.phase == "meeting" and state.sources.get("screen_share", LocalSource()).state != "off"
        soon = next((one for one in state.upcoming if one.start is not None and one.state == "scheduled"), None)
        key = (inside, on, wanted_on(microphone), sharing, soon, words.language())
        if key == self._key and not again:
            return
        self._key = key
        self._show.setText(words.text("tray.show"))
        self._show.setIcon(icon("open"))
        self._quit.setText(words.text("tray.quit"))
        self._quit.setIcon(icon("power"))
        self._mute.setText(words.text("tray.mute" if wanted_on(microphone) else "tray.unmute"))
        self._mute.setIcon(icon("mic_off" if wanted_on(microphone) else "mic"))
        self._mute.setVisible(inside)
        self._stop_share.setText(words.text("tray.stop_share"))
        self._stop_share.setIcon(icon("share_screen_stop"))
        self._stop_share.setVisible(sharing)
        self._next.setVisible(soon is not None)
        if soon is not None and soon.start is not None:
            self._next.setText(words.text("tray.next", time=words.clock(soon.start), title=soon.title[:60]))
        if inside:
            # Green and whole, or struck through: told by shape as well as by colour, on any ground.
            self._icon.setIcon(QIcon(picture("mic!" if on else "mic_off!", "#12917E" if on else "#8A9894", 32)))
        else:
            self._icon.setIcon(program_icon())
        self._icon.setToolTip(words.text(("tray.tip_on" if on else "tray.tip_off") if inside else "tray.tip"))

    def _turn_microphone(self) -> None:
        self.do.set_microphone(not wanted_on(self.store.state.sources.get("microphone", LocalSource())))

    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick):
            self.show_wanted.emit()

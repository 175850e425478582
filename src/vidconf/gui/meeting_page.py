"""The meeting: top bar, stage with its bars, a panel beside it, toolbar. Composes them and carries what one asks of another.

The window's thread. The panel stands beside the stage from `BESIDE` pixels on, below that it lies over it. What is in no state and
yet kept (open panel, view, half-written chat, what is scrolled) goes from the page before to this one by `keep` and `restore`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QPoint, QStandardPaths, Qt, QTimer
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.gui.device_popover import DevicePopover
from vidconf.gui.meeting_bars import Bars, KnockToast
from vidconf.gui.page import Page, StateSource
from vidconf.gui.panels.chat import ChatPanel
from vidconf.gui.panels.frame import WIDTH as PANEL_WIDTH
from vidconf.gui.panels.frame import Panel
from vidconf.gui.panels.people import PeoplePanel
from vidconf.gui.panels.people_list import Asking
from vidconf.gui.panels.person_menu import Hooks, PersonMenu, popup
from vidconf.gui.parts import pack, rule, sheet
from vidconf.gui.popover import Popover
from vidconf.gui.stage.graphics import Graphics
from vidconf.gui.stage.stage import Stage
from vidconf.gui.toolbar import Toolbar
from vidconf.gui.top_bar import Information, TopBar, link_of
from vidconf.meeting import messages as m

BESIDE = 900
TOAST_WIDTH, TOAST_LEAST = 560, 400


class Middle(QWidget):
    """Stage and panel, between the bars."""

    def __init__(self, stage: QWidget) -> None:
        super().__init__()
        self._stage = stage
        self._panel: Panel | None = None
        self._line = rule()
        self._line.setParent(self)
        self._line.setMaximumHeight(100_000)
        stage.setParent(self)

    def show_panel(self, panel: Panel | None) -> None:
        if self._panel is not None and self._panel is not panel:
            self._panel.hide()
        self._panel = panel
        if panel is not None:
            panel.setParent(self)
        self.place()
        if panel is not None:
            panel.show()
            panel.raise_()
            self._line.raise_()

    @property
    def beside(self) -> bool:
        """Whether there is room for a panel beside the stage."""
        return self.width() >= BESIDE

    def place(self) -> None:
        width, height = self.width(), self.height()
        panel = min(PANEL_WIDTH, width) if self._panel is not None else 0
        self._stage.setGeometry(0, 0, width - panel if self.beside else width, height)
        self._line.setVisible(panel > 0 and not self.beside)
        if self._panel is not None:
            self._panel.setGeometry(width - panel, 0, panel, height)
            self._line.setGeometry(width - panel, 0, 1, height)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.place()


class MeetingPage(Page):
    def __init__(self, store: StateSource, actions: Any, graphics: Graphics | None = None) -> None:
        super().__init__(store, actions)
        self._popover: DevicePopover | Information | None = None
        self._dialog: QFileDialog | None = None
        self._open = ""
        self.top = TopBar(lambda: self.now())
        self.bars = Bars(actions, lambda: self.now())
        self.stage = Stage(store, actions, graphics)
        self.toolbar = Toolbar(actions)
        hooks = Hooks(lambda: self.stage.pinned, self._pin, self._write_to, self._ask_about)
        self._menus = PersonMenu(actions, hooks)
        self.people = PeoplePanel(store, actions, self._menus)
        self.chat = ChatPanel(store, actions)
        self.panels: dict[str, PeoplePanel | ChatPanel] = {"people": self.people, "chat": self.chat}
        self._room = sheet("stage")
        pack(QVBoxLayout(self._room), self.bars, (self.stage, 1), gap=0)
        self.middle = Middle(self._room)
        for panel in self.panels.values():
            panel.hide()
            panel.setParent(self.middle)
        self.toast = KnockToast(self, actions)
        pack(QVBoxLayout(self), self.top, rule(), (self.middle, 1), rule(), self.toolbar, gap=0)
        self._connect()
        self.show_state(None, self.state)

    def _connect(self) -> None:
        self.top.view_chosen.connect(self._set_mode)
        self.top.self_view_chosen.connect(self._set_self_view)
        self.top.unpin.connect(lambda: self._pin(None))
        self.top.asked.connect(self._on_asked)
        self.toolbar.asked.connect(self._on_asked)
        self.bars.devices_wanted.connect(lambda kind: self._on_asked(f"{kind}_devices"))
        self.bars.share_wanted.connect(self._choose_share)
        self.toast.look.connect(lambda: self.open_panel("people"))
        for panel in self.panels.values():
            panel.closed.connect(self.close_panel)
        self.stage.asked.connect(self._on_stage_asked)
        self.stage.mode_changed.connect(lambda _: self._show_view())

    # ---- following
    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        if "chat" in new.closed and self._open == "chat":
            self.close_panel()
        self.top.show_state(old, new)
        self.bars.show_state(old, new)
        self.toolbar.show_state(old, new)
        for panel in self.panels.values():
            panel.show_state(old, new)
        if old is None or old.meeting is not new.meeting or old.me != new.me or old.pending != new.pending:
            self._show_toast()
        if self._popover is not None:
            self._popover.show_state(old, new)
        if old is None or old.tracks is not new.tracks:
            self._show_view()

    def _show_toast(self) -> None:
        self.toast.show_state(self.state, self._open == "people")
        self._place_toast()

    def _show_view(self) -> None:
        sharing = any(track.source == "screen_share" and track.kind == "video" for track in self.state.tracks.values())
        pinned = self.stage.pinned is not None
        self.top.show_view(self.stage.mode, sharing=sharing or self.stage.mode == "share", self_view=self.stage.self_view, pinned=pinned)

    # ---- the stage
    def _set_mode(self, mode: str) -> None:
        self.stage.set_mode(mode)
        self._show_view()

    def _set_self_view(self, on: bool) -> None:
        self.stage.set_self_view(on)
        self._show_view()

    def _pin(self, participant: str | None) -> None:
        self.stage.pin(participant)
        self._show_view()

    def _on_stage_asked(self, what: str, detail: object) -> None:
        match what, detail:
            case "participant_menu", (str() as participant, QPoint() as at):
                menu = self._menus.person(self, self.state, participant)
                if menu is not None:
                    popup(menu, at)
            case "full_screen", _:
                self.asked.emit("full_screen", None)

    # ---- panels
    @property
    def open(self) -> str:
        """`people`, `chat` or ""."""
        return self._open

    def open_panel(self, name: str, *, focus: bool = True) -> None:
        if name in self.state.closed:
            return
        panel = self.panels[name]
        self._open = name
        self.middle.show_panel(panel)
        self.toolbar.show_open(name)
        self._show_toast()
        if focus:
            panel.first_focus().setFocus(Qt.FocusReason.TabFocusReason)

    def close_panel(self) -> None:
        """The keyboard goes to the button that opens it again."""
        name = self._open
        if not name:
            return
        panel = self.panels[name]
        focus = QApplication.focusWidget()
        had = focus is not None and panel.isAncestorOf(focus)
        self._open = ""
        if had:
            self.toolbar.anchor(name).setFocus(Qt.FocusReason.OtherFocusReason)
        self.middle.show_panel(None)
        self.toolbar.show_open("")
        self._show_toast()

    def _turn_panel(self, name: str) -> None:
        if self._open == name:
            self.close_panel()
        else:
            self.open_panel(name)

    def _write_to(self, participant: str) -> None:
        self.open_panel("chat", focus=False)
        self.chat.write_to(participant)

    def _ask_about(self, participant: str, asking: Asking) -> None:
        self.open_panel("people", focus=False)
        self.people.ask_about(participant, asking)

    # ---- what is asked
    def _on_asked(self, what: str) -> None:
        match what:
            case "people" | "chat":
                self._turn_panel(what)
            case "share":
                self._turn_share()
            case "microphone_devices":
                self._open_popover(what, lambda: DevicePopover(self, self.do, "microphone"), self.toolbar.anchor(what))
            case "camera_devices":
                self._open_popover(what, lambda: DevicePopover(self, self.do, "camera"), self.toolbar.anchor(what))
            case "information":
                self._open_popover(what, lambda: Information(self, lambda link: self.asked.emit("copy_link", link)), self.top.information)
            case "copy_link":
                self.asked.emit("copy_link", link_of(self.state))
            case "settings":
                self.asked.emit("settings", None)
            case _:
                self.asked.emit(what, None)

    def _open_popover(self, what: str, make: Callable[[], DevicePopover | Information], button: QWidget) -> None:
        """The same button again closes it."""
        if self._popover is not None:
            again = self._popover.objectName() == what
            self._popover.close_it()
            if again:
                return
        made = self._popover = make()
        made.setObjectName(what)
        made.gone.connect(lambda: self._on_popover_gone(made))
        made.show_state(None, self.state)
        made.open_at(button)

    def _on_popover_gone(self, gone: Popover) -> None:
        if self._popover is gone:
            self._popover = None

    # ---- sharing
    def _turn_share(self) -> None:
        source = self.state.sources.get("screen_share", LocalSource())
        if source.state != "off" or source.wanted != "off":
            self.do.stop_share()
        else:
            self._choose_share()

    def _choose_share(self) -> None:
        """Not even the choice, where the rules would refuse it."""
        wish = m.SetSource("screen_share", "on")
        if self.do.can(wish) is None:
            self.asked.emit("share", None)
        else:
            self.do.tell_refusal(wish)

    def choose_page(self) -> None:
        """A picture file; the dialog does not stop anything else."""
        if self._dialog is not None:
            self._dialog.raise_()
            return
        folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation) or str(Path.home())
        dialog = self._dialog = QFileDialog(self, words.text("share.choose"), folder, words.text("share.pictures") + " (*.png *.jpg *.jpeg)")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setLabelText(QFileDialog.DialogLabel.Accept, words.text("share.go"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self._on_page_chosen)
        dialog.finished.connect(self._on_dialog_over)
        dialog.open()

    def _on_page_chosen(self, path: str) -> None:
        if path:
            self.do.share_image(path)

    def _on_dialog_over(self) -> None:
        self._dialog = None

    # ---- keys
    def on_shortcut(self, id_: str) -> bool:
        """What a key of the window's table means here; False: nothing."""
        match id_:
            case "people" | "chat":
                self._turn_panel(id_)
            case "view":
                self._set_mode(self.top.next_mode())
            case "share":
                self._turn_share()
            case "pause_share":
                self.bars.sharing.turn_pause()
            case "next_pane":
                self._next_pane()
            case "toolbar":
                self.toolbar.first_focus().setFocus(Qt.FocusReason.TabFocusReason)
            case _:
                return False
        return True

    def _next_pane(self) -> None:
        """Stage, panel, toolbar, top bar, and round again; where one cannot go is passed over."""
        panel = self.panels.get(self._open)
        panes: list[tuple[QWidget, QWidget | None]] = [(self._room, self.stage.first_focus() or self._bar_control())]
        if panel is not None:
            panes.append((panel, panel.first_focus()))
        panes += [(self.toolbar, self.toolbar.first_focus()), (self.top, self.top.first_focus())]
        held = QApplication.focusWidget()
        at = next((n for n, (pane, _) in enumerate(panes) if held is not None and (pane is held or pane.isAncestorOf(held))), -1)
        for step in range(1, len(panes) + 1):
            first = panes[(at + step) % len(panes)][1]
            if first is not None and first.isVisible() and first.isEnabled():
                first.setFocus(Qt.FocusReason.TabFocusReason)
                return

    def _bar_control(self) -> QWidget | None:
        """Something to press in a bar, while the stage has nothing."""
        found = self.bars.findChildren(QWidget)
        return next((w for w in found if w.focusPolicy() & Qt.FocusPolicy.TabFocus and w.isVisible() and w.isEnabled()), None)

    def first_focus(self) -> QWidget | None:
        return self.toolbar.first_focus()

    # ---- what is kept
    def keep(self) -> dict[str, Any]:
        return {
            "open": self._open, "mode": self.stage.mode, "pinned": self.stage.pinned, "self_view": self.stage.self_view,
            "chat": self.chat.keep(), "people": self.people.keep(),
        }  # fmt: skip

    def restore(self, kept: dict[str, Any]) -> None:
        mode = kept.get("mode", "grid")
        if mode in ("grid", "speaker"):
            self.stage.set_mode(mode)
        if kept.get("pinned"):
            self.stage.pin(kept["pinned"])
        self.stage.set_self_view(bool(kept.get("self_view", True)))
        self._show_view()
        opened = kept.get("open", "")
        if opened in self.panels:
            self.open_panel(opened, focus=False)
        # After the panel has its size.
        QTimer.singleShot(0, self, lambda: self._restore_panels(kept))

    def _restore_panels(self, kept: dict[str, Any]) -> None:
        self.chat.restore(kept.get("chat", {}))
        self.people.restore(kept.get("people", {}))

    # ---- room
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place_toast()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        window = self.window()
        window.installEventFilter(self)
        self.top.show_full_screen(window.isFullScreen())

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self.window().removeEventFilter(self)

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if event.type() == QEvent.Type.WindowStateChange and watched is self.window():
            self.top.show_full_screen(self.window().isFullScreen())
        return False

    def _place_toast(self) -> None:
        """At the lower edge of what is free of the stage; where a panel leaves too little of it, at the upper edge of everything."""
        if self.toast.isHidden():
            return
        free = self.width() - (self.panels[self._open].width() if self._open else 0)
        low = free >= TOAST_LEAST + 24
        free = free if low else self.width()
        width, height = min(TOAST_WIDTH, free - 24), self.toast.sizeHint().height()
        top = self.toolbar.y() - 12 - height if low else self.middle.y() + 8
        self.toast.setGeometry(max(12, free - width - 12), top, width, height)
        self.toast.raise_()

    def let_go(self) -> None:
        if self._popover is not None:
            self._popover.close_it()
        if self._dialog is not None:
            self._dialog.reject()
        self.top.let_go()
        self.bars.let_go()
        self.stage.let_go()
        super().let_go()

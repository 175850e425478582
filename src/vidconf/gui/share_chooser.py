"""Choosing what to share: screens and windows by their small pictures, or a page image; with the computer's sound or without.

A sheet over the meeting. It asks the engine again every LOOK_MS, so that what is opened or closed meanwhile appears or goes; what was
chosen stays chosen as long as it is there. Arrows go through the tiles of a section, Enter shares. The window's thread.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QResizeEvent
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QSizePolicy, QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.engine import api
from vidconf.gui.icons import picture
from vidconf.gui.page import StateSource
from vidconf.gui.painted import smooth
from vidconf.gui.parts import Text, box, button, check, column, glyph, plain_tip, row
from vidconf.gui.sheet import Sheet
from vidconf.gui.theme import BOLD, RADIUS, T, font
from vidconf.meeting import messages as m

LOOK_MS = 2000
GAP = 12
TILE_LEAST = 176
"""Width below which one column less is shown."""
LABEL = 34
MAX_JPEG = 200_000


class ShareTile(QAbstractButton):
    """One screen or window: its picture, and its name below. Chosen: framed twice as thick, with a tick."""

    shared = Signal()
    """Chosen and meant: a double click."""

    def __init__(self, one: api.Shareable, name: str) -> None:
        super().__init__()
        self.one, self.name = one, name
        self._pixmap = QPixmap()
        self._jpeg = ""
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.describe(one, name)

    def describe(self, one: api.Shareable, name: str) -> None:
        """What it is now: titles change while it is looked at."""
        self.one, self.name = one, name
        spoken = words.text("share.window", name=name) if one.kind == "window" else name
        self.setAccessibleName(", ".join((spoken, words.text("share.minimised"))) if one.hidden else spoken)
        self.setToolTip(plain_tip(name))
        self.update()

    def show_picture(self, jpeg: str) -> None:
        """Base64, "" for none. What is no picture is none."""
        if jpeg == self._jpeg or len(jpeg) > MAX_JPEG:
            return
        self._jpeg = jpeg
        pixmap = QPixmap()
        try:
            pixmap.loadFromData(base64.b64decode(jpeg, validate=True), "JPG")
        except ValueError:
            pixmap = QPixmap()
        self._pixmap = pixmap
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        p, chosen = smooth(self), self.isChecked()
        edge = 3.0 if chosen else 1.0
        whole = QRectF(self.rect()).adjusted(edge / 2, edge / 2, -edge / 2, -edge / 2)
        p.setPen(QPen(QColor(T["accent" if chosen else "edge"]), edge))
        p.setBrush(QColor(T["accent_soft" if chosen else "hover" if self.underMouse() else "surface"]))
        p.drawRoundedRect(whole, RADIUS, RADIUS)
        self._paint_picture(p, QRectF(8, 8, self.width() - 16, self.height() - LABEL - 10))
        p.setFont(font(13, BOLD if chosen else 400))
        p.setPen(QColor(T["accent_text" if chosen else "text"]))
        left = 10
        if chosen:
            p.drawPixmap(8, self.height() - LABEL + 7, picture("checkmark_circle!", T["accent_text"], 18, self.devicePixelRatioF()))
            left = 30
        room = QRectF(left, self.height() - LABEL, self.width() - left - 10, LABEL)
        shown = p.fontMetrics().elidedText(self.name, Qt.TextElideMode.ElideMiddle, int(room.width()))
        p.drawText(room, int(Qt.AlignmentFlag.AlignVCenter) | int(Qt.TextFlag.TextSingleLine), shown)
        p.end()

    def _paint_picture(self, p: QPainter, room: QRectF) -> None:
        p.setPen(Qt.PenStyle.NoPen)
        p.setBrush(QColor(T["stage"]))
        p.drawRoundedRect(room, 4, 4)
        if not self._pixmap.isNull() and not self.one.hidden:
            size = QSize(self._pixmap.size()).scaled(room.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio)
            at = QRectF(room.center().x() - size.width() / 2, room.center().y() - size.height() / 2, size.width(), size.height())
            p.drawPixmap(at, self._pixmap, QRectF(self._pixmap.rect()))
            return
        symbol = picture("desktop" if self.one.kind == "screen" else "window", T["plate_muted"], 32, self.devicePixelRatioF())
        p.drawPixmap(int(room.center().x()) - 16, int(room.center().y()) - (26 if self.one.hidden else 16), symbol)
        if self.one.hidden:
            p.setPen(QColor(T["plate_muted"]))
            p.setFont(font(13))
            p.drawText(room.adjusted(0, 0, 0, -8), int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom), words.text("share.minimised"))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        super().mouseDoubleClickEvent(event)
        self.setChecked(True)
        self.shared.emit()


class TileGrid(QWidget):
    """Tiles in as many columns as there is room for, all equally wide."""

    resized = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.tiles: list[ShareTile] = []
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def put(self, tiles: Sequence[ShareTile]) -> None:
        self.tiles = list(tiles)
        for one in self.tiles:
            one.setParent(self)
            one.show()
        self._place()

    def _place(self) -> None:
        columns = max(1, (self.width() + GAP) // (TILE_LEAST + GAP))
        width = (self.width() - (columns - 1) * GAP) // columns
        height = 16 + (width - 16) * 9 // 16 + LABEL
        for n, one in enumerate(self.tiles):
            one.setGeometry(n % columns * (width + GAP), n // columns * (height + GAP), width, height)
        rows = -(-len(self.tiles) // columns)
        wanted = max(0, rows * (height + GAP) - GAP)
        if wanted != self.minimumHeight():
            self.setFixedHeight(wanted)
            self.resized.emit()
        before: QWidget | None = None
        for one in self.tiles:
            if before is not None:
                QWidget.setTabOrder(before, one)
            before = one

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place()


class ShareSheet(Sheet):
    """Shares through `actions`; `page_wanted`: a page image is to be chosen instead."""

    page_wanted = Signal()

    def __init__(self, window: QWidget, store: StateSource, actions: Any) -> None:
        super().__init__(window, words.text("share.title"), width=760)
        self.store, self.do = store, actions
        self._tiles: dict[str, ShareTile] = {}
        self._known: api.Screens | None = None
        """Of an earlier time the sheet was open: not shown, it may be long past."""
        self._stale = store.state.screens
        self._group = QButtonGroup(self)
        self._group.buttonToggled.connect(lambda *_: self._show_go())
        self._looking = Text(words.text("share.looking"), "muted", wrap=True)
        self._what, self._cure = Text("", "strong", wrap=True), Text("", wrap=True)
        words_of_it = column(self._what, self._cure, gap=4)
        self._trouble = box([row(glyph("warning!", T["warn_text"]), (words_of_it, 1), gap=10)], "warn", margins=(14, 10, 14, 10))
        self._screens, self._windows = TileGrid(), TileGrid()
        self._screens_title, self._windows_title = Text(words.text("share.screens"), "lead"), Text(words.text("share.windows"), "lead")
        self._no_windows = Text(words.text("share.no_windows"), "muted", wrap=True)
        self.sound = check(words.text("share.sound"))
        self._no_sound = Text("", "small", wrap=True)
        self.page = button(words.text("share.page"), "", "image", tip=words.text("share.page.tip"), do=self._on_page)
        self.go = button(words.text("share.go"), "accent", "share_screen", do=self._go)
        self.put(self._looking, self._trouble, self._screens_title, self._screens, self._windows_title, self._windows, self._no_windows)
        with_sound = row(self.sound, (self._no_sound, 1), gap=10)
        buttons = row(self.page, None, button(words.text("common.cancel"), do=self.reject), self.go)
        self.answers((column(with_sound, buttons, gap=4), 1))
        for grid in (self._screens, self._windows):
            grid.resized.connect(self.place)
        self._timer = QTimer(self)
        self._timer.timeout.connect(actions.list_screens)
        self._unsubscribe = store.subscribe(self._on_state)
        self._show(store.state)
        actions.list_screens()
        self._timer.start(LOOK_MS)

    # ---- following
    def _on_state(self, old: ClientState, new: ClientState) -> None:
        if new.phase != "meeting":
            self.reject()
        elif (old.screens, old.thumbnails, old.meeting) != (new.screens, new.thumbnails, new.meeting):
            self._show(new)

    def _show(self, state: ClientState) -> None:
        screens = state.screens if state.screens is not self._stale else None
        if screens is not None and screens is not self._known:
            self._known, self._stale = screens, None
            self._show_tiles(screens)
        for id_, tile in self._tiles.items():
            tile.show_picture(state.thumbnails.get(id_, ""))
        self._show_parts(screens, state)
        self._show_go()
        self.place()

    def _show_tiles(self, screens: api.Screens) -> None:
        chosen, focus = self._chosen(), self.focusWidget()
        focused = focus.one.id if isinstance(focus, ShareTile) else ""
        gone = {id_: tile for id_, tile in self._tiles.items() if id_ not in {one.id for one in screens.shareable}}
        for id_, tile in gone.items():
            self._group.removeButton(tile)
            del self._tiles[id_]
        several = sum(one.kind == "screen" for one in screens.shareable) > 1
        for number, one in enumerate(screens.shareable, 1):
            name = _name(one, number, several)
            held = self._tiles.get(one.id)
            if held is not None:
                held.describe(one, name)
                continue
            tile = self._tiles[one.id] = ShareTile(one, name)
            tile.shared.connect(self._go)
            self._group.addButton(tile)
        in_order = [self._tiles[one.id] for one in screens.shareable]
        self._screens.put([tile for tile in in_order if tile.one.kind == "screen"])
        self._windows.put([tile for tile in in_order if tile.one.kind == "window"])
        for tile in gone.values():
            tile.hide()
            tile.deleteLater()
        if (focused in gone or (not focused and chosen is None and focus is self.close_button)) and in_order:
            in_order[0].setFocus(Qt.FocusReason.OtherFocusReason)

    def _show_parts(self, screens: api.Screens | None, state: ClientState) -> None:
        self._looking.setVisible(screens is None)
        found = screens is not None and not screens.trouble
        for part in (self._screens_title, self._screens, self._windows_title):
            part.setVisible(found)
        self._windows.setVisible(found and bool(self._windows.tiles))
        self._no_windows.setVisible(found and not self._windows.tiles)
        self._trouble.setVisible(screens is not None and bool(screens.trouble))
        if screens is not None and screens.trouble:
            what, cure = _trouble(screens.trouble)
            self._what.setText(what)
            self._cure.setText(cure)
            self._trouble.setAccessibleName(f"{what} {cure}")
        why_not = screens.sound if screens is not None else ""
        refusal = self.do.can(m.SetSource("microphone", "on"))
        self.sound.setVisible(found)
        self.sound.setEnabled(not why_not and refusal is None)
        if not self.sound.isEnabled():
            self.sound.setChecked(False)
        self._no_sound.setVisible(found)
        about = words.text(f"share.sound.{why_not}") if why_not else words.refusal(refusal.code, refusal.detail) if refusal is not None else ""
        self._no_sound.setText(about or words.text("share.sound.tip"))

    def _show_go(self) -> None:
        self.go.setEnabled(self._chosen() is not None)

    def _chosen(self) -> ShareTile | None:
        held = self._group.checkedButton()
        return held if isinstance(held, ShareTile) else None

    # ---- answers
    def _go(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.accept()
            self.do.share(chosen.one.id, chosen.name, self.sound.isChecked())

    def _on_page(self) -> None:
        self.reject()
        self.page_wanted.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and isinstance(self.focusWidget(), ShareTile):
            tile = self.focusWidget()
            assert isinstance(tile, ShareTile)
            tile.setChecked(True)
            self._go()
            return
        super().keyPressEvent(event)

    def done(self, result: int) -> None:
        self._timer.stop()
        self._unsubscribe()
        super().done(result)


def _name(one: api.Shareable, number: int, several: bool) -> str:
    """As it is called on the tile, in the bar and in notices."""
    if one.kind == "window":
        return one.name or words.text("share.untitled")
    called = words.text("share.screen", number=number)
    return f"{called} ({one.name}, {one.width}×{one.height})" if several and one.name else f"{called} ({one.width}×{one.height})"


def _trouble(code: str) -> tuple[str, str]:
    what, cure = f"device.screen_share.{code}", f"device.help.{code}"
    return words.text(what) if words.has(what) else words.text("device.screen_share.unknown", code=code), words.text(cure) if words.has(cure) else ""

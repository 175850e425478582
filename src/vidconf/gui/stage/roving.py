"""The tiles as widgets: made and thrown away as what is shown changes, one stop for Tab, arrows between them. The window's thread."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, QPoint, QRect, Qt, Signal
from PySide6.QtWidgets import QWidget

from vidconf.gui.stage.canvas import Shown
from vidconf.gui.stage.tile import Tile
from vidconf.gui.stage.tiles import Content


class RovingTiles(QObject):
    """`before` and `after`: what Tab comes to before and after the tiles. Signals carry the tile's content."""

    chosen = Signal(object)
    """Enter."""
    clicked = Signal(object)
    double_clicked = Signal()
    menu_asked = Signal(object, QPoint)

    def __init__(self, stage: QWidget, before: QWidget, after: Sequence[QWidget]) -> None:
        super().__init__(stage)
        self._stage, self._before, self._after = stage, before, list(after)
        self._tiles: dict[str, Tile] = {}
        self._places: dict[str, QRect] = {}
        self._current = ""

    @property
    def current(self) -> Tile | None:
        """Whom Tab comes to."""
        return self._tiles.get(self._current)

    def get(self, key: str) -> Tile | None:
        return self._tiles.get(key)

    def say(self) -> None:
        """All names anew: the language has changed."""
        for tile in self._tiles.values():
            tile.say()

    def show_tiles(self, shown: Sequence[Shown]) -> None:
        """These, in this order. The focus of one that goes is taken over by the first."""
        self._places = {one.content.key: one.area for one in shown}
        gone = [self._tiles.pop(key) for key in list(self._tiles) if key not in self._places]
        lost_focus = any(tile.hasFocus() for tile in gone)
        for one in shown:
            tile = self._tiles.get(one.content.key)
            if tile is None:
                tile = self._tiles[one.content.key] = self._made(one.content)
            tile.show_content(one.content)
            if tile.geometry() != one.area:
                tile.setGeometry(one.area)
            tile.show()
        if self._current not in self._places:
            self._set_current(next(iter(self._places), ""))
        if lost_focus and self.current is not None:
            self.current.setFocus(Qt.FocusReason.OtherFocusReason)
        for tile in gone:
            tile.hide()
            tile.deleteLater()

    def _made(self, what: Content) -> Tile:
        tile, key = Tile(self._stage, what), what.key
        tile.moved.connect(lambda where: self._move(key, where))
        tile.chosen.connect(lambda: self.chosen.emit(tile.content))
        tile.clicked.connect(lambda: self.clicked.emit(tile.content))
        tile.double_clicked.connect(self.double_clicked)
        tile.menu_asked.connect(lambda at: self.menu_asked.emit(tile.content, at))
        tile.focused.connect(lambda: self._set_current(key))
        return tile

    def _set_current(self, key: str) -> None:
        if key == self._current and key in self._tiles:
            return
        if self.current is not None:
            self.current.set_current(False)
        self._current = key
        tile = self.current
        if tile is not None:
            tile.set_current(True)
            QWidget.setTabOrder(self._before, tile)
            last: QWidget = tile
            for widget in self._after:
                QWidget.setTabOrder(last, widget)
                last = widget

    def _move(self, key: str, where: str) -> None:
        keys, areas = list(self._places), list(self._places.values())
        if key not in self._places:
            return
        at = keys.index(key)
        to: int | None
        if where in ("first", "last"):
            to = 0 if where == "first" else len(keys) - 1
        else:
            to = beside(areas, at, where)
            if to is None and where in ("left", "right"):  # on to the next row
                step = at + (1 if where == "right" else -1)
                to = step if 0 <= step < len(keys) else None
        if to is not None:
            self._tiles[keys[to]].setFocus(Qt.FocusReason.TabFocusReason)


def beside(areas: Sequence[QRect], at: int, where: str) -> int | None:
    """The nearest area on that side of `areas[at]`."""
    start, best, found = areas[at], 0, None
    for n, area in enumerate(areas):
        dx, dy = area.center().x() - start.center().x(), area.center().y() - start.center().y()
        along, across, beyond = {
            "left": (-dx, dy, area.right() < start.left()),
            "right": (dx, dy, area.left() > start.right()),
            "up": (-dy, dx, area.bottom() < start.top()),
            "down": (dy, dx, area.top() > start.bottom()),
        }[where]
        if not beyond:
            continue
        cost = along + 3 * abs(across)
        if found is None or cost < best:
            best, found = cost, n
    return found

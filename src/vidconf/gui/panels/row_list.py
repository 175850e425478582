"""A list of hundreds or thousands of rows of which only those in sight are widgets. For the panels; the window's thread.

The panel says what there is (`show_items`), a row is made once and shows one item after another. What was looked at stays where
it is while items come and go above; a row that holds the keyboard is never taken away under it, and when its item goes, the
next one gets the keyboard. Tab walks through the controls of the rows (or, with `by_row`, stops once), arrows go from row to row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import accumulate

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractScrollArea, QApplication, QFrame, QWidget

from vidconf.gui.panels.row import Item, Row

GUESS = 48
"""Height of a row nobody has measured yet."""
SPARE = 16
"""Rows of one kind kept for the next item."""
HEIGHTS = 8192
"""Heights remembered; beyond, they are measured again."""
NEAR = 8
"""So near to the end counts as there."""
_TAB, _BACKTAB = Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason


class RowList(QAbstractScrollArea):
    """`kinds`: how the rows of each kind are made. `by_row`: each row is one stop, and Tab leaves the list (what is read).
    `to_end`: opens at the end, and stays there while new items come."""

    end_reached = Signal(bool)
    """Whether the last item is in sight, when that changes."""
    emptied = Signal()
    """The row with the keyboard went and nothing here could take it."""

    def __init__(self, kinds: Mapping[str, Callable[[], Row]], name: str, *, by_row: bool = False, to_end: bool = False) -> None:
        super().__init__()
        self._kinds, self._by_row, self._to_end = kinds, by_row, to_end
        self._items: list[Item] = []
        self._index: dict[Hashable, int] = {}
        self._heights: list[int] = []
        self._tops: list[int] = [0]
        self._known: dict[tuple[str, Hashable, int], int] = {}
        self._rows: dict[Hashable, Row] = {}
        self._spare: dict[str, list[Row]] = {kind: [] for kind in kinds}
        self._rulers: dict[str, Row] = {}
        self._busy = False
        self._at_end = self._told_end = True
        self._last_held: Hashable = None
        self._leaving: Hashable = None
        self._passing = False
        """Tab is on its way out."""
        self.setAccessibleName(name)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.viewport().setAutoFillBackground(False)
        self.verticalScrollBar().setSingleStep(24)

    # ---- what there is
    @property
    def items(self) -> Sequence[Item]:
        return self._items

    @property
    def at_end(self) -> bool:
        return self._at_end

    def row_of(self, key: Hashable) -> Row | None:
        """Its row, while it is in sight."""
        return self._rows.get(key)

    def shown(self) -> list[Row]:
        """The rows in sight, from the top."""
        return [self._rows[key] for key in sorted(self._rows, key=lambda key: self._index.get(key, 0))]

    def show_items(self, items: Sequence[Item]) -> None:
        """All items, in order; keys are all different."""
        old = self._items
        if len(items) == len(old) and all(a is b or a == b for a, b in zip(items, old, strict=True)):
            return
        anchor = self._anchor()
        held = self._held()
        followers = self._followers(held) if held is not None else []
        width = self._width()
        same = 0
        for new_item, old_item in zip(items, old, strict=False):
            if new_item is not old_item:
                break
            same += 1
        self._heights = self._heights[:same] + [self._height(item, width) for item in items[same:]]
        self._items = list(items)
        self._index = {item.key: n for n, item in enumerate(self._items)}
        self._set_tops()
        self._keep(anchor)
        if held is not None and held not in self._index:
            self._pass_on(held, followers)
        self._place()

    # ---- heights
    def _width(self) -> int:
        return max(1, self.viewport().width())

    def _height(self, item: Item, width: int) -> int:
        """As far as known, measured where that is cheap."""
        kind = self._ruler(item.kind)
        known = self._known.get((item.kind, kind.shape(item.value), width))
        if known is not None:
            return known
        return kind.guess(item.value, width) or self._measure(item, width)

    def _measure(self, item: Item, width: int) -> int:
        ruler = self._ruler(item.kind)
        key = (item.kind, ruler.shape(item.value), width)
        height = self._known.get(key)
        if height is None:
            ruler.show_value(item.value)
            layout = ruler.layout()
            if layout is None:
                height = ruler.heightForWidth(width) if ruler.hasHeightForWidth() else ruler.sizeHint().height()
            else:
                for inner in reversed(ruler.findChildren(QWidget)):
                    if (its := inner.layout()) is not None:
                        its.invalidate()  # what is hidden is not told of its children's changes, and remembers
                        inner.updateGeometry()
                layout.invalidate()
                layout.activate()
                height = layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else layout.totalSizeHint().height()
            height = max(height, ruler.minimumHeight())
            if len(self._known) >= HEIGHTS:
                self._known.clear()
            self._known[key] = height
        return height

    def _ruler(self, kind: str) -> Row:
        """A row that is never seen, to measure with."""
        ruler = self._rulers.get(kind)
        if ruler is None:
            ruler = self._rulers[kind] = self._kinds[kind]()
            ruler.setParent(self.viewport())
            ruler.hide()
            for inner in ruler.findChildren(QWidget):
                inner.ensurePolished()  # fonts come with the style sheet, which hidden widgets have not met yet
        return ruler

    def _set_tops(self) -> None:
        self._tops = [0, *accumulate(self._heights)]
        bar, page = self.verticalScrollBar(), self.viewport().height()
        busy, self._busy = self._busy, True
        bar.setPageStep(page)
        bar.setRange(0, max(0, self._tops[-1] - page))
        self._busy = busy

    # ---- where one looks
    def _anchor(self) -> tuple[list[Hashable], int] | None:
        """The keys from the first in sight on, and how far above the edge it begins; None: the upper or lower end."""
        value = self.verticalScrollBar().value()
        if self._to_end and self._at_end:
            return None
        if value <= 0 or not self._items:
            return None
        first = min(len(self._items) - 1, bisect_right(self._tops, value) - 1)
        return [item.key for item in self._items[first : first + 200]], value - self._tops[first]

    def _keep(self, anchor: tuple[list[Hashable], int] | None) -> None:
        if anchor is None:
            self._set_value(self.verticalScrollBar().maximum() if self._to_end and self._at_end else 0)
            return
        keys, above = anchor
        for n, key in enumerate(keys):
            at = self._index.get(key)
            if at is not None:
                self._set_value(self._tops[at] + (above if n == 0 else 0))
                return

    def where(self) -> tuple[Hashable, int] | None:
        """What one looks at: the first item in sight, and how much of it is above the edge; None at the upper end, or at the
        lower of a list that is read from there."""
        anchor = self._anchor()
        return (anchor[0][0], anchor[1]) if anchor is not None else None

    def look_at(self, where: tuple[Hashable, int] | None) -> None:
        """What `where` said, perhaps of another list with the same items."""
        if where is not None and where[0] in self._index:
            self._at_end = False
            for _ in range(4):
                self._keep(([where[0]], where[1]))
                self._place()

    def _set_value(self, value: int) -> None:
        busy, self._busy = self._busy, True
        self.verticalScrollBar().setValue(value)
        self._busy = busy

    def bring(self, key: Hashable) -> Row | None:
        """Scroll it into sight; its row."""
        at = self._index.get(key)
        if at is None:
            return None
        for _ in range(4):  # what is measured on the way moves what comes after
            bar, page = self.verticalScrollBar(), self.viewport().height()
            top, bottom = self._tops[at], self._tops[at + 1]
            if top < bar.value() or bottom - top > page:
                self._set_value(top)
            elif bottom > bar.value() + page:
                self._set_value(bottom - page)
            self._place(keep=key)
            if (top, bottom) == (self._tops[at], self._tops[at + 1]):
                break
        return self._rows.get(key)

    def to_end(self) -> None:
        """Down to the last item."""
        for _ in range(8):
            end = self._tops[-1]
            self._set_value(self.verticalScrollBar().maximum())
            self._place()
            if self._tops[-1] == end:
                break

    # ---- rows
    def _place(self, keep: Hashable = None) -> None:
        """Give every item in sight its row."""
        if self._busy:
            return
        self._busy = True
        wanted = self._in_sight()
        for key in (self._held(), keep):
            if key is not None and (at := self._index.get(key)) is not None:
                wanted.setdefault(key, at)
        self._release([key for key in self._rows if key not in wanted and key != self._leaving])
        top, width = self.verticalScrollBar().value(), self._width()
        for key, at in wanted.items():
            item = self._items[at]
            row = self._rows.get(key)
            if row is not None and row.item is not None and row.item.kind != item.kind:
                self._release([key])
                row = None
            if row is None:
                row = self._rows[key] = self._take(item.kind)
            self._fill(row, item)
            row.setGeometry(0, self._tops[at] - top, width, self._heights[at])
            if row.isHidden():
                row.show()
        self._busy = False
        self._tell_end()

    def _in_sight(self) -> dict[Hashable, int]:
        """Keys and places of the items in sight, each measured by now."""
        width = self._width()
        for _ in range(8):
            bar, page = self.verticalScrollBar(), self.viewport().height()
            stays = self._to_end and self._at_end
            value = bar.maximum() if stays else bar.value()
            first = max(0, min(len(self._items), bisect_right(self._tops, value)) - 1)
            found: dict[Hashable, int] = {}
            changed = False
            shift = 0
            y = self._tops[first]
            for at in range(first, len(self._items)):
                if y >= value + page and at > first:
                    break
                height = self._measure(self._items[at], width)
                if height != self._heights[at]:
                    changed = True
                    if y < value and not stays:
                        shift += height - self._heights[at]
                    self._heights[at] = height
                found[self._items[at].key] = at
                y += height
            if not changed:
                break
            self._set_tops()
            self._set_value(bar.maximum() if stays else value + shift)
        else:
            self._set_tops()
        if self._to_end and self._at_end:
            self._set_value(self.verticalScrollBar().maximum())
        return found

    def _fill(self, row: Row, item: Item) -> None:
        if row.item is not None and (row.item is item or row.item == item):
            row.item = item
            return
        slot = self._slot(row)
        row.item = item
        row.show_value(item.value)
        if slot is not None and self._slot(row) is None:
            # The control with the keyboard is no longer here: another one of its row takes it.
            controls = row.controls()
            if controls:
                controls[min(slot, len(controls) - 1)].setFocus(Qt.FocusReason.OtherFocusReason)

    def _take(self, kind: str) -> Row:
        spare = self._spare[kind]
        if spare:
            return spare.pop()
        row = self._kinds[kind]()
        row.setParent(self.viewport())
        for child in [row, *row.findChildren(QWidget)]:
            if child.focusPolicy() & Qt.FocusPolicy.TabFocus:
                child.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # Tab goes where `focusNextPrevChild` says
        return row

    def _release(self, keys: list[Hashable]) -> None:
        for key in keys:
            row = self._rows.pop(key)
            kind = row.item.kind if row.item is not None else ""
            row.hide()
            row.item = None
            spare = self._spare.get(kind)
            if spare is not None and len(spare) < SPARE:
                spare.append(row)
            else:
                row.deleteLater()

    def _tell_end(self) -> None:
        bar = self.verticalScrollBar()
        self._at_end = bar.value() >= bar.maximum() - NEAR
        if self._at_end != self._told_end:
            self._told_end = self._at_end
            self.end_reached.emit(self._at_end)

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        if not self._busy:
            self._at_end = self.verticalScrollBar().value() >= self.verticalScrollBar().maximum() - NEAR
            self._place()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.oldSize().width() != event.size().width():
            anchor, width = self._anchor(), self._width()
            self._heights = [self._height(item, width) for item in self._items]
            self._set_tops()
            self._keep(anchor)
        else:
            stays = self._to_end and self._at_end
            self._set_tops()
            if stays:
                self._set_value(self.verticalScrollBar().maximum())
        self._place()

    # ---- the keyboard
    def _held(self) -> Hashable:
        """Key of the row that has the keyboard."""
        now = QApplication.focusWidget()
        if now is None or not self.viewport().isAncestorOf(now):
            return None
        for key, row in self._rows.items():
            if row is now or row.isAncestorOf(now):
                return key
        return None

    @staticmethod
    def _slot(row: Row) -> int | None:
        """Which of the row's controls has the keyboard."""
        now = QApplication.focusWidget()
        if now is None or not (row is now or row.isAncestorOf(now)):
            return None
        controls = row.controls()
        for n, control in enumerate(controls):
            if control is now or control.isAncestorOf(now):
                return n
        return None

    def _followers(self, key: Hashable) -> list[Hashable]:
        """Who gets the keyboard when `key` goes, the best first: the next of its kind, the one before, then any."""
        at = self._index[key]
        kind = self._items[at].kind
        around = [*self._items[at + 1 :], *reversed(self._items[:at])]
        return [item.key for item in around if item.kind == kind] + [item.key for item in around if item.kind != kind]

    def _pass_on(self, gone: Hashable, followers: list[Hashable]) -> None:
        slot = self._slot(self._rows[gone]) or 0
        self._leaving = gone
        taken = any(self._focus(key, slot=slot) for key in [key for key in followers if key in self._index][:12])
        self._leaving = None
        if not taken:
            self.emptied.emit()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        if self._passing:
            return
        back = event.reason() == _BACKTAB
        if self._by_row:
            keys = [self._last_held] if self._last_held in self._index else []
            keys += [item.key for item in reversed(self._items)]
        else:
            top, bottom = self.verticalScrollBar().value(), self.verticalScrollBar().value() + self.viewport().height()
            keys = [i.key for n, i in enumerate(self._items) if self._tops[n] >= top and self._tops[n + 1] <= bottom]
            keys = list(reversed(keys)) if back else keys
        for key in keys[:60]:
            if self._focus(key, last=back, reason=event.reason()):
                return

    def _focus(self, key: Hashable, *, slot: int = 0, last: bool = False, reason: Qt.FocusReason = Qt.FocusReason.OtherFocusReason) -> bool:
        row = self._rows.get(key)
        if row is not None and not row.controls():
            return False
        row = self.bring(key)
        controls = row.controls() if row is not None else []
        if not controls:
            return False
        controls[-1 if last else min(slot, len(controls) - 1)].setFocus(reason)
        self._last_held = key
        return True

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Tab from inside: the next control of the row, of the next rows, then out."""
        key = self._held()
        if key is None:
            return super().focusNextPrevChild(forward)
        self._last_held = key
        row, reason = self._rows[key], _TAB if forward else _BACKTAB
        controls, slot = row.controls(), self._slot(row)
        step = (slot if slot is not None else -1) + (1 if forward else -1)
        if 0 <= step < len(controls):
            controls[step].setFocus(reason)
            return True
        if not self._by_row:
            for beside in self._beside(key, forward):
                if self._focus(beside, last=not forward, reason=reason):
                    return True
        return self._leave(forward)

    def _beside(self, key: Hashable, forward: bool) -> Iterator[Hashable]:
        at = self._index[key]
        places = range(at + 1, len(self._items)) if forward else range(at - 1, -1, -1)
        return (self._items[n].key for n in places)

    def _leave(self, forward: bool) -> bool:
        """Out of the list, from its own place in the window: that of a row is the order in which rows were made. The window looks
        on from whatever has the keyboard, so for this moment that is the list."""
        self._passing = True
        self.setFocus(Qt.FocusReason.OtherFocusReason)
        self._passing = False
        return super().focusNextPrevChild(forward)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = self._held()
        plain = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier == Qt.KeyboardModifier.NoModifier
        if key is None or not plain:
            super().keyPressEvent(event)
            return
        slot = self._slot(self._rows[key]) or 0
        match event.key():
            case Qt.Key.Key_Down | Qt.Key.Key_Up:
                for beside in self._beside(key, event.key() == Qt.Key.Key_Down):
                    if self._focus(beside, slot=slot, reason=_TAB):
                        break
                event.accept()
            case Qt.Key.Key_Home | Qt.Key.Key_End:
                order = self._items if event.key() == Qt.Key.Key_Home else list(reversed(self._items))
                for item in order[:60]:
                    if self._focus(item.key, slot=slot, reason=_TAB):
                        break
                event.accept()
            case Qt.Key.Key_PageDown | Qt.Key.Key_PageUp:
                self._turn_page(key, slot, event.key() == Qt.Key.Key_PageDown)
                event.accept()
            case _:
                event.ignore()

    def _turn_page(self, key: Hashable, slot: int, down: bool) -> None:
        at, page = self._index[key], max(GUESS, self.viewport().height() - GUESS)
        wanted = self._tops[at] + (page if down else -page)
        to = max(0, min(len(self._items) - 1, bisect_right(self._tops, wanted) - 1))
        for key in [self._items[to].key, *self._beside(self._items[to].key, not down)]:
            if self._focus(key, slot=slot, reason=_TAB):
                return

    def viewportEvent(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            return True  # rows are placed here, not by a layout
        return super().viewportEvent(event)

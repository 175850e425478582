"""An item of a long list, and the row that shows one item after another. For the panels; the window's thread.

`row_list` decides which items have a row now.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from PySide6.QtWidgets import QWidget


@dataclass(frozen=True, slots=True)
class Item:
    """`key` is what it is over time, `value` all that its row shows: equal values look the same."""

    key: Hashable
    kind: str
    value: Any


class Row(QWidget):
    """One row on the screen. Its layout knows its height for a width."""

    item: Item | None = None

    def show_value(self, value: Any) -> None:
        """Show another item, or the same one changed."""
        raise NotImplementedError

    def controls(self) -> list[QWidget]:
        """What takes the keyboard here, in order."""
        return []

    @staticmethod
    def shape(value: Any) -> Hashable:
        """All of `value` that its height hangs on."""
        return None

    @staticmethod
    def guess(value: Any, width: int) -> int:
        """Its height, about, where measuring every item would take too long; 0: measure."""
        return 0

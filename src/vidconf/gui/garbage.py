"""Cycles of objects are collected on the window's thread alone, for Qt's objects must end where they live. The window's thread.

Python collects on whichever thread makes the one object too many. A widget in a cycle (most are: it holds a slot that holds it) then ends on
a thread that writes settings or looks for updates, and Qt crashes or says "Timers cannot be stopped from another thread".
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimerEvent

EVERY_MS = 250


class Collector(QObject):
    """As long as it lives Python's own collecting is off, and a timer collects by Python's own thresholds."""

    def __init__(self) -> None:
        super().__init__()
        self._was_on = gc.isenabled()
        gc.disable()
        self.startTimer(EVERY_MS)

    def timerEvent(self, _event: QTimerEvent) -> None:
        collect_due()

    def stop(self) -> None:
        """Python collects again where it did before."""
        self.deleteLater()
        if self._was_on:
            gc.enable()


def collect_due() -> None:
    """The oldest generation that is over its threshold; next to nothing when none is."""
    counts, thresholds = gc.get_count(), gc.get_threshold()
    for generation in (2, 1, 0):
        if counts[generation] > thresholds[generation]:
            gc.collect(generation)
            return


def keep_what_is_there() -> None:
    """Once, when everything is imported: modules stay until the end, and no collection need look at them again."""
    gc.collect()
    gc.freeze()

"""Links that the system hands to a program that runs: on macOS a click on `vidconf://…` comes as an event of the application's.

Elsewhere nothing sends one, and a link comes by a second start (`single_instance.py`). The window's thread.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QUrl, Signal
from PySide6.QtGui import QFileOpenEvent
from PySide6.QtWidgets import QApplication


class OpenedLinks(QObject):
    """Listens as long as it lives; `opened(link)` comes for each. The link is hostile input, parsed where all links are."""

    opened = Signal(str)

    def __init__(self, app: QApplication) -> None:
        super().__init__()
        app.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QFileOpenEvent):
            url = event.url()
            if not url.isLocalFile():  # a document that somebody drops on the icon is no link
                self.opened.emit(url.toString(QUrl.ComponentFormattingOption.FullyEncoded))
            return True
        return False

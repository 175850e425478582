"""A link that the system hands over as an event is opened."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QCoreApplication, QUrl
from PySide6.QtGui import QFileOpenEvent
from PySide6.QtWidgets import QApplication

from vidconf.gui.opened_links import OpenedLinks


@pytest.mark.parametrize(
    ("url", "told"),
    [("vidconf://hop.example.gov.vn/m/abc-def", ["vidconf://hop.example.gov.vn/m/abc-def"]), ("file:///etc/passwd", [])],
)
def test_links_come_and_files_do_not(qapp: QApplication, url: str, told: list[str]) -> None:
    heard: list[str] = []
    links = OpenedLinks(qapp)
    links.opened.connect(heard.append)
    QCoreApplication.sendEvent(qapp, QFileOpenEvent(QUrl(url)))
    assert heard == told

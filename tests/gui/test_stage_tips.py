"""A hostile name in a tooltip is shown as it is written, on the stage and everywhere parts are made of text."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QTextDocument

from vidconf.gui.parts import Text, button, plain_tip, set_tool, tool

NASTY = '<img src="file:///etc/passwd"><b>Chủ trì</b> & Co'


def seen(tip: str) -> str:
    document = QTextDocument()
    if "<" in tip:
        document.setHtml(tip)
    else:
        document.setPlainText(tip)
    return document.toPlainText()


@pytest.mark.usefixtures("qapp")
def test_markup_in_a_name_is_text() -> None:
    made = tool("more_vertical", tip=NASTY)
    changed = tool("more_vertical", tip="x")
    set_tool(changed, "more_vertical", tip=NASTY)
    for widget in (Text(NASTY, elide=True), button("x", tip=NASTY), made, changed):
        assert seen(widget.toolTip()) == NASTY
    assert Text(NASTY, elide=True).accessibleName() == NASTY
    assert plain_tip("Bật micrô (Ctrl+D)") == "Bật micrô (Ctrl+D)"
    assert plain_tip("A & B") == "A & B"

"""Which renderer Qt would paint with, asked in a process of its own: a bad driver ends who asks. See `graphics`.

Nothing is shown on the screen: a small picture is painted where nobody sees it.
"""

from __future__ import annotations

from PySide6.QtGui import QColor, QRhiCommandBuffer, QRhiDepthStencilClearValue
from PySide6.QtWidgets import QApplication, QRhiWidget


class _Blank(QRhiWidget):
    def __init__(self) -> None:
        super().__init__()
        self.renderer = ""

    def initialize(self, cb: QRhiCommandBuffer) -> None:
        info = self.rhi().driverInfo()  # held: the name is a part of it, and read after it has gone the process ends
        self.renderer = bytes(info.deviceName.data()).decode("utf-8", "replace").strip() or "unnamed"

    def render(self, cb: QRhiCommandBuffer) -> None:  # type: ignore[override]
        cb.beginPass(self.renderTarget(), QColor(0, 0, 0), QRhiDepthStencilClearValue(1.0, 0))
        cb.endPass()


def renderer() -> str:
    """Its name, "" where there is none. Makes the process's QApplication: call it once, in a process of its own."""
    app = QApplication(["vidconf-graphics"])
    blank = _Blank()
    blank.resize(64, 36)
    picture = blank.grabFramebuffer()
    app.processEvents()
    return blank.renderer if not picture.isNull() else ""
